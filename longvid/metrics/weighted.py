"""Metrics of weighted videos, many weightings at a time.

    accuracy = weighted_metric("accuracy", Scored(scores, targets, item_videos, num_videos=40))
    accuracy(np.ones((1, 40)))      # the accuracy itself
    accuracy(weights)               # (resamples, videos) -> (resamples,)

With whole weights the value is that of `longvid.metrics.items` and `longvid.metrics.videos` on the videos repeated so
often. scikit-learn has `sample_weight` for most metrics, one weighting a call: 2,000 resamples of three metrics and
three seeds then take minutes. Here each video's share is counted once, and a resample is a sum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from longvid.metrics.boundaries import matched
from longvid.metrics.items import UNLABELLED
from longvid.metrics.localisation import right_proposals
from longvid.metrics.segmentation import video_counts
from longvid.metrics.videos import ScoredVideo, borders_of, frames_of, proposals_and_truth, reading_named
from longvid.tasks.task import Task

Weights = Float[np.ndarray, "resamples weighted"]
Values = Float[np.ndarray, " resamples"]
Weighted = Callable[[np.ndarray], np.ndarray]
"""Weights (resamples, videos) to values (resamples,)."""


@dataclass(frozen=True)
class Scored:
    """Items with scores and targets, the video of each, and for dense tasks the scores along the videos."""

    scores: Float[np.ndarray, "items outputs"]
    targets: Num[np.ndarray, "items *outputs"]
    item_videos: Int[np.ndarray, " items"]
    num_videos: int
    along: tuple[ScoredVideo, ...] = ()
    task: Task | None = None


def weighted_metric(name: str, found: Scored) -> Weighted:
    """The named metric of `longvid.metrics.items.METRICS` as a function of the videos' weights.

    Raises ValueError for a metric that has no such form.
    """
    if name in _OF_ITEMS:
        return _OF_ITEMS[name](found)
    kind, _, limit = name.partition("@")
    if name in ("mof", "edit") or kind == "f1":
        return _segmentation(name, found)
    if kind == "boundary_f1":
        return _boundaries(int(limit), found)
    if kind in ("map", "recall"):
        return _localisation(kind, int(limit), found)
    raise ValueError(f"metric {name!r} cannot be weighted")


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients; 0 where nothing is divided by."""
    ratios: np.ndarray = np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
    return ratios


def _by_video(values: Num[np.ndarray, "items *rest"], found: Scored) -> Float[np.ndarray, "videos *rest"]:
    """Sums of the items of each video."""
    sums = np.zeros((found.num_videos, *values.shape[1:]))
    np.add.at(sums, found.item_videos, values)
    return sums


def _mean(values: Float[np.ndarray, " items"], counts: Bool[np.ndarray, " items"], found: Scored) -> Weighted:
    """Mean over the items that count."""
    total, number = _by_video(np.where(counts, values, 0.0), found), _by_video(counts.astype(float), found)
    return lambda weights: _ratio(weights @ total, weights @ number)


def _accuracy(found: Scored) -> Weighted:
    return _mean((found.scores.argmax(axis=1) == found.targets).astype(float), found.targets != UNLABELLED, found)


def _top5(found: Scored) -> Weighted:
    if found.scores.shape[1] <= 5:
        return lambda weights: np.ones(len(weights))
    best = np.argsort(found.scores, axis=1, kind="stable")[:, ::-1][:, :5]  # the last of equal scores wins
    hit = (best == found.targets[:, None]).any(axis=1)
    return _mean(hit.astype(float), found.targets != UNLABELLED, found)


