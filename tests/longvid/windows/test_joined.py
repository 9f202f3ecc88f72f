"""Stores are joined by their measured seconds: every step holds the clips of its own time, or does not exist."""

import pickle

import numpy as np
import pytest

from longvid.errors import AnnotationError, ConfigError
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import ManifestRow
from longvid.windows import Join, JoinedStores, WindowDataset, Windows, split_by_presence
from longvid.windows.joined import clips_per_step


@pytest.fixture
def store(tmp_path):
    """Makes a store whose every number is the middle of its clip in seconds, plus `tag` in thousands."""

    def make(name, videos, *, stride=1.0, length=None, tokens=1, dim=2, tag=0, start=0.0, absent=None):
        recipe = Recipe(
            encoder=name,
            encoder_config={},
            weights_sha256="0" * 64,
            sampling={},
            preprocessing={},
            pooling="mean",
            num_tokens=tokens,
            dim=dim,
            dtype="float32",
        )
        made = FeatureStore.create(tmp_path / f"{name}.zarr", recipe, clips_per_shard=256)
        for key, count in videos.items():
            begins = start + np.arange(count) * stride
            seconds = np.stack([begins, begins + (length or stride)], axis=1)
            made.plan(key, seconds, {})
            numbers = np.broadcast_to(seconds.mean(axis=1)[:, None, None], (count, tokens, dim)) + 1000 * tag
            made.write_shard(key, 0, numbers, damaged=dict.fromkeys(absent or [], "torn"))
            made.complete(key)
        return FeatureStore.open(made.location)

    return make


def test_the_coarser_store_is_the_clock_and_the_finer_ones_clips_are_averaged_in_its_steps(store):
    slow, fast = store("slow", {"v": 5}, stride=2.0), store("fast", {"v": 20}, stride=0.5, tag=1, dim=3)
    joined = JoinedStores([fast, slow], Join())
    video = joined.video("v")
    np.testing.assert_array_equal(video.seconds, slow.video("v").seconds)
    read = video.read(0, 5)
    assert (joined.recipe.num_tokens, joined.recipe.dim, read.shape) == (1, 5, (5, 1, 5))
    np.testing.assert_allclose(read[:, 0, 0], 1000 + video.seconds.mean(axis=1))  # four clips, around the same middle
    np.testing.assert_array_equal(read[:, 0, 3:], slow.video("v").read(0, 5)[:, 0])


@pytest.mark.parametrize("rate", [0.5, 1.0, 4.0])
def test_every_step_of_a_given_rate_holds_what_each_store_has_at_its_time(store, rate):
    a, b = store("a", {"v": 10}, stride=1.0, length=3.0), store("b", {"v": 40}, stride=0.25)
    video = JoinedStores([a, b], Join(rate=rate)).video("v")
    middles = video.seconds.mean(axis=1)
    np.testing.assert_allclose(np.diff(middles), 1 / rate)
    read = video.read(0, video.num_clips)[:, 0]
    # a's clips last three seconds, so their middles begin at 1.5
    assert (np.abs(read[:, 0] - middles) <= 1.5 + 1e-6).all()
    assert (np.abs(read[:, 2] - middles) <= 0.125 + 1e-6).all()


def test_token_streams_keep_every_clip_of_the_finer_store_in_order(store):
    slow, fast = (
        store("slow", {"v": 4, "w": 6}, stride=2.0, dim=2),
        store("fast", {"v": 16, "w": 24}, stride=0.5, dim=3),
    )
    join = Join(how="streams")
    assert clips_per_step([slow, fast], join, ["v", "w"]) == (1, 4)
    joined = JoinedStores([slow, fast], join, (1, 4))
    assert (joined.recipe.num_tokens, joined.recipe.dim) == (5, 3)
    read = joined.video("v").read(0, 4)
    np.testing.assert_allclose(read[:, 0, :2], [[1, 1], [3, 3], [5, 5], [7, 7]])
    assert not read[:, 0, 2].any()
    np.testing.assert_allclose(read[:, 1:, 0].ravel(), 0.25 + 0.5 * np.arange(16))


def test_seconds_that_one_store_lacks_are_no_step(store):
    a, b = store("a", {"v": 30}), store("b", {"v": 20}, start=5.0)
    video = JoinedStores([a, b], Join()).video("v")
    assert (video.seconds[0].tolist(), video.seconds[-1].tolist()) == ([5, 6], [24, 25])
    torn = store("torn", {"v": 30}, absent=[10, 11, 12])
    for how in ("features", "streams"):
        joined = JoinedStores([a, torn], Join(how=how))
        starts = joined.video("v").seconds[:, 0].tolist()
        assert starts == [t for t in range(30) if t not in (10, 11, 12)]
        data = WindowDataset(joined, [ManifestRow("v")], Windows())
        assert data.partial == {"v": 3}
        assert data[0].tokens.isfinite().all()


def test_times_that_never_meet_are_one_line_with_both(store):
    joined = JoinedStores([store("a", {"v": 10}), store("b", {"v": 10}, start=100.0)], Join())
    with pytest.raises(
        AnnotationError, match=r"video 'v': the times .* do not meet \(.*a\.zarr has 0 to 10 s, .*100 to"
    ):
        joined.video("v")


def test_a_video_is_there_only_if_every_store_has_it_and_the_lacking_one_is_known(store):
    joined = JoinedStores([store("a", {"v": 3, "w": 3}), store("b", {"w": 3, "x": 3})], Join())
    there, absent = split_by_presence(joined, [ManifestRow(key) for key in "vwx"])
    assert ([row.key for row in there], [row.key for row in absent]) == (["w"], ["v", "x"])
    assert [place.rpartition("/")[2] for place in joined.lacking("v")] == ["b.zarr"]


def test_unequal_tokens_are_refused_side_by_side_but_one_token_stands_beside_all(store):
    one, four, nine = (store(name, {"v": 3}, tokens=n) for name, n in (("one", 1), ("four", 4), ("nine", 9)))
    assert JoinedStores([one, four], Join()).video("v").read(0, 3).shape == (3, 4, 4)
    with pytest.raises(ConfigError, match=r"four\.zarr has 4 tokens .*nine\.zarr has 9: .*join\.how=streams"):
        JoinedStores([one, four, nine], Join())
    assert JoinedStores([one, four, nine], Join(how="streams")).recipe.num_tokens == 14


def test_windows_in_seconds_hold_the_same_times_as_in_a_single_store(store):
    a, b = store("a", {"v": 60}), store("b", {"v": 30}, stride=2.0)
    rows, windows = [ManifestRow("v", start_seconds=10.0, end_seconds=50.0)], Windows(seconds=20.0)
    alone, joined = WindowDataset(b, rows, windows), WindowDataset(JoinedStores([a, b], Join()), rows, windows)
    assert alone.ranges.tolist() == joined.ranges.tolist()
    for index in range(len(alone)):
        np.testing.assert_array_equal(alone[index].tokens, joined[index].tokens[:, 2:])


def test_a_joined_data_set_travels_to_worker_processes(store):
    data = WindowDataset(
        JoinedStores([store("a", {"v": 4}), store("b", {"v": 8}, stride=0.5)], Join()), [ManifestRow("v")], Windows()
    )
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[0].tokens, data[0].tokens)
