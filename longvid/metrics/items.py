"""Metrics of items: window scores, video scores, and their baseline.

Axis order: scores are `items outputs`, items being windows, videos or clips. Accuracies lie in 0..1. Undefined values
(the precision of a class nobody predicted) count as 0; classes that do not occur among the targets are left out of
means over classes.

The numbers are scikit-learn's. Our own code covers only what it lacks: the mean over the windows of a video, and the
baseline that ignores the video. scikit-learn is imported inside the functions that need it: that takes a second, and
every command reads the table of metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

Scores = Float[np.ndarray, "items outputs"]
Targets = Num[np.ndarray, "items *outputs"]

UNLABELLED = -100


def probabilities(logits: Float[np.ndarray, "*items outputs"], kind: str) -> Float[np.ndarray, "*items outputs"]:
    """Scores from a decoder's logits for a kind of task, float64: softmax, sigmoid or (regression) the values."""
    from scipy.special import expit, softmax

    logits = logits.astype(np.float64)
    if kind == "regression":
        return logits
    scores: np.ndarray = expit(logits) if kind == "multilabel" else softmax(logits, axis=-1)
    return scores


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
    """Number of items of each class (row) that were given each class (column); the first of equal scores wins."""
    true, predicted = _classes(scores, targets)
    counts: np.ndarray = _sklearn().confusion_matrix(true, predicted, labels=np.arange(scores.shape[1]))
    return counts


@dataclass(frozen=True)
class ClassRow:
    """One row of a per-class table; `support` items have the class, `predicted` items were given it."""

    name: str
    support: int
    predicted: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None = None


def per_class(matrix: Int[np.ndarray, "outputs outputs"], names: tuple[str, ...]) -> list[ClassRow]:
    """Precision, recall and F1 of each class, from a confusion matrix."""
    true, predicted = matrix.nonzero()
    columns = _sklearn().precision_recall_fscore_support(
        true, predicted, labels=np.arange(len(names)), sample_weight=matrix[true, predicted], zero_division=0
    )
    return _rows(names, matrix.sum(axis=0), *columns)


def per_label(scores: Scores, flags: Targets, names: tuple[str, ...]) -> list[ClassRow]:
    """The same table for multilabel scores at the threshold 0.5, with each label's average precision."""
    chosen, true = scores >= 0.5, flags > 0.5
    columns = _sklearn().precision_recall_fscore_support(true, chosen, average=None, zero_division=0)
    precisions = [average_precision(scores[:, index], flags[:, index]) for index in range(len(names))]
    rows = _rows(names, chosen.sum(axis=0), *columns)
    return [replace(row, average_precision=value) for row, value in zip(rows, precisions, strict=True)]


def _rows(names: tuple[str, ...], predicted: Any, precision: Any, recall: Any, f1: Any, support: Any) -> list[ClassRow]:
    return [
        ClassRow(name, int(s), int(p), float(precise), float(found), float(both))
        for name, s, p, precise, found, both in zip(names, support, predicted, precision, recall, f1, strict=True)
    ]


def average_precision(scores: Float[np.ndarray, " items"], flags: Num[np.ndarray, " items"]) -> float:
    """Sum over thresholds of precision times the step of recall; items of equal score enter together.

    It is 0 for a label that no item has.
    """
    return float(_sklearn().average_precision_score(flags > 0.5, scores)) if np.any(flags > 0.5) else 0.0


def accuracy(scores: Scores, targets: Targets) -> float:
    """Share of items whose highest score is that of the target; the first of equal scores wins."""
    return float(_sklearn().accuracy_score(*_classes(scores, targets)))


def top5_accuracy(scores: Scores, targets: Targets) -> float:
    """Share of items whose target is among the five highest scores; the last of equal scores wins."""
    classes = np.arange(scores.shape[1])
    if len(classes) <= 5:
        return 1.0
    known = targets != UNLABELLED
    return float(_sklearn().top_k_accuracy_score(targets[known], scores[known], k=5, labels=classes))


def mean_class_accuracy(scores: Scores, targets: Targets) -> float:
    """Recall averaged over the classes that occur: the accuracy if all classes were equally frequent."""
    true, predicted = _classes(scores, targets)
    return float(_sklearn().recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0))


def macro_f1(scores: Scores, targets: Targets) -> float:
    """F1 averaged over the classes that occur among targets or predictions."""
    return float(_sklearn().f1_score(*_classes(scores, targets), average="macro", zero_division=0))


