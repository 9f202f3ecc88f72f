"""How well a video is cut into actions: accuracy, edit score, F1.

The metrics are those of Lea et al., CVPR 2017. Labels are class numbers, one per frame; frames labelled `UNLABELLED`
are left out of both sequences. Every class is scored, background (Breakfast's SIL) included. Values lie in 0..1.

    frame accuracy   share of right frames, all videos together
    edit             1 - edit distance of the two segment orders / length of the longer; mean over videos
    F1@k             a predicted segment is right if it overlaps the true segment of its class that it overlaps most by
                     an IoU of k % and is the first to do so; counted over all videos together

This is our own code because scikit-learn and torchmetrics do not know runs of frames: cutting labels into segments,
matching them, and pooling over videos. The edit distance itself is rapidfuzz's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def segments_of(labels: Labels) -> list[Segment]:
    """Runs of equal labels, in order."""
    if not len(labels):
        return []
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] + 1))
    stops = np.append(starts[1:], len(labels))
    return [Segment(int(labels[a]), int(a), int(b)) for a, b in zip(starts, stops, strict=True)]


def edit_score(predicted: Labels, true: Labels) -> float:
    """Similarity of the orders of the segments, whatever their lengths; 1 for two empty sequences."""
    orders = [[segment.label for segment in segments_of(labels)] for labels in (predicted, true)]
    return Levenshtein.normalized_similarity(*orders)


def overlap_counts(predicted: Labels, true: Labels, iou: float) -> tuple[int, int, int]:
    """(right, wrong, missed) segments at a threshold of intersection over union."""
    found, wanted = segments_of(predicted), segments_of(true)
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
    videos: Iterable[tuple[Labels, Labels]], *, overlaps: Sequence[int] = (10, 25, 50)
) -> dict[str, float]:
    """`mof`, `edit`, `f1@10` and so on, from predicted and true labels of the same frames of videos.

    Videos without a labelled frame are left out. Raises ValueError if a video's two sequences differ in length.
    """
    right_frames = frames = 0
    edits: list[float] = []
    counts = np.zeros((len(overlaps), 3), np.int64)
    for predicted, true in videos:
        if len(predicted) != len(true):
            raise ValueError(
                f"{len(predicted)} predicted labels for {len(true)} true ones: both must cover the same frames"
            )
        known = true != UNLABELLED
        if not known.any():
            continue
        predicted, true = predicted[known], true[known]
        right_frames, frames = right_frames + int((predicted == true).sum()), frames + len(true)
        edits.append(edit_score(predicted, true))
        for row, overlap in enumerate(overlaps):
            counts[row] += overlap_counts(predicted, true, overlap / 100)
    scores = {"mof": right_frames / max(frames, 1), "edit": float(np.mean(edits)) if edits else 0.0}
    for overlap, (right, wrong, missed) in zip(overlaps, counts.tolist(), strict=True):
        scores[f"f1@{overlap}"] = 2 * right / max(2 * right + wrong + missed, 1)
    return scores


def _iou(one: Segment, other: Segment) -> float:
    intersection = min(one.stop, other.stop) - max(one.start, other.start)
    return max(0, intersection) / (max(one.stop, other.stop) - min(one.start, other.start))