def _tables(found: Scored) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right answers, items and answers of each class, by video, each (videos, classes)."""
    known = found.targets != UNLABELLED
    classes, answers = found.targets[known].astype(int), found.scores[known].argmax(axis=1)
    videos = found.item_videos[known]
    right, there, given = (np.zeros((found.num_videos, found.scores.shape[1])) for _ in range(3))
    np.add.at(right, (videos, classes), classes == answers)
    np.add.at(there, (videos, classes), 1)
    np.add.at(given, (videos, answers), 1)
    return right, there, given


def _mean_class_accuracy(found: Scored) -> Weighted:
    right, there, _ = _tables(found)

    def value(weights: np.ndarray) -> np.ndarray:
        occur = weights @ there
        return _ratio(_ratio(weights @ right, occur).sum(axis=1), (occur > 0).sum(axis=1))

    return value


def _macro_f1(found: Scored) -> Weighted:
    right, there, given = _tables(found)

    def value(weights: np.ndarray) -> np.ndarray:
        either = weights @ (there + given)
        return _ratio(_ratio(2 * (weights @ right), either).sum(axis=1), (either > 0).sum(axis=1))

    return value


def _micro_f1(found: Scored) -> Weighted:
    chosen, true = found.scores >= 0.5, found.targets > 0.5
    right = _by_video((chosen & true).sum(axis=1).astype(float), found)
    either = _by_video((chosen.sum(axis=1) + true.sum(axis=1)).astype(float), found)
    return lambda weights: _ratio(2 * (weights @ right), weights @ either)


def _mean_average_precision(found: Scored) -> Weighted:
    scores, targets, videos = found.scores, found.targets, found.item_videos
    if targets.ndim == 1:
        known = targets != UNLABELLED
        scores, videos = scores[known], videos[known]
        targets = np.eye(scores.shape[1])[targets[known].astype(int)]
    labels = [(scores[:, label], targets[:, label] > 0.5) for label in range(scores.shape[1])]
    orders = [(np.argsort(-score, kind="stable"), score, flags) for score, flags in labels if flags.any()]

    def value(weights: np.ndarray) -> np.ndarray:
        total, occurring = np.zeros(len(weights)), np.zeros(len(weights))
        for order, score, flags in orders:
            ranked = weights[:, videos[order]]
            hits, seen = np.cumsum(ranked * flags[order], axis=1), np.cumsum(ranked, axis=1)
            ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # equal scores enter together
            steps = np.diff(hits[:, ends], axis=1, prepend=0)
            total += _ratio((_ratio(hits[:, ends], seen[:, ends]) * steps).sum(axis=1), hits[:, -1])
            occurring += hits[:, -1] > 0
        return _ratio(total, occurring)

    return value


def _error(power: int) -> Callable[[Scored], Weighted]:
    def of(found: Scored) -> Weighted:
        wrong = np.abs(found.scores - found.targets) ** power
        return _mean(wrong.reshape(len(wrong), -1).mean(axis=1), np.ones(len(wrong), bool), found)

    return of


_OF_ITEMS: dict[str, Callable[[Scored], Weighted]] = {
    "accuracy": _accuracy,
    "clip_accuracy": _accuracy,
    "top5_accuracy": _top5,
    "mean_class_accuracy": _mean_class_accuracy,
    "macro_f1": _macro_f1,
    "mean_average_precision": _mean_average_precision,
    "micro_f1": _micro_f1,
    "mse": _error(2),
    "mae": _error(1),
}


def _the_task(found: Scored) -> Task:
    if found.task is None:
        raise ValueError("metrics of whole videos need the task")
    return found.task


def _segmentation(name: str, found: Scored) -> Weighted:
    task = _the_task(found)
    reading = reading_named(task.reading)
    background = [task.classes.index(known) for known in reading.background if known in task.classes]
    overlap = int(name.partition("@")[2] or 50)
    counts = [video_counts(*frames_of(video, task), [overlap], reading, background) for video in found.along]
    there = np.array([one is not None for one in counts], float)
    rows = [(0, 0, 0.0, 0, 0, 0) if c is None else (c.right_frames, c.frames, c.edit, *c.segments[0]) for c in counts]
    right, frames, edit, hits, wrong, missed = np.array(rows, float).T

    def f1(hits: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
        if not reading.epsilon:
            return _ratio(2 * hits, 2 * hits + wrong + missed)
        precision, recall = hits / (hits + wrong + reading.epsilon), hits / (hits + missed + reading.epsilon)
        scores: np.ndarray = 2 * precision * recall / (precision + recall + reading.epsilon)
        return scores

    if name == "edit" or reading.over == "videos":
        each = {"edit": edit, "mof": _ratio(right, frames)}.get(name)
        each = f1(hits, wrong, missed) if each is None else each
        return lambda weights: _ratio(weights @ (each * there), weights @ there)
    if name == "mof":
        return lambda weights: _ratio(weights @ right, weights @ frames)
    return lambda weights: f1(weights @ hits, weights @ wrong, weights @ missed)


def _boundaries(seconds: int, found: Scored) -> Weighted:
    pairs = [borders_of(video, _the_task(found)) for video in found.along]
    right = np.array([matched(predicted, true, seconds=seconds) for predicted, true in pairs], float)
    borders = np.array([len(predicted) + len(true) for predicted, true in pairs], float)

    def value(weights: np.ndarray) -> np.ndarray:
        count = weights @ borders
        return np.where(count > 0, _ratio(2 * (weights @ right), count), 1.0)

    return value


def _localisation(kind: str, iou: int, found: Scored) -> Weighted:
    """Proposals are matched within their video, so that each is right or wrong whatever the weights are."""
    proposals, truth = proposals_and_truth(found.along, _the_task(found))
    classes = []
    for label in np.unique(truth.label):
        own, wanted = proposals[proposals.label == label], truth[truth.label == label]
        right, _ = right_proposals(own, wanted, iou / 100)
        ranked = own[np.argsort(-own.confidence, kind="stable")]
        classes.append((right.astype(float), ranked.video, np.bincount(wanted.video, minlength=found.num_videos)))

    def value(weights: np.ndarray) -> np.ndarray:
        total, occurring = np.zeros(len(weights)), np.zeros(len(weights))
        for right, videos, true in classes:
            number, own = weights @ true, weights[:, videos]
            hits = own * right
            gained = hits
            if kind == "map":
                precision = _ratio(np.cumsum(hits, axis=1), np.cumsum(own, axis=1))
                gained = hits * np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            total += _ratio(gained.sum(axis=1), number)
            occurring += number > 0
        return _ratio(total, occurring)

    return value
