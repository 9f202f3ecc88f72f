"""How answers are scored: from window scores to video scores, and from those to numbers.

Axis order: scores are `items outputs`, items being windows, videos or clips. Accuracies lie in 0..1. Undefined values
(the precision of a class nobody predicted) count as 0; classes that do not occur among the targets are left out of
means over classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num

Scores = Float[np.ndarray, "items outputs"]
Targets = Num[np.ndarray, "items *outputs"]

UNLABELLED = -100


def probabilities(logits: Float[np.ndarray, "*items outputs"], kind: str) -> Float[np.ndarray, "*items outputs"]:
    """Scores of a task's kind from a decoder's logits, float64: softmax, sigmoid, or (regression) the values."""
    logits = logits.astype(np.float64)
    if kind == "regression":
        return logits
    if kind == "multilabel":
        return 0.5 * (1 + np.tanh(0.5 * logits))
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def mean_by_item(
    scores: Float[np.ndarray, "windows outputs"], items: Int[np.ndarray, " windows"], num_items: int
) -> Scores:
    """Mean score of each item over the windows that belong to it; NaN for an item without windows.

    The mean of the softmax over a video's windows orders classes as the sum does (LVU's protocol), and for regression
    it is the mean of the predictions.
    """
    totals = np.zeros((num_items, scores.shape[1]))
    np.add.at(totals, items, scores)
    counts = np.bincount(items, minlength=num_items)
    return np.divide(totals, counts[:, None], out=np.full_like(totals, np.nan), where=counts[:, None] > 0)


def confusion_matrix(scores: Scores, targets: Int[np.ndarray, " items"]) -> Int[np.ndarray, "outputs outputs"]:
    """How many items of each class (row) were given each class (column); the first of equal scores wins."""
    known = targets != UNLABELLED
    matrix = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(matrix, (targets[known], scores[known].argmax(axis=1)), 1)
    return matrix


@dataclass(frozen=True)
class ClassRow:
    """One class of a per-class table; `support` items have it, `predicted` items were given it."""

    name: str
    support: int
    predicted: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None = None


def per_class(matrix: Int[np.ndarray, "outputs outputs"], names: tuple[str, ...]) -> list[ClassRow]:
    """Precision, recall and F1 of each class, from a confusion matrix."""
    hits, support, predicted = (counts.tolist() for counts in (np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)))
    return [
        ClassRow(name, s, p, _ratio(hit, p), _ratio(hit, s), _ratio(2 * hit, s + p))
        for name, hit, s, p in zip(names, hits, support, predicted, strict=True)
    ]


def per_label(scores: Scores, flags: Targets, names: tuple[str, ...]) -> list[ClassRow]:
    """The same for multilabel scores at the threshold 0.5, with each label's average precision."""
    chosen, true = scores >= 0.5, flags > 0.5
    rows = []
    for index, name in enumerate(names):
        hit = int((chosen[:, index] & true[:, index]).sum())
        support, predicted = int(true[:, index].sum()), int(chosen[:, index].sum())
        average = average_precision(scores[:, index], flags[:, index])
        scores_of = (_ratio(hit, predicted), _ratio(hit, support), _ratio(2 * hit, support + predicted))
        rows.append(ClassRow(name, support, predicted, *scores_of, average_precision=average))
    return rows


def average_precision(scores: Float[np.ndarray, " items"], flags: Num[np.ndarray, " items"]) -> float:
    """Sum over thresholds of precision times the step of recall; items of one score enter together."""
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(flags[order] > 0.5)
    if not len(true) or true[-1] == 0:
        return 0.0
    last_of_score = np.append(np.diff(scores[order]) != 0, True)
    hits, taken = true[last_of_score], np.flatnonzero(last_of_score) + 1
    return float(np.sum(np.diff(hits, prepend=0) / true[-1] * hits / taken))


def accuracy(scores: Scores, targets: Targets) -> float:
    """Share of items whose highest score is the target's."""
    known = targets != UNLABELLED
    return float(np.mean(scores[known].argmax(axis=1) == targets[known]))


