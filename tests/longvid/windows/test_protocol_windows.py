"""The windows that published protocols ask for: cut ends kept or not, short videos filled up or not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.errors import ConfigError
from longvid.tasks import ManifestRow, Task
from longvid.windows import WindowDataset, Windows, collate


def one_a_second(num_clips: int) -> np.ndarray:
    return np.stack([np.arange(num_clips), np.arange(num_clips) + 1.0], axis=1)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (20, [[0, 20]]),
        (60, [[0, 60], [16, 60]]),
        (61, [[0, 60], [16, 61]]),
        (62, [[0, 60], [16, 62], [32, 62]]),
        (100, [[0, 60], [16, 76], [32, 92], [48, 100], [64, 100]]),
    ],
)
def test_a_window_that_the_end_cuts_is_kept_from_a_certain_length(duration, expected):
    windows = Windows(seconds=60.0, stride_seconds=16.0, shortest_seconds=30.0)
    assert windows.evaluated(duration, one_a_second(duration)).tolist() == expected


@given(num_clips=st.integers(1, 90), length=st.integers(1, 60), stride=st.integers(1, 20), share=st.floats(0.1, 1))
def test_no_kept_window_is_shorter_than_asked_but_that_of_a_short_video(num_clips, length, stride, share):
    windows = Windows(seconds=float(length), stride_seconds=float(stride), shortest_seconds=max(0.5, length * share))
    ranges = windows.evaluated(num_clips, one_a_second(num_clips))
    assert ranges[0, 0] == 0
    assert ((np.diff(ranges)[1:] >= length * share - 1e-3) & (np.diff(ranges)[1:] <= length)).all()
    assert (np.diff(ranges[:, 0]) == stride).all()


def test_zero_clips_of_a_padded_video_count_as_tokens_and_those_of_a_masked_one_do_not(make_store):
    rows = [ManifestRow("a", label=0), ManifestRow("b", label=1)]
    task = Task("t", "classification", ("no", "yes"))
    store = make_store({"a": 9, "b": 3})
    lengths = {}
    for short in ("padded", "masked"):
        dataset = WindowDataset(store, rows, Windows(clips=5, stride=4, short=short), task=task)
        batch = collate([dataset[i] for i in range(len(dataset))], length=dataset.max_length)
        assert batch.tokens.shape == (3, 10, 3)
        assert not batch.tokens[2, 6:].any()
        lengths[short] = batch.lengths.tolist()
    assert lengths == {"padded": [10, 10, 10], "masked": [10, 10, 6]}


def test_where_all_videos_are_short_a_padded_window_is_still_whole(make_store):
    dataset = WindowDataset(make_store({"a": 3}), [ManifestRow("a")], Windows(clips=5, short="padded"))
    assert dataset.max_length == len(dataset[0].tokens) == 10


@pytest.mark.parametrize(
    "settings", [{"short": "padded"}, {"short": "padded", "seconds": 3.0}, {"shortest_seconds": 3.0}]
)
def test_impossible_windows_are_refused(settings):
    with pytest.raises(ConfigError, match="window:"):
        Windows(**settings)


def test_a_dense_task_has_no_labels_for_added_clips(make_store):
    task = Task("t", "dense", ("no", "yes"))
    with pytest.raises(ConfigError, match=r"window\.short=masked"):
        WindowDataset(make_store({"a": 3}), [], Windows(clips=5, short="padded"), task=task)
