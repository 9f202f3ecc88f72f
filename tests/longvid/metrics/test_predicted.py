"""Segments of a prediction say what frame labels say, in seconds, and nothing where nothing was seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longvid.metrics.predicted import PredictedSegment, predicted_segments
from longvid.metrics.videos import frame_answers
from longvid.tasks import Task

TASK = Task("t", "dense", ("a", "b", "background"))


def clips(answers: list[int], *, step: float = 1.0, length: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and scores (0.8 for the answer) of clips a `step` apart."""
    starts = np.arange(len(answers)) * step
    scores = np.full((len(answers), 3), 0.1)
    scores[np.arange(len(answers)), answers] = 0.8
    return np.stack([starts, starts + length], axis=1), scores


def test_runs_of_clips_become_segments_and_background_none():
    seconds, scores = clips([0, 0, 2, 1])
    scores[1, 0] = 0.6
    one, other = predicted_segments(seconds, scores, TASK)
    assert (one.label, one.start_seconds, one.end_seconds) == ("a", 0.0, 2.0)
    assert one.confidence == pytest.approx((0.8 + 0.6) / 2)
    assert other == PredictedSegment("b", 3.0, 4.0, 0.8)


def test_overlapping_clips_meet_half_way_between_their_middles():
    found = predicted_segments(*clips([0, 0, 1, 1], step=1.0, length=4.0), TASK)
    assert [(one.start_seconds, one.end_seconds) for one in found] == [(0.0, 3.5), (3.5, 7.0)]


def test_nothing_is_predicted_for_clips_that_are_not_there():
    seconds, scores = clips([0] * 8)
    there = [0, 1, 2, 5, 6, 7]
    found = predicted_segments(seconds[there], scores[there], TASK)
    assert [(one.start_seconds, one.end_seconds) for one in found] == [(0.0, 3.0), (5.0, 8.0)]
    instants = predicted_segments(*clips([0, 0, 1], step=2.0, length=0.1), TASK)  # a frame every two seconds
    assert [(one.label, one.start_seconds, one.end_seconds) for one in instants] == [
        ("a", 0.0, pytest.approx(3.05)),
        ("b", pytest.approx(3.05), pytest.approx(4.1)),
    ]


@given(st.lists(st.integers(0, 1), min_size=1, max_size=12), st.sampled_from([0.5, 1.0, 3.0]))
@settings(deadline=None)
def test_segments_and_frame_labels_agree_and_leave_no_moment_out(answers, length):
    seconds, scores = clips(answers, length=length)
    found = predicted_segments(seconds, scores, TASK)
    frames = frame_answers(seconds, np.array(answers), num_frames=int(seconds[-1, 1] * 7), rate=7.0)
    middles = (np.arange(len(frames)) + 0.5) / 7
    for moment, frame in zip(middles, frames, strict=True):
        (label,) = {one.label for one in found if one.start_seconds <= moment < one.end_seconds}
        assert label == TASK.classes[frame]
    assert [one.label for one in found] == [
        TASK.classes[b] for a, b in zip([None, *answers], answers, strict=False) if a != b
    ]
