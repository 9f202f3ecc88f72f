"""Metrics of dense tasks that look at whole videos.

They look at every labelled frame in order, or at segments in seconds. Clips are coarser than frames: a frame gets the
prediction of the clip whose middle is nearest to its own. Scores are counted over the labelled frames of each video, as
in the authors' scripts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from longvid.metrics.localisation import Segments, localisation_scores, propose
from longvid.metrics.segmentation import segmentation_scores, segments_of
from longvid.tasks.frame_labels import UNLABELLED, label_sequence
from longvid.tasks.manifest import ManifestRow
from longvid.tasks.task import BACKGROUND, Task


@dataclass(frozen=True)
class ScoredVideo:
    """The scores of a model along one video, clip by clip, and the row that holds its labels."""

    row: ManifestRow
    seconds: Float[np.ndarray, "clips 2"]
    scores: Float[np.ndarray, "clips outputs"]


def video_metrics(names: Sequence[str], videos: Sequence[ScoredVideo], task: Task) -> dict[str, float]:
    """The named metrics (`mof`, `edit`, `f1@...`, `map@...`, `recall@...`) over all videos.

    Raises `AnnotationError` if a row's labels are invalid or the task does not state `labels_per_second`.
    """
    found: dict[str, float] = {}
    if any(name in ("mof", "edit") or name.startswith("f1@") for name in names):
        overlaps = _percentages(names, "f1")
        found |= segmentation_scores([_frames(video, task) for video in videos], overlaps=overlaps)
    thresholds = sorted({*_percentages(names, "map"), *_percentages(names, "recall")})
    if thresholds:
        found |= localisation_scores(*proposals_and_truth(videos, task), thresholds=thresholds)
    return {name: found[name] for name in names}


def proposals_and_truth(videos: Sequence[ScoredVideo], task: Task) -> tuple[Segments, Segments]:
    """Proposed and labelled segments of all videos, background left out of both."""
    background = task.classes.index(BACKGROUND) if BACKGROUND in task.classes else None
    proposals = [propose(i, video.seconds, video.scores, background=background) for i, video in enumerate(videos)]
    truth = [true_segments(i, video.row, task) for i, video in enumerate(videos)]
    return Segments.join(proposals), Segments.join(truth)


def frame_answers(
    seconds: Float[np.ndarray, "clips 2"], answers: Int[np.ndarray, " clips"], *, num_frames: int, rate: float
) -> Int[np.ndarray, " frames"]:
    """The answer for each of `num_frames` frames, `rate` per second from 0 on: that of the clip with nearest middle."""
    middles = seconds.mean(axis=1)
    borders = (middles[1:] + middles[:-1]) / 2
    return answers[np.searchsorted(borders, (np.arange(num_frames) + 0.5) / rate)]


def true_segments(video: int, row: ManifestRow, task: Task) -> Segments:
    """The labelled segments of a row, background left out."""
    segments = row.value(task.column)
    if row.label_path is None and isinstance(segments, list):
        label_sequence(row, task)  # refuses invalid labels
        named = [(task.class_number(label, row.where), start, end) for start, end, label in segments]
    else:
        rate = float(task.labels_per_second or 1)
        runs = segments_of(label_sequence(row, task))
        named = [(run.label, run.start / rate, run.stop / rate) for run in runs]
    background = task.classes.index(BACKGROUND) if BACKGROUND in task.classes else None
    return Segments.of(
        (video, label, start, end, 1.0) for label, start, end in named if label not in (background, UNLABELLED)
    )


def _frames(video: ScoredVideo, task: Task) -> tuple[np.ndarray, np.ndarray]:
    true = label_sequence(video.row, task)
    answers = video.scores.argmax(axis=1)
    rate = float(task.labels_per_second or 1)
    return frame_answers(video.seconds, answers, num_frames=len(true), rate=rate), true


def _percentages(names: Sequence[str], kind: str) -> list[int]:
    return [int(name.partition("@")[2]) for name in names if name.partition("@")[0] == kind]
