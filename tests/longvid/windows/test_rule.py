"""However a video is cut, every clip is in some window and every window is in the video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.errors import ConfigError
from longvid.windows.rule import Windows, clips_within


def even_seconds(num_clips: int, each: float = 1.0) -> np.ndarray:
    begins = np.arange(num_clips) * each
    return np.stack([begins, begins + each], axis=1)


WINDOWS = st.one_of(
    st.builds(Windows, clips=st.integers(1, 12), stride=st.none() | st.integers(1, 12)),
    st.builds(Windows, seconds=st.floats(0.6, 20), stride_seconds=st.none() | st.floats(0.6, 20)),
    st.just(Windows()),
)


@given(windows=WINDOWS, num_clips=st.integers(1, 40), each=st.floats(0.3, 3), training=st.booleans())
def test_windows_lie_in_the_video_in_order_of_time_and_reach_its_end(windows, num_clips, each, training):
    seconds = even_seconds(num_clips, each)
    ranges = (windows.trained if training else windows.evaluated)(num_clips, seconds)
    assert (ranges[:, 0] < ranges[:, 1]).all()
    assert ranges.min() == 0
    assert ranges.max() == num_clips
    assert (np.diff(ranges[:, 0]) >= 0).all()
    assert len(np.unique(ranges, axis=0)) == len(ranges)


@given(length=st.integers(1, 12), num_clips=st.integers(1, 40))
def test_windows_without_overlap_leave_no_clip_out(length, num_clips):
    ranges = Windows(clips=length).evaluated(num_clips)
    assert {clip for first, stop in ranges.tolist() for clip in range(first, stop)} == set(range(num_clips))
    assert all(stop - first == min(length, num_clips) for first, stop in ranges.tolist())


@pytest.mark.parametrize(("duration", "windows"), [(30, 1), (60, 1), (61, 2), (133, 74)])
def test_one_minute_windows_at_one_second_count_as_the_lvu_protocol_does(duration, windows):
    """max(1, duration - 59) windows, by clips and by seconds alike."""
    by_clips = Windows(clips=60, stride=1).evaluated(duration)
    by_seconds = Windows(seconds=60.0, stride_seconds=1.0).evaluated(duration, even_seconds(duration))
    assert len(by_clips) == windows
    np.testing.assert_array_equal(by_clips, by_seconds)


def test_the_last_clip_is_in_a_window_even_if_windows_are_shorter_than_clips():
    windows = Windows(seconds=0.75, stride_seconds=2.0)
    assert windows.evaluated(2, even_seconds(2)).tolist() == [[0, 1], [1, 2]]


def test_training_may_draw_every_start_that_leaves_room():
    assert Windows(clips=3).trained(5).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert Windows(seconds=1.5).trained(5, even_seconds(5, 0.5)).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert Windows(clips=9).trained(5).tolist() == [[0, 5]]


def test_windows_of_seconds_follow_uneven_clips():
    seconds = np.array([[0, 1], [1, 5], [5, 6], [6, 7], [7, 8.0]])
    assert Windows(seconds=4.0).evaluated(5, seconds).tolist() == [[0, 2], [2, 5]]


@given(segments=st.integers(1, 20), num_clips=st.integers(1, 60), seed=st.none() | st.integers(0, 9))
def test_segments_are_clips_in_order(segments, num_clips, seed):
    picks = Windows(segments=segments).picks(num_clips, seed)
    assert len(picks) == segments
    assert (np.diff(picks) >= 0).all()
    assert picks.min() >= 0
    assert picks.max() < num_clips
    if num_clips >= segments:
        assert len(set(picks.tolist())) == segments


def test_few_clips_are_repeated_as_the_published_code_repeats_them():
    """floor(arange(0, S, S / 64)) for S stored segments."""
    assert Windows(segments=64).picks(40, None).tolist() == [int(i * 40 / 64) for i in range(64)]


def test_clips_count_by_their_middle():
    assert clips_within(even_seconds(6), 0.6, 3.4) == (1, 3)
    assert clips_within(even_seconds(6), None, None) == (0, 6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clips": 3, "seconds": 2.0}, "one of clips, seconds and segments"),
        ({"clips": 0}, "Windows.clips=0: should be at least 1"),
        ({"stride": 2}, "needs `clips`"),
        ({"stride_seconds": 2.0}, "needs `seconds`"),
    ],
)
def test_impossible_windows_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Windows(**settings)
