"""Windows hold the clips they say they hold, padding is never a token, and workers change nothing."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from longvid.errors import AnnotationError
from longvid.tasks import ManifestRow, Task
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import Draw, RandomWindows, WindowDataset, Windows, collate, split_by_presence

CLIPS = {"a": 9, "b": 3, "c": 6}


def rows(*keys: str, **values) -> list[ManifestRow]:
    return [ManifestRow(key, label=index % 2, **values) for index, key in enumerate(keys)]


TASK = Task("t", "classification", ("no", "yes"))


def test_a_window_is_its_clips_token_by_token_in_order_of_time(make_store):
    dataset = WindowDataset(make_store(CLIPS), rows("a", "c"), Windows(clips=3, stride=2))
    item = dataset[1]
    assert (item.video, item.first_clip, item.stop_clip) == (0, 2, 5)
    np.testing.assert_allclose(item.tokens[:, 0].float(), [2, 2.1, 3, 3.1, 4, 4.1], atol=2e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_batches_are_float32_whatever_the_store_holds(make_store, dtype):
    dataset = WindowDataset(make_store(CLIPS, dtype=dtype), rows("a", "b", "c"), Windows(clips=3))
    batch = collate([dataset[i] for i in range(len(dataset))])
    assert batch.tokens.dtype == torch.float32
    stored = np.concatenate([v.read(0, v.num_clips) for v in map(dataset.video, range(3))]).astype(np.float32)
    np.testing.assert_array_equal(batch.tokens.reshape(stored.shape), stored)


def test_a_short_video_is_padded_with_zeros_and_its_length_says_so(make_store):
    dataset = WindowDataset(make_store(CLIPS), rows("a", "b"), Windows(clips=5), task=TASK)
    batch = collate([dataset[i] for i in range(len(dataset))], length=dataset.max_length)
    assert batch.tokens.shape == (3, 10, 3)
    assert batch.lengths.tolist() == [10, 10, 6]
    assert not batch.tokens[2, 6:].any()
    assert batch.targets.tolist() == [0, 0, 1]
    assert batch.clips.tolist() == [[0, 5], [4, 9], [0, 3]]


def test_only_the_seconds_that_count_are_cut_into_windows(make_store):
    dataset = WindowDataset(make_store(CLIPS), rows("a", start_seconds=2.0, end_seconds=7.0), Windows(clips=2))
    assert dataset.ranges.tolist() == [[2, 4], [4, 6], [5, 7]]


def test_a_span_without_clips_and_an_absent_video_are_named(make_store):
    store = make_store(CLIPS)
    with pytest.raises(AnnotationError, match=r"list\.csv:4: no stored clip between"):
        WindowDataset(store, rows("a", start_seconds=90.0, source="list.csv:4"), Windows())
    with pytest.raises(AnnotationError, match="video 'z' is not complete in"):
        WindowDataset(store, rows("z"), Windows())
    assert [[r.key for r in part] for part in split_by_presence(store, rows("a", "z"))] == [["a"], ["z"]]


def test_an_incomplete_video_is_absent(make_store):
    store = make_store(CLIPS)
    writable = type(store).open(store.location, mode="a")
    writable.plan("half", np.array([[0.0, 1.0]]), {})
    assert [r.key for r in split_by_presence(store, rows("half", "a"))[1]] == ["half"]


def test_segments_are_even_in_evaluation_and_a_seeded_choice_in_training(make_store):
    dataset = WindowDataset(make_store(CLIPS), rows("a", "b"), Windows(segments=4))
    picked = [dataset[i].tokens[::2, 0].int().tolist() for i in (0, 1)]
    assert picked == [[0, 2, 4, 6], [100, 100, 101, 102]]
    draws = [dataset[Draw(0, seed)].tokens[::2, 0].int().tolist() for seed in (5, 5, 6)]
    assert draws[0] == draws[1] != draws[2]
    assert all(draw == sorted(set(draw)) for draw in draws)


def test_dense_targets_are_the_labels_of_the_windows_own_clips(make_store):
    task = Task("steps", "dense", ("off", "on"))
    labelled = [ManifestRow("a", label=[[0, 4, "off"], [4, 9, "on"]]), ManifestRow("b", label=[[0, 2, 1]])]
    dataset = WindowDataset(make_store(CLIPS), labelled, Windows(clips=4), task=task)
    batch = collate([dataset[i] for i in range(len(dataset))])
    assert batch.targets.tolist() == [[0] * 4, [1] * 4, [1] * 4, [1, 1, UNLABELLED, UNLABELLED]]
    assert dataset.targets().tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, UNLABELLED]


@pytest.mark.parametrize("draw", ["windows", "videos"])
def test_an_epoch_is_a_function_of_seed_and_epoch_alone(make_store, draw):
    dataset = WindowDataset(make_store(CLIPS), rows("a", "b", "c"), Windows(clips=2), training=True)

    def epoch(number: int, seed: int = 0) -> list[Draw]:
        sampler = RandomWindows(dataset, draw=draw, seed=seed)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
    assert epoch(3) != epoch(3, seed=1)
    assert len(epoch(0)) == 3


def test_drawing_videos_takes_each_once_and_drawing_windows_prefers_long_ones(make_store):
    dataset = WindowDataset(
        make_store({"long": 100, "short": 3}), rows("long", "short"), Windows(clips=3), training=True
    )
    by_video, by_window = (RandomWindows(dataset, draw=draw) for draw in ("videos", "windows"))
    counted = np.zeros((2, 2), int)
    for epoch in range(200):
        for kind, sampler in enumerate((by_video, by_window)):
            sampler.set_epoch(epoch)
            counted[kind] += np.bincount(dataset.video_of_window[[d.window for d in sampler]], minlength=2)
    assert counted[0].tolist() == [200, 200]
    assert counted[1][0] > 380  # 98 of 99 windows


def test_every_window_is_drawn_in_the_end(make_store):
    dataset = WindowDataset(make_store(CLIPS), rows("a", "b", "c"), Windows(clips=2), training=True)
    sampler, drawn = RandomWindows(dataset, draw="videos"), set()
    for epoch in range(100):
        sampler.set_epoch(epoch)
        drawn |= {draw.window for draw in sampler}
    assert drawn == set(range(len(dataset)))


def test_spawned_workers_give_the_batches_that_one_process_gives(make_store):
    dataset = WindowDataset(make_store(CLIPS), rows("a", "b", "c"), Windows(clips=2), task=TASK, training=True)
    loader = partial(DataLoader, dataset, batch_size=2, collate_fn=collate)
    alone = list(loader(sampler=RandomWindows(dataset)))
    spawned = list(loader(sampler=RandomWindows(dataset), num_workers=2, multiprocessing_context="spawn"))
    for one, other in zip(alone, spawned, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b)


def test_a_data_set_travels_without_what_it_has_opened(make_store):
    dataset = WindowDataset(make_store(CLIPS), rows("a"), Windows())
    before = dataset[0].tokens
    copy = pickle.loads(pickle.dumps(dataset))
    assert not copy._videos
    assert torch.equal(copy[0].tokens, before)
