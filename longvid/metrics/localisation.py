"""Where in a video each step happens: proposals, and mAP by overlap.

Proposals come from scores along time, with non-maximum suppression. The rules are those of COIN's evaluation (Tang et
al.), which follows PKU-MMD's: at most 60 proposals per video, suppression within a class at an IoU of 0.6, interpolated
average precision and recall of each class, mean over classes. Two things differ from the authors' scripts. A
proposal is suppressed by any stronger one that was kept (in their loop the last comparison decides). A proposal is
matched to the true segment of its own video that it overlaps most; of several matched to one segment, the most
confident is right and the others are wrong.

This is our own code because no library has these rules: scikit-learn's average precision knows neither segments that
nobody proposed nor an interpolated curve; torchmetrics and torchvision match and suppress boxes in other ways.

Times are seconds, segments half-open. Classes that occur in no true segment are left out of means.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

MAX_PROPOSALS = 60
SUPPRESSION_IOU = 0.6
CLASSES_A_VIDEO = 20
"""A video's proposals are made for this many classes, those with the highest peaks."""
_THRESHOLDS = np.arange(1, 10) / 10
"""Shares of a class's peak score; each is a threshold that cuts the scores into proposals."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Segments of many videos; true segments have `confidence` 1."""

    video: Int[np.ndarray, " segments"]
    label: Int[np.ndarray, " segments"]
    seconds: Float[np.ndarray, "segments 2"]
    confidence: Float[np.ndarray, " segments"]

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, index: Bool[np.ndarray, " segments"] | Int[np.ndarray, " chosen"]) -> "Segments":
        return Segments(self.video[index], self.label[index], self.seconds[index], self.confidence[index])

    @classmethod
    def of(cls, rows: Iterable[tuple[int | float, ...]]) -> "Segments":
        """Segments from rows (video, label, start_seconds, end_seconds, confidence)."""
        table = np.array(list(rows), np.float64).reshape(-1, 5)
        return cls(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:4], table[:, 4])

    @classmethod
    def join(cls, parts: Sequence["Segments"]) -> "Segments":
        """The segments of all parts."""
        if not parts:
            return cls.of([])
        names = ("video", "label", "seconds", "confidence")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def overlaps(one: Float[np.ndarray, "n 2"], other: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every pair."""
    intersection = np.minimum(one[:, None, 1], other[None, :, 1]) - np.maximum(one[:, None, 0], other[None, :, 0])
    intersection = np.maximum(intersection, 0.0)
    union = (one[:, 1] - one[:, 0])[:, None] + (other[:, 1] - other[:, 0])[None] - intersection
    shares: np.ndarray = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return shares


def propose(
    video: int,
    seconds: Float[np.ndarray, "clips 2"],
    scores: Float[np.ndarray, "clips outputs"],
    *,
    background: int | None = 0,
) -> Segments:
    """Proposals of one video: runs of clips above several shares of a class's peak, for the likeliest classes.

    A proposal's confidence is the mean score inside it minus the mean score just outside, so that of nested runs the
    one that fits the action is the most confident. The result is suppressed, and at most `MAX_PROPOSALS` long.
    """
    peaks = scores.max(axis=0)
    if background is not None:
        peaks[background] = -np.inf
    classes = np.argsort(-peaks, kind="stable")[:CLASSES_A_VIDEO]
    rows = []
    for label in classes[np.isfinite(peaks[classes])].tolist():
        along = scores[:, label]
        runs = {run for share in _THRESHOLDS for run in _runs(along >= share * peaks[label])}
        for first, stop in sorted(runs):
            rows.append((video, label, seconds[first, 0], seconds[stop - 1, 1], _contrast(along, first, stop)))
    return strongest(suppress(Segments.of(rows)))


def suppress(proposals: Segments, *, iou: float = SUPPRESSION_IOU) -> Segments:
    """Proposals without those that overlap a kept, stronger one of their video and class by more than `iou`."""
    order = np.argsort(-proposals.confidence, kind="stable")
    groups = np.unique(np.stack([proposals.video, proposals.label]), axis=1, return_inverse=True)[1].reshape(-1)
    kept = []
    for group in np.unique(groups):
        waiting = order[groups[order] == group]
        while len(waiting):
            kept.append(waiting[0])
            apart = overlaps(proposals.seconds[waiting[:1]], proposals.seconds[waiting])[0] <= iou
            apart[0] = False
            waiting = waiting[apart]
    chosen = np.zeros(len(proposals), bool)
    chosen[np.array(kept, np.int64)] = True
    return proposals[order[chosen[order]]]


def strongest(proposals: Segments, *, limit: int = MAX_PROPOSALS) -> Segments:
    """At most `limit` proposals of each video, the most confident."""
    order = np.argsort(-proposals.confidence, kind="stable")
    rank = np.zeros(len(order), np.int64)
    for video in np.unique(proposals.video):
        own = proposals.video[order] == video
        rank[own] = np.arange(own.sum())
    return proposals[order[rank < limit]]


def right_proposals(
    proposals: Segments, truth: Segments, iou: float
) -> tuple[Bool[np.ndarray, " segments"], Float[np.ndarray, " segments"]]:
    """Which proposals of one class are right, and their confidences, most confident first."""
    proposals = proposals[np.argsort(-proposals.confidence, kind="stable")]
    right = np.zeros(len(proposals), bool)
    if len(proposals) and len(truth):
        overlap = overlaps(proposals.seconds, truth.seconds)
        overlap[proposals.video[:, None] != truth.video[None]] = 0.0
        best = overlap.argmax(axis=1)
        reaching = np.flatnonzero(overlap.max(axis=1) >= iou)
        first_of_truth = np.unique(best[reaching], return_index=True)[1]
        right[reaching[first_of_truth]] = True
    return right, proposals.confidence


def interpolated_precision(right: Bool[np.ndarray, " segments"], num_true: int) -> float:
    """Area under precision over recall, with the best precision at each recall or a higher one."""
    if not len(right) or not num_true:
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / num_true)


def class_precisions(proposals: Segments, truth: Segments, iou: float) -> dict[int, float]:
    """Average precision of each class that occurs."""
    precisions = {}
    for label in np.unique(truth.label).tolist():
        wanted = truth[truth.label == label]
        right, _ = right_proposals(proposals[proposals.label == label], wanted, iou)
        precisions[label] = interpolated_precision(right, len(wanted))
    return precisions


def localisation_scores(
    proposals: Segments, truth: Segments, *, thresholds: Sequence[int] = (10, 20, 30, 40, 50)
) -> dict[str, float]:
    """Means over the classes that occur, as `map@10`, `recall@10` and so on, named by IoU in percent."""
    scores: dict[str, float] = {}
    classes = np.unique(truth.label)
    by_class = [(proposals[proposals.label == label], truth[truth.label == label]) for label in classes]
    for threshold in thresholds:
        precisions, recalls = [], []
        for found, wanted in by_class:
            right, _ = right_proposals(found, wanted, threshold / 100)
            precisions.append(interpolated_precision(right, len(wanted)))
            recalls.append(right.sum() / len(wanted))
        scores[f"map@{threshold}"] = float(np.mean(precisions)) if precisions else 0.0
        scores[f"recall@{threshold}"] = float(np.mean(recalls)) if recalls else 0.0
    return scores


def _runs(flags: Bool[np.ndarray, " clips"]) -> list[tuple[int, int]]:
    """Half-open ranges of true flags."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _contrast(along: Float[np.ndarray, " clips"], first: int, stop: int) -> float:
    """Mean within [first, stop) minus the mean over a quarter of its length on either side."""
    margin = max(1, (stop - first) // 4)
    outside = np.concatenate([along[max(0, first - margin) : first], along[stop : stop + margin]])
    return float(along[first:stop].mean() - (outside.mean() if len(outside) else 0.0))