def mean_average_precision(scores: Scores, targets: Targets) -> float:
    """Average precision averaged over the labels that occur; class numbers count as one label per item."""
    if targets.ndim == 1:
        known = targets != UNLABELLED
        scores, targets = scores[known], np.eye(scores.shape[1])[targets[known].astype(int)]
    occurring = np.flatnonzero(targets.sum(axis=0) > 0)
    precisions = [average_precision(scores[:, index], targets[:, index]) for index in occurring]
    return float(np.mean(precisions)) if precisions else 0.0


def micro_f1(scores: Scores, targets: Targets) -> float:
    """F1 over all labels of all items, at the threshold 0.5."""
    return float(_sklearn().f1_score(targets > 0.5, scores >= 0.5, average="micro", zero_division=0))


def mse(scores: Scores, targets: Targets) -> float:
    """Mean squared error, in the target's unit squared."""
    return float(_sklearn().mean_squared_error(targets, scores))


def mae(scores: Scores, targets: Targets) -> float:
    """Mean absolute error, in the target's unit."""
    return float(_sklearn().mean_absolute_error(targets, scores))


def _classes(scores: Scores, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted class of each item that has a label; the first of equal scores wins."""
    known = targets != UNLABELLED
    return targets[known], scores[known].argmax(axis=1)


def _sklearn() -> Any:
    from sklearn import metrics

    return metrics


@dataclass(frozen=True)
class Metric:
    """One way to score a split: a function, which direction is better, and how it is printed."""

    function: Callable[[np.ndarray, np.ndarray], float] | None
    """Takes scores and targets of items; None for metrics that need whole videos (`longvid.metrics.videos`)."""
    label: str
    higher_is_better: bool = True
    percent: bool = True

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1: what to multiply values by so that the best is the highest."""
        return 1 if self.higher_is_better else -1

    def format(self, value: float, spread: float | None = None) -> str:
        """`87.5 %`, `87.5 ± 1.2 %`, `0.606`."""
        scale, digits, unit = (100, 1, " %") if self.percent else (1, 4, "")
        shown = f"{value * scale:.{digits}f}"
        return shown + (f" ± {spread * scale:.{digits}f}" if spread is not None else "") + unit

    def format_range(self, low: float, high: float) -> str:
        """`80.1 - 92.3 %`, `0.551 - 0.660`."""
        scale, digits, unit = (100, 1, " %") if self.percent else (1, 4, "")
        return f"{low * scale:.{digits}f} - {high * scale:.{digits}f}{unit}"


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "accuracy"),
    "top5_accuracy": Metric(top5_accuracy, "top-5 accuracy"),
    "mean_class_accuracy": Metric(mean_class_accuracy, "mean class accuracy"),
    "macro_f1": Metric(macro_f1, "macro F1"),
    "mean_average_precision": Metric(mean_average_precision, "mAP"),
    "micro_f1": Metric(micro_f1, "micro F1"),
    "clip_accuracy": Metric(accuracy, "clip accuracy"),
    "mof": Metric(None, "frame accuracy (MoF)"),
    "edit": Metric(None, "edit score"),
    **{f"f1@{overlap}": Metric(None, f"F1@{overlap}") for overlap in (10, 25, 50)},
    **{f"map@{iou}": Metric(None, f"mAP@{iou}") for iou in (10, 20, 30, 40, 50)},
    **{f"recall@{iou}": Metric(None, f"recall@{iou}") for iou in (10, 20, 30, 40, 50)},
    **{f"boundary_f1@{seconds}": Metric(None, f"boundary F1 within {seconds} s") for seconds in (1, 2, 5)},
    "skill": Metric(None, "skill", percent=False),
    "mse": Metric(mse, "MSE", higher_is_better=False, percent=False),
    "mae": Metric(mae, "MAE", higher_is_better=False, percent=False),
}


def score(names: tuple[str, ...], scores: Scores, targets: Targets) -> dict[str, float]:
    """The named metrics of a split, except those that need whole videos."""
    return {name: function(scores, targets) for name in names if (function := METRICS[name].function) is not None}


def baseline_scores(
    kind: str, train_targets: Num[np.ndarray, "listed *outputs"], num_items: int, num_outputs: int
) -> Scores:
    """Scores of a baseline that ignores the video: each class's frequency in training, or the mean value.

    They are the same for each of `num_items` items; the top five classes are the five most frequent ones.
    """
    if kind in ("classification", "dense"):
        counts = np.bincount(train_targets[train_targets != UNLABELLED], minlength=num_outputs)
        answer = counts / max(1, counts.sum())
    else:
        answer = train_targets.mean(axis=0, dtype=np.float64)
    return np.tile(answer, (num_items, 1))
