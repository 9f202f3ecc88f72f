"""Windows hold the clips of a video that are there: no NaN in any."""

import numpy as np
import pytest
import torch

from longvid.errors import AnnotationError
from longvid.tasks import ManifestRow, Task
from longvid.windows import WindowDataset, Windows, collate

ABSENT = {"a": [2, 3, 4]}
CLIPS = {"a": 9, "b": 6}
ROWS = [ManifestRow("a", label=0), ManifestRow("b", label=1)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("windows", [Windows(), Windows(clips=4), Windows(segments=3), Windows(seconds=4.0)])
def test_no_window_holds_nan_and_every_clip_that_is_there_is_in_one(make_store, dtype, windows):
    data = WindowDataset(make_store(CLIPS, dtype=dtype, absent=ABSENT), ROWS, windows)
    batch = collate([data[index] for index in range(len(data))])
    assert torch.isfinite(batch.tokens).all()
    seen = {round(float(value)) for item in data for value in item.tokens[::2, 0] if item.video == 0}
    assert seen == ({0, 5, 7} if windows.segments else {0, 1, 5, 6, 7, 8})
    assert data.partial == {"a": 3}


def test_the_steps_that_are_not_there_are_not_counted(make_store):
    data = WindowDataset(make_store(CLIPS, absent=ABSENT), ROWS, Windows())
    assert [len(item.tokens) for item in data] == [12, 12]
    assert (data.span(0), data.max_clips) == ((0, 6), 6)
    np.testing.assert_array_equal(data.seconds(0)[:, 0], [0, 1, 5, 6, 7, 8])


def test_clips_of_a_window_keep_the_labels_of_their_seconds(make_store):
    task = Task("t", "dense", ("no", "yes"))
    rows = [ManifestRow("a", label=[[0, 6, "no"], [6, 9, "yes"]])]
    data = WindowDataset(make_store(CLIPS, absent=ABSENT), rows, Windows(clips=4, stride=2), task=task)
    np.testing.assert_array_equal(data.clip_targets(0), [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(data[1].target, [0, 1, 1, 1])


def test_a_listed_part_is_that_part_of_the_clips_that_are_there(make_store):
    store = make_store(CLIPS, absent=ABSENT)
    (item,) = WindowDataset(store, [ManifestRow("a", start_seconds=1.0, end_seconds=7.0)], Windows())
    np.testing.assert_allclose(item.tokens[::2, 0].float(), [1, 5, 6])
    with pytest.raises(AnnotationError, match="no stored clip between"):
        WindowDataset(store, [ManifestRow("a", start_seconds=2.0, end_seconds=5.0)], Windows())
