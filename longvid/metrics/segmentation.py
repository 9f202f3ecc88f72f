"""How well a video is cut into actions: accuracy, edit score, F1.

The metrics are those of Lea et al., CVPR 2017. Labels are class numbers, one per frame; frames labelled `UNLABELLED`
are left out of both sequences. Every class is scored, background (Breakfast's SIL) included. Values lie in 0..1.
Published numbers were counted in other ways too, which `READINGS` names.

    frame accuracy   share of right frames, all videos together
    edit             1 - edit distance of the two segment orders / length of the longer; mean over videos
    F1@k             a predicted segment is right if it overlaps the true segment of its class that it overlaps most by
                     an IoU of k % and is the first to do so; counted over all videos together

This is our own code because scikit-learn and torchmetrics do not know runs of frames: cutting labels into segments,
matching them, and pooling over videos. The edit distance itself is rapidfuzz's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Int
from rapidfuzz.distance import Levenshtein

from longvid.metrics.items import UNLABELLED

Labels = Int[np.ndarray, "_"]


@dataclass(frozen=True)
class Segment:
    """A run of frames with the same label; half-open."""

    label: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One group of authors' way to count segments; the defaults are ours."""

    used_by: str
    over: Literal["split", "videos"] = "split"
    """`split`: frames and segments of all videos together. `videos`: the mean of the scores of single videos."""
    last_frame: bool = True
    """Whether the last segment holds the last frame."""
    background: tuple[str, ...] = ()
    """Classes that are not actions. Their segments are ignored when segments are scored; their frames do count."""
    background_frames: Literal["counted", "not counted", "cut"] = "counted"
    """Frames whose true class is background: in the accuracy or not; `cut`: removed before segments are formed."""
    epsilon: float = 0.0
    """Added to the divisors of precision, recall and F1 (as counts of segments, F1 as a share)."""


READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        "pooled": Reading(used_by="MS-TCN, EAST and longvid"),
        "last-frame-cut": Reading(used_by="MS-TCN++, ASFormer, DiffAct", last_frame=False),
        "per-video": Reading(used_by="LTContext", over="videos", background_frames="cut"),
        "epsilon": Reading(used_by="FACT", background_frames="not counted", epsilon=1e-5),
        "without-sil": Reading(
            used_by="nobody's table; ASFormer's authors when asked: their F1 falls by 5, 3 and 1 points",
            last_frame=False,
            background=("SIL",),
        ),
    }
)
"""Ways to count segments, by the names that protocols use."""


def segments_of(labels: Labels, *, last_frame: bool = True, background: Collection[int] = ()) -> list[Segment]:
    """Runs of equal labels, in order, without those of background classes.

    Without `last_frame` the last run ends before the last frame, and is empty if it is that frame.
    """
    if not len(labels):
        return []
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] + 1))
    stops = np.append(starts[1:], len(labels) if last_frame else len(labels) - 1)
    runs = (Segment(int(labels[a]), int(a), int(b)) for a, b in zip(starts, stops, strict=True))
    return [run for run in runs if run.label not in background]


def edit_score(predicted: Labels, true: Labels, *, background: Collection[int] = ()) -> float:
    """Similarity of the orders of the segments, whatever their lengths; 1 for two empty sequences."""
    orders = [[segment.label for segment in segments_of(labels, background=background)] for labels in (predicted, true)]
    return Levenshtein.normalized_similarity(*orders)


def overlap_counts(
    predicted: Labels, true: Labels, iou: float, *, last_frame: bool = True, background: Collection[int] = ()
) -> tuple[int, int, int]:
    """(right, wrong, missed) segments at a threshold of intersection over union."""
    found, wanted = (segments_of(labels, last_frame=last_frame, background=background) for labels in (predicted, true))
    hit = [False] * len(wanted)
    right = 0
    for segment in found:
        overlaps = [_iou(segment, other) if segment.label == other.label else 0.0 for other in wanted]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] >= iou and not hit[best]:
            hit[best] = True
            right += 1
    return right, len(found) - right, len(wanted) - right


def segmentation_scores(
    videos: Iterable[tuple[Labels, Labels]],
    *,
    overlaps: Sequence[int] = (10, 25, 50),
    reading: Reading = READINGS["pooled"],
    background: Collection[int] = (),
) -> dict[str, float]:
    """`mof`, `edit`, `f1@10` and so on, from predicted and true labels of the same frames of videos.

    background: numbers of the classes that `reading` does not count. Videos without a labelled frame are left out.
    Raises ValueError if a video's two sequences differ in length.
    """
    counted = [video_counts(predicted, true, overlaps, reading, background) for predicted, true in videos]
    rows = [video for video in counted if video is not None]
    if reading.over == "videos" and rows:
        each = [_scores([video], overlaps, reading) for video in rows]
        return {name: float(np.mean([scores[name] for scores in each])) for name in each[0]}
    return _scores(rows, overlaps, reading)


@dataclass(frozen=True)
class Counts:
    """One video's share in the scores."""

    right_frames: int
    frames: int
    edit: float
    segments: tuple[tuple[int, int, int], ...]
    """(right, wrong, missed) per overlap."""


def video_counts(
    predicted: Labels, true: Labels, overlaps: Sequence[int], reading: Reading, background: Collection[int]
) -> Counts | None:
    """The counts of a video; None without a frame that is counted."""
    if len(predicted) != len(true):
        raise ValueError(
            f"{len(predicted)} predicted labels for {len(true)} true ones: both must cover the same frames"
        )
    action = ~np.isin(true, list(background))
    known = true != UNLABELLED
    known &= action if reading.background_frames == "cut" else True
    if not known.any():
        return None
    predicted, true, action = predicted[known], true[known], action[known]
    scored = action if reading.background_frames == "not counted" else np.ones(len(true), bool)
    rule = {"last_frame": reading.last_frame, "background": background}
    return Counts(
        right_frames=int((predicted == true)[scored].sum()),
        frames=int(scored.sum()),
        edit=edit_score(predicted, true, background=background),
        segments=tuple(overlap_counts(predicted, true, overlap / 100, **rule) for overlap in overlaps),  # type: ignore[arg-type]
    )


def _scores(rows: Sequence[Counts], overlaps: Sequence[int], reading: Reading) -> dict[str, float]:
    """The scores of videos together."""
    scores = {
        "mof": sum(row.right_frames for row in rows) / max(sum(row.frames for row in rows), 1),
        "edit": float(np.mean([row.edit for row in rows])) if rows else 0.0,
    }
    for index, overlap in enumerate(overlaps):
        right, wrong, missed = (sum(row.segments[index][kind] for row in rows) for kind in range(3))
        scores[f"f1@{overlap}"] = _f1(right, wrong, missed, reading.epsilon)
    return scores


def _f1(right: int, wrong: int, missed: int, epsilon: float) -> float:
    if not epsilon:
        return 2 * right / max(2 * right + wrong + missed, 1)
    precision, recall = right / (right + wrong + epsilon), right / (right + missed + epsilon)
    return 2 * precision * recall / (precision + recall + epsilon)


def _iou(one: Segment, other: Segment) -> float:
    intersection = min(one.stop, other.stop) - max(one.start, other.start)
    union = max(one.stop, other.stop) - min(one.start, other.start)
    return max(0, intersection) / union if union else 0.0
