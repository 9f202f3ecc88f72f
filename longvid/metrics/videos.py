"""Metrics of dense tasks that look at whole videos.

They look at every labelled frame in order, or at segments in seconds. Clips are coarser than frames: a frame gets the
prediction of the clip whose middle is nearest to its own. Scores are counted over the labelled frames of each video, as
in the authors' scripts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from longvid.errors import ConfigError
from longvid.metrics.boundaries import boundary_f1
from longvid.metrics.localisation import Segments, localisation_scores, propose
from longvid.metrics.segmentation import READINGS, Reading, segmentation_scores, segments_of
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
    """The named metrics (`mof`, `edit`, `f1@...`, `map@...`, `recall@...`, `boundary_f1@...`) over all videos.

    Raises `AnnotationError` if a row's labels are invalid or the task does not state `labels_per_second`.
    """
    found: dict[str, float] = {}
    if any(name in ("mof", "edit") or name.startswith("f1@") for name in names):
        reading = reading_named(task.reading)
        found |= segmentation_scores(
            [frames_of(video, task) for video in videos],
            overlaps=_percentages(names, "f1"),
            reading=reading,
            background=[task.classes.index(name) for name in reading.background if name in task.classes],
        )
    thresholds = sorted({*_percentages(names, "map"), *_percentages(names, "recall")})
    if thresholds:
        found |= localisation_scores(*proposals_and_truth(videos, task), thresholds=thresholds)
    for tolerance in _percentages(names, "boundary_f1"):
        found[f"boundary_f1@{tolerance}"] = boundary_f1([borders_of(v, task) for v in videos], seconds=tolerance)
    return {name: found[name] for name in names}


def reading_named(name: str) -> Reading:
    """The way to count segments of that name; `ConfigError` for another."""
    if name not in READINGS:
        raise ConfigError(f"no reading {name!r} of segmentation metrics; there are {', '.join(READINGS)}")
    return READINGS[name]


def readings(videos: Sequence[ScoredVideo], task: Task) -> dict[str, dict[str, float]]:
    """The task's segmentation metrics in every known way to count; empty if it has none."""
    names = [name for name in task.metrics if name in ("mof", "edit") or name.startswith("f1@")]
    if "edit" not in names:
        return {}
    there = {n: r for n, r in READINGS.items() if set(r.background) <= set(task.classes)}
    return {name: video_metrics(names, videos, replace(task, reading=name)) for name in there}


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


def frames_of(video: ScoredVideo, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The answer and the true label of each labelled frame of a video."""
    true = label_sequence(video.row, task)
    answers = video.scores.argmax(axis=1)
    rate = float(task.labels_per_second or 1)
    return frame_answers(video.seconds, answers, num_frames=len(true), rate=rate), true


def borders_of(video: ScoredVideo, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Seconds at which the predicted and the true labels of a video change, whatever the classes."""
    predicted, true = frames_of(video, task)
    rate = float(task.labels_per_second or 1)
    known = (true[1:] != UNLABELLED) & (true[:-1] != UNLABELLED)
    changes = ((labels[1:] != labels[:-1]) & known for labels in (predicted, true))
    found, wanted = ((np.flatnonzero(change) + 1) / rate for change in changes)
    return found, wanted


def _percentages(names: Sequence[str], kind: str) -> list[int]:
    return [int(name.partition("@")[2]) for name in names if name.partition("@")[0] == kind]