def top5_accuracy(scores: Scores, targets: Targets) -> float:
    """Share of items whose target is among the five highest scores."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return float(np.mean((best == targets[:, None]).any(axis=1)))


def mean_class_accuracy(scores: Scores, targets: Targets) -> float:
    """Recall averaged over the classes that occur: what accuracy would be if all were equally frequent."""
    matrix = confusion_matrix(scores, targets)
    support = matrix.sum(axis=1)
    return float(np.mean((np.diag(matrix) / np.maximum(support, 1))[support > 0]))


def macro_f1(scores: Scores, targets: Targets) -> float:
    """F1 averaged over the classes that occur among targets or predictions."""
    matrix = confusion_matrix(scores, targets)
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(np.mean((2 * np.diag(matrix) / np.maximum(total, 1))[total > 0]))


def mean_average_precision(scores: Scores, targets: Targets) -> float:
    """Average precision averaged over the labels that occur."""
    occurring = np.flatnonzero(targets.sum(axis=0) > 0)
    return (
        float(np.mean([average_precision(scores[:, i], targets[:, i]) for i in occurring])) if len(occurring) else 0.0
    )


def micro_f1(scores: Scores, targets: Targets) -> float:
    """F1 over all labels of all items, at the threshold 0.5."""
    chosen, true = scores >= 0.5, targets > 0.5
    return _ratio(2 * int((chosen & true).sum()), int(chosen.sum() + true.sum()))


def mse(scores: Scores, targets: Targets) -> float:
    """Mean squared error, in the target's unit squared."""
    return float(np.mean((scores - targets) ** 2))


def mae(scores: Scores, targets: Targets) -> float:
    """Mean absolute error, in the target's unit."""
    return float(np.mean(np.abs(scores - targets)))


@dataclass(frozen=True)
class Metric:
    """One way to score a split: a function, which way is better, and how it is printed."""

    function: Callable[[np.ndarray, np.ndarray], float] | None
    """From scores and targets of items; none for those that need whole videos (`longvid.video_metrics`)."""
    label: str
    higher_is_better: bool = True
    percent: bool = True

    def format(self, value: float, spread: float | None = None) -> str:
        """`87.5 %`, `87.5 ± 1.2 %`, `0.606`."""
        scale, digits, unit = (100, 1, " %") if self.percent else (1, 4, "")
        shown = f"{value * scale:.{digits}f}"
        return shown + (f" ± {spread * scale:.{digits}f}" if spread is not None else "") + unit


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "accuracy"),
    "top5_accuracy": Metric(top5_accuracy, "top-5 accuracy"),
    "mean_class_accuracy": Metric(mean_class_accuracy, "mean class accuracy"),
    "macro_f1": Metric(macro_f1, "macro F1"),
    "mean_average_precision": Metric(mean_average_precision, "mAP"),
    "micro_f1": Metric(micro_f1, "micro F1"),
    "frame_accuracy": Metric(accuracy, "clip accuracy"),
    "mof": Metric(None, "frame accuracy"),
    "edit": Metric(None, "edit score"),
    **{f"f1@{overlap}": Metric(None, f"F1@{overlap}") for overlap in (10, 25, 50)},
    **{f"map@{iou}": Metric(None, f"mAP@{iou}") for iou in (10, 20, 30, 40, 50)},
    **{f"recall@{iou}": Metric(None, f"recall@{iou}") for iou in (10, 20, 30, 40, 50)},
    "skill": Metric(None, "skill", percent=False),
    "mse": Metric(mse, "MSE", higher_is_better=False, percent=False),
    "mae": Metric(mae, "MAE", higher_is_better=False, percent=False),
}


def score(names: tuple[str, ...], scores: Scores, targets: Targets) -> dict[str, float]:
    """The named metrics of a split, without those that need whole videos."""
    return {name: function(scores, targets) for name in names if (function := METRICS[name].function) is not None}


def baseline_scores(
    kind: str, train_targets: Num[np.ndarray, "listed *outputs"], num_items: int, num_outputs: int
) -> Scores:
    """The answer of someone who never looks: the training set's most frequent class, its label rates, or its mean.

    The same for each of `num_items` items.
    """
    if kind in ("classification", "dense"):
        counts = np.bincount(train_targets[train_targets != UNLABELLED], minlength=num_outputs)
        answer = np.eye(num_outputs)[counts.argmax()]
    else:
        answer = train_targets.mean(axis=0, dtype=np.float64)
    return np.tile(answer, (num_items, 1))


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
