"""Predicted segments: the classes along a video as stretches of time.

A moment gets the class of the clip whose middle is nearest, as when frames are scored (`longvid.metrics.videos`), so
segments and frame labels of a video agree. Where clips are not there because the file is damaged, nothing is predicted:
segments end before the gap and start after it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from longvid.tasks.task import BACKGROUND, Task

GAP = 1.5
"""Clips further apart than this many usual distances have others between them that are not there."""


@dataclass(frozen=True)
class PredictedSegment:
    """A stretch of a video with one predicted class; half-open, in seconds."""

    label: str
    start_seconds: float
    end_seconds: float
    confidence: float
    """Mean score of the class over the segment's clips, 0..1."""


def predicted_segments(
    seconds: Float[np.ndarray, "clips 2"], scores: Float[np.ndarray, "clips outputs"], task: Task
) -> list[PredictedSegment]:
    """The segments of a video in order of time, from the scores of its clips; `background` is left out."""
    answers = scores.argmax(axis=1)
    starts, ends = _stretches(seconds)
    first = np.flatnonzero(np.concatenate([[True], (answers[1:] != answers[:-1]) | (starts[1:] > ends[:-1])]))
    found = []
    for start, stop in zip(first, [*first[1:], len(answers)], strict=True):
        label = int(answers[start])
        if task.classes[label] != BACKGROUND:
            mean = float(scores[start:stop, label].mean())
            found.append(PredictedSegment(task.classes[label], float(starts[start]), float(ends[stop - 1]), mean))
    return found


def _stretches(
    seconds: Float[np.ndarray, "clips 2"],
) -> tuple[Float[np.ndarray, " clips"], Float[np.ndarray, " clips"]]:
    """Start and end of the stretch that each clip answers for: to the middle between it and its neighbours."""
    middles = seconds.mean(axis=1)
    borders = (middles[1:] + middles[:-1]) / 2
    apart = np.diff(middles)
    gaps = (apart > GAP * np.median(apart)) & (seconds[1:, 0] > seconds[:-1, 1]) if len(apart) else apart.astype(bool)
    starts = np.concatenate([seconds[:1, 0], np.where(gaps, seconds[1:, 0], borders)])
    ends = np.concatenate([np.where(gaps, seconds[:-1, 1], borders), seconds[-1:, 1]])
    return starts, ends
