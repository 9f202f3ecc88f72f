"""Clip plans: how many clips, where they lie, what becomes of the end. Properties first, then the documented cases."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from longvid.clips.sampling import END_POLICIES, ROUNDING_SECONDS, ClipPlan, Sampling
from longvid.errors import ConfigError, VideoTooShort
from longvid.plain import as_json
from longvid.video.frames import frames_on_screen

HOUR = 3600.0
frame_counts = st.integers(1, 32)
rates = st.sampled_from([0.2, 0.5, 1, 2, 5, 7.5, 8, 10, 12.5, 15, 24, 24000 / 1001, 25, 30000 / 1001, 30, 60])
strides = st.sampled_from([None, 0.1, 1 / 3, 0.5, 1, 2, 2.56, 10])
begins = st.sampled_from([0.0, 5.0, -0.08, 1.4666666666666666, 36000.1])
durations = st.one_of(st.floats(0.04, 30), st.floats(30, 3 * HOUR), st.sampled_from([1.0, 10.0, 60.0, 3 * HOUR]))
ends = st.sampled_from(list(END_POLICIES))


def expected_clips(duration, span, stride, end):
    """The count that the docstring of `Sampling` promises, in exact steps."""
    if end == "drop":
        return max(0, math.floor((duration + ROUNDING_SECONDS - span) / stride + 1e-9) + 1)
    forgiven = duration - ROUNDING_SECONDS
    if forgiven <= span:
        return 1
    return min(math.ceil((forgiven - span) / stride - 1e-9) + 1, math.ceil(forgiven / stride - 1e-9))


@given(frame_counts, rates, strides, begins, durations, ends)
@example(1, 1, 1, 0.0, 3 * HOUR, "drop")
@example(4, 2, 1, 0.0, 3.9, "shift")
def test_dense_clips_are_as_many_as_promised_evenly_spaced_and_within_the_video(
    frames, fps, stride, begin, duration, end
):
    sampling = Sampling(frames, fps, stride, end=end)
    span, step = frames / fps, frames / fps if stride is None else stride
    assume(duration / step * frames < 200_000)
    count = expected_clips(duration, span, step, end)
    if count == 0:
        with pytest.raises(VideoTooShort):
            sampling.plan(begin, begin + duration)
        return
    plan = sampling.plan(begin, begin + duration)
    assert len(plan) == count
    assert plan.frame_seconds.shape == (count, frames)
    assert plan.seconds.min() >= begin
    assert plan.seconds.max() <= begin + duration
    assert (plan.seconds[:, 0] < plan.seconds[:, 1]).all()
    assert (plan.frame_seconds >= plan.seconds[:, :1]).all()
    assert (plan.frame_seconds <= plan.seconds[:, 1:]).all()
    assert (np.diff(plan.frame_seconds, axis=1) >= 0).all()
    starts = plan.seconds[:, 0] if end != "shift" else plan.seconds[:-1, 0]
    np.testing.assert_allclose(starts, begin + np.arange(len(starts)) * step, rtol=0, atol=1e-9)


@given(frame_counts, rates, strides, begins, durations)
def test_without_dropping_no_end_of_a_video_is_left_out(frames, fps, stride, begin, duration):
    assume(duration / (stride or frames / fps) * frames < 200_000)
    for end in ("repeat", "shift"):
        plan = Sampling(frames, fps, stride, end=end).plan(begin, begin + duration)
        step = frames / fps if stride is None else stride
        left_out = begin + duration - plan.seconds[-1, 1]
        assert left_out <= max(step - frames / fps, 0) + ROUNDING_SECONDS + 1e-9


@given(frame_counts, rates, strides, begins, durations)
def test_a_shifted_clip_ends_with_the_video_and_repeats_nothing(frames, fps, stride, begin, duration):
    assume(duration > frames / fps and duration / (stride or frames / fps) * frames < 200_000)
    plan = Sampling(frames, fps, stride, end="shift").plan(begin, begin + duration)
    np.testing.assert_allclose(np.diff(plan.frame_seconds, axis=1), 1 / fps, atol=1e-8)


@given(frame_counts, rates, st.integers(1, 100), begins, durations, ends)
def test_segments_are_as_many_as_asked_and_evenly_spaced(frames, fps, segments, begin, duration, end):
    sampling = Sampling(frames=frames, fps=fps, segments=segments, end=end)
    span = frames / fps
    if end == "drop" and span > duration + ROUNDING_SECONDS:
        with pytest.raises(VideoTooShort):
            sampling.plan(begin, begin + duration)
        return
    plan = sampling.plan(begin, begin + duration)
    assert len(plan) == segments
    assert plan.seconds.min() >= begin
    assert plan.seconds.max() <= begin + duration
    spacing = max(duration - span, 0) / segments
    np.testing.assert_allclose(plan.seconds[:, 0], begin + np.arange(segments) * spacing, rtol=0, atol=1e-9)


@st.composite
def uneven_frame_times(draw):
    """Frame times of a video with a variable rate, and its end."""
    gaps = draw(st.lists(st.sampled_from([0.008, 0.033, 0.04, 0.5]), min_size=1, max_size=60))
    times = draw(begins) + np.concatenate([[0.0], np.cumsum(gaps)])
    return times[:-1], float(times[-1])


@given(uneven_frame_times(), st.integers(1, 8), st.sampled_from([None, 0.1, 1.0]), ends)
def test_own_frames_are_consecutive_frames_of_the_video(timing, frames, stride, end):
    times, end_seconds = timing
    sampling = Sampling(frames=frames, fps=None, stride_seconds=stride, end=end)
    if end == "drop" and len(times) < frames:
        with pytest.raises(VideoTooShort, match=f"the video has {len(times)} frames, one clip needs {frames} frames"):
            sampling.plan(times[0], end_seconds, times)
        return
    plan = sampling.plan(times[0], end_seconds, times)
    indices = np.searchsorted(times, plan.frame_seconds)
    assert np.array_equal(times[indices], plan.frame_seconds)
    steps = np.diff(indices, axis=1)
    assert ((steps == 1) | ((steps == 0) & (indices[:, 1:] == len(times) - 1))).all()
    if len(times) >= frames and end != "repeat":
        assert (steps == 1).all()
    boundaries = np.append(times, end_seconds)
    assert np.array_equal(plan.seconds[:, 0], plan.frame_seconds[:, 0])
    assert np.array_equal(plan.seconds[:, 1], boundaries[indices[:, -1] + 1])


def test_frames_one_by_one_are_every_frame_of_the_video():
    times = np.array([0.0, 0.04, 0.5, 0.54])
    plan = Sampling(frames=1, fps=None).plan(0.0, 0.6, times)
    assert plan.frame_seconds[:, 0].tolist() == times.tolist()
    assert plan.seconds.tolist() == [[0.0, 0.04], [0.04, 0.5], [0.5, 0.54], [0.54, 0.6]]


def test_segments_of_own_frames_start_as_the_published_breakfast_features_do():
    """Start i of N in a video of n frames is floor(i (n - 32) / N)."""
    times = np.arange(1000) / 15
    plan = Sampling(frames=32, fps=None, segments=64).plan(0.0, 1000 / 15, times)
    starts = np.searchsorted(times, plan.frame_seconds[:, 0])
    assert starts.tolist() == [math.floor(i * (1000 - 32) / 64) for i in range(64)]


def test_the_documented_example_is_what_happens():
    video = (0.0, 3.9)
    by_end = {end: Sampling(4, 2, 1, end=end).plan(*video) for end in END_POLICIES}
    assert by_end["drop"].seconds.tolist() == [[0, 2], [1, 3]]
    assert by_end["repeat"].seconds.tolist() == [[0, 2], [1, 3], [2, 3.9]]
    assert by_end["repeat"].frame_seconds[2].tolist() == [2, 2.5, 3, 3.5]
    np.testing.assert_allclose(by_end["shift"].seconds[2], [1.9, 3.9])
    np.testing.assert_allclose(by_end["shift"].frame_seconds[2], [1.9, 2.4, 2.9, 3.4])


def test_a_video_shorter_than_one_clip_follows_the_rule_for_the_end():
    for end in ("repeat", "shift"):
        plan = Sampling(4, 2, 1, end=end).plan(5.0, 5.8)
        assert plan.seconds.tolist() == [[5.0, 5.8]]
        assert plan.frame_seconds.tolist() == [[5.0, 5.5, 5.8, 5.8]]
    with pytest.raises(VideoTooShort, match=r"the video has 0.8 s, one clip needs 2 s; end='repeat' fills it up"):
        Sampling(4, 2, 1, end="drop").plan(5.0, 5.8)
    assert len(Sampling(frames=4, fps=2, segments=3).plan(0.0, 0.8)) == 3


def test_a_container_that_rounds_to_milliseconds_costs_no_clip_and_adds_none():
    for end in END_POLICIES:
        for duration in (9.999, 10.0, 10.001):
            assert len(Sampling(1, 1, 1, end=end).plan(0.0, duration)) == 10, (end, duration)


def test_ten_hours_at_a_stride_that_no_float_hits_do_not_wander():
    plan = Sampling(1, 10, 0.1).plan(0.0, 10 * HOUR)
    assert len(plan) == 360_000
    assert abs(plan.frame_seconds[-1, 0] - (10 * HOUR - 0.1)) < 1e-9


def test_a_plan_is_cut_by_slices():
    plan = Sampling(2, 2, 1).plan(0.0, 10.0)
    part = plan[3:5]
    assert (len(part), part.frames) == (2, 2)
    assert part.seconds.tolist() == [[3, 4], [4, 5]]
    assert len(plan[20:]) == 0


@given(frame_counts, rates, begins, st.floats(1, 100))
def test_plans_and_samplings_survive_json_exactly(frames, fps, begin, duration):
    sampling = Sampling(frames, fps, end="shift")
    assert Sampling.from_dict(json.loads(json.dumps(sampling.to_dict()))) == sampling
    plan = sampling.plan(begin, begin + duration)
    again = ClipPlan.from_dict(json.loads(json.dumps(as_json(plan))))
    assert np.array_equal(again.frame_seconds, plan.frame_seconds)
    assert np.array_equal(again.seconds, plan.seconds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "Sampling.frames=0: should be at least 1"),
        ({"fps": 0}, "Sampling.fps=0: should be more than 0"),
        ({"fps": float("nan")}, "Sampling.fps=nan: should be a finite number"),
        ({"stride_seconds": -1.0}, "Sampling.stride_seconds=-1.0: should be more than 0"),
        ({"stride_seconds": float("inf")}, "Sampling.stride_seconds=inf: should be a finite number"),
        ({"segments": 0}, "Sampling.segments=0: should be at least 1"),
        ({"segments": 4, "stride_seconds": 1.0}, "segments=4 with stride_seconds=1.0: .* give one of the two"),
        ({"pace": 3}, "Sampling has no field 'pace'; its fields are frames, fps"),
    ],
)
def test_impossible_samplings_are_refused_with_the_value_given(options, message):
    with pytest.raises(ConfigError, match=message):
        Sampling.from_dict(options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("Sampling().plan(0.0, 5.0)[3]", "a plan is indexed with a slice of clips, plan[a:b], not 3"),
    ],
)
def test_values_of_a_wrong_type_are_refused_outside_of_pytest_too(call, message):
    """In a process of its own, because here the shape checks would come first."""
    run = subprocess.run(
        [sys.executable, "-c", f"from longvid.clips.sampling import Sampling; {call}"], capture_output=True, text=True
    )
    assert run.stderr.splitlines()[-1].endswith(message)


def test_a_video_that_ends_before_it_begins_is_refused():
    for begin, end in ((1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match="it must end after it starts"):
            Sampling().plan(begin, end)


def test_own_frames_cannot_be_planned_without_their_times():
    with pytest.raises(ValueError, match="pass their measured frame_seconds"):
        Sampling(frames=4, fps=None).plan(0.0, 1.0)


def test_the_frame_on_screen_is_the_last_that_began_rounding_forgiven():
    times = np.arange(10) * 0.1
    instants = np.array([-1.0, 0.0, 0.0999, 0.1, 0.3 - 1e-9, 0.1 * 3, 0.95, 100.0])
    assert frames_on_screen(times, instants).tolist() == [0, 0, 0, 1, 3, 3, 9, 9]


def test_planning_loads_neither_torch_nor_a_decoder():
    code = (
        "import sys; from longvid.clips.sampling import Sampling; Sampling().plan(0.0, 5.0); "
        "assert not {'torch', 'av', 'decord'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
