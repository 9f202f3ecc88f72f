"""Tests that a store must pass in any place, to run on your own.

    from longvid.stores.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def place(self):
            return {"location": MyZarrStore()}       # or a path, or a URL with storage_options

Needs pytest. The class holds everything its tests need; the functions below make small recipes, features and videos.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from longvid.stores import (
    DamagedStore,
    FeatureStore,
    IncompleteVideo,
    InvalidTokens,
    InvalidWindow,
    NotAFeatureStore,
    Recipe,
    RecipeMismatch,
    SourceChanged,
    StoreNotFound,
    StoreReadOnly,
    VideoNotInStore,
    repair,
    verify,
)

KEY = "cam01/P03"
NUM_TOKENS, DIM = 3, 8


def toy_recipe(**fields: Any) -> Recipe:
    """A recipe of 3 tokens of 8 numbers; keywords replace its fields."""
    given: dict[str, Any] = {
        "encoder": "toy",
        "encoder_config": {"depth": 2},
        "weights_sha256": "0" * 64,
        "sampling": {"fps": 8, "frames": 4},
        "preprocessing": {"size": 32},
        "pooling": "mean",
        "num_tokens": NUM_TOKENS,
        "dim": DIM,
    }
    return Recipe(**(given | fields))


def toy_features(num_clips: int, seed: int = 0, shape: tuple[int, int] = (NUM_TOKENS, DIM)) -> np.ndarray:
    """Features (num_clips, tokens, dim), float32, of numbers that float16 represents exactly."""
    values = np.random.default_rng(seed).standard_normal((num_clips, *shape))
    return values.astype(np.float16).astype(np.float32)


def toy_seconds(num_clips: int) -> np.ndarray:
    """(num_clips, 2): two-second clips, one every second, starting at 0.5."""
    starts = np.arange(num_clips) + 0.5
    return np.stack([starts, starts + 2.0], axis=1)


def write_toy_video(
    store: FeatureStore,
    key: str,
    features: np.ndarray,
    *,
    source: dict[str, Any] | None = None,
    complete: bool = True,
) -> None:
    """Plan a video, write its missing shards and complete it."""
    store.plan(key, toy_seconds(len(features)), source or {"size_bytes": 10})
    for shard_index in store.missing(key):
        first_clip, stop_clip = store.shard_clips(key, shard_index)
        store.write_shard(key, shard_index, features[first_clip:stop_clip])
    if complete:
        store.complete(key)


def _bytes_at(store: FeatureStore, path: str) -> bytes:
    """The bytes of an object that must exist, read directly from the place."""
    data = store.place.get(path)
    assert data is not None, path
    return data


class StoreContract:
    """Tests of every store. A subclass gives the place: a fixture `place` with `location`, and `storage_options`.

    Each test needs an empty place of its own. Where round trips are slow, override `dtype` to test int8 alone, which
    writes every kind of array.
    """

    @pytest.fixture
    def place(self) -> dict[str, Any]:
        """Arguments of `FeatureStore.create` and `open` for one empty place."""
        raise NotImplementedError("a subclass must say where the store is")

    @pytest.fixture(params=["float16", "float32", "int8"])
    def dtype(self, request: pytest.FixtureRequest) -> str:
        """How tokens are stored."""
        return str(request.param)

    @pytest.fixture
    def recipe(self, make_recipe: Callable[..., Recipe]) -> Recipe:
        """A recipe of 3 tokens of 8 numbers."""
        return make_recipe()

    @pytest.fixture
    def make_recipe(self) -> Callable[..., Recipe]:
        """`toy_recipe`."""
        return toy_recipe

    @pytest.fixture
    def make_features(self) -> Callable[..., np.ndarray]:
        """`toy_features`."""
        return toy_features

    @pytest.fixture
    def make_seconds(self) -> Callable[[int], np.ndarray]:
        """`toy_seconds`."""
        return toy_seconds

    @pytest.fixture
    def write_video(self) -> Callable[..., None]:
        """`write_toy_video`."""
        return write_toy_video

    @pytest.fixture
    def store(self, place: dict[str, Any], recipe: Recipe) -> FeatureStore:
        """An empty store: shards of 4 clips in chunks of 2."""
        return FeatureStore.create(**place, recipe=recipe, clips_per_shard=4, clips_per_chunk=2)

    def test_what_was_written_is_read(
        self,
        place: dict[str, Any],
        dtype: str,
        make_recipe: Callable[..., Recipe],
        make_features: Callable[..., np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        store = FeatureStore.create(**place, recipe=make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2)
        features = make_features(11)
        write_video(store, KEY, features)
        video = FeatureStore.open(**place).video(KEY)
        tokens = video.read(0, 11)
        if dtype == "int8":
            scale = np.abs(features).max(axis=2, keepdims=True) / 127
            assert tokens.dtype == np.float32
            assert (np.abs(tokens - features) <= scale * 0.5001).all()
        else:
            assert tokens.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(tokens, features)
        for start_clip, stop_clip in [(0, 1), (3, 5), (2, 9), (10, 11), (4, 8)]:
            np.testing.assert_array_equal(video.read(start_clip, stop_clip), tokens[start_clip:stop_clip])

    def test_compressed_is_read_like_uncompressed(
        self,
        place: dict[str, Any],
        dtype: str,
        make_recipe: Callable[..., Recipe],
        make_features: Callable[..., np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        store = FeatureStore.create(
            **place, recipe=make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2, compression="zstd"
        )
        write_video(store, KEY, make_features(7))
        plain = FeatureStore.create(MemoryStore(), make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2)
        write_video(plain, KEY, make_features(7))
        np.testing.assert_array_equal(store.video(KEY).read(1, 6), plain.video(KEY).read(1, 6))
        assert verify(store) == []

    def test_seconds_and_source_are_kept_to_the_bit(
        self, store: FeatureStore, place: dict[str, Any], make_features: Callable[..., np.ndarray]
    ) -> None:
        seconds = np.array([[0.1, 1 / 3], [2 / 3, np.nextafter(1.0, 2.0)]])
        source = {"size_bytes": 12, "fingerprint": "ab", "measured": {"end_seconds": 1 / 7}, "problems": ["早い"]}
        store.plan(KEY, seconds, source)
        store.write_shard(KEY, 0, make_features(2))
        store.complete(KEY)
        video = FeatureStore.open(**place).video(KEY)
        np.testing.assert_array_equal(video.seconds, seconds)
        assert video.source == source
        assert (video.key, video.num_clips, video.num_tokens, video.dim) == (KEY, 2, 3, 8)

    def test_a_video_goes_from_absent_to_planned_to_complete(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], make_seconds: Callable[[int], np.ndarray]
    ) -> None:
        assert store.status(KEY) == "absent"
        store.plan(KEY, make_seconds(9), {})
        assert (store.status(KEY), store.missing(KEY)) == ("planned", [0, 1, 2])
        assert [store.shard_clips(KEY, i) for i in range(3)] == [(0, 4), (4, 8), (8, 9)]
        for shard_index in (2, 0):
            store.write_shard(KEY, shard_index, make_features(9)[slice(*store.shard_clips(KEY, shard_index))])
        assert store.missing(KEY) == [1]
        assert KEY not in store
        store.write_shard(KEY, 1, make_features(9)[4:8])
        store.complete(KEY)
        assert (store.status(KEY), store.missing(KEY), KEY in store) == ("complete", [], True)

    def test_an_incomplete_video_cannot_be_read_or_completed(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], make_seconds: Callable[[int], np.ndarray]
    ) -> None:
        store.plan(KEY, make_seconds(9), {})
        store.write_shard(KEY, 0, make_features(4))
        with pytest.raises(IncompleteVideo, match=r"'cam01/P03' is not complete \(2 shards missing\)"):
            store.video(KEY)
        with pytest.raises(IncompleteVideo, match="shards 1, 2 are missing"):
            store.complete(KEY)
        assert store.keys() == []
        assert store.keys(complete=False) == [KEY]

    def test_a_video_that_was_never_planned_is_named(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray]
    ) -> None:
        for call in (
            lambda: store.video("nobody"),
            lambda: store.missing("nobody"),
            lambda: store.complete("nobody"),
            lambda: store.delete("nobody"),
            lambda: store.write_shard("nobody", 0, make_features(1)),
        ):
            with pytest.raises(VideoNotInStore, match="'nobody'"):
                call()

    def test_zeros_are_features_too(self, store: FeatureStore, write_video: Callable[..., None]) -> None:
        write_video(store, KEY, np.zeros((6, 3, 8), np.float32))
        assert (store.video(KEY).read(0, 6) == 0).all()

    def test_a_shard_that_vanished_is_never_read_as_numbers(
        self,
        place: dict[str, Any],
        dtype: str,
        make_recipe: Callable[..., Recipe],
        make_features: Callable[..., np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        store = FeatureStore.create(**place, recipe=make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2)
        write_video(store, KEY, make_features(11))
        (path,) = [d.path for d in self.take_away(store, "tokens/c.1.0.0")]
        video = store.video(KEY)
        with pytest.raises(DamagedStore, match="shard 1 of `tokens` is missing"):
            video.read(2, 6)
        assert len(video.read(0, 4)) == 4
        assert path.endswith("tokens/c.1.0.0")

    @staticmethod
    def take_away(store: FeatureStore, ending: str) -> list[Any]:
        """Remove one object directly from the place; returns what `verify` says about it."""
        folder = store.place.sizes("videos").keys() - {"zarr.json"}
        store.place.delete(f"videos/{next(iter(folder))}/{ending}")
        return verify(store)

    def test_planning_twice_changes_nothing(
        self,
        store: FeatureStore,
        make_features: Callable[..., np.ndarray],
        make_seconds: Callable[[int], np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        write_video(store, KEY, make_features(5))
        store.plan(KEY, make_seconds(5), {"size_bytes": 10})
        assert store.status(KEY) == "complete"

    def test_a_changed_source_is_refused_by_name(
        self,
        store: FeatureStore,
        make_features: Callable[..., np.ndarray],
        make_seconds: Callable[[int], np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        write_video(store, KEY, make_features(5), source={"size_bytes": 10, "measured": {"fps": 25}})
        with pytest.raises(SourceChanged, match=r"source\.measured\.fps: 25 != 30; source\.size_bytes: 10 != 11"):
            store.plan(KEY, make_seconds(5), {"size_bytes": 11, "measured": {"fps": 30}})
        with pytest.raises(SourceChanged, match="num_clips: 5 != 6"):
            store.plan(KEY, make_seconds(6), {"size_bytes": 10, "measured": {"fps": 25}})

    def test_creating_again_resumes_with_the_layout_that_is_there(
        self,
        store: FeatureStore,
        place: dict[str, Any],
        recipe: Recipe,
        make_features: Callable[..., np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        write_video(store, KEY, make_features(5))
        again = FeatureStore.create(**place, recipe=recipe)
        assert again.keys() == [KEY]
        assert again.clips_per_shard == 4

    def test_another_recipe_is_refused_with_the_fields_that_differ(
        self, store: FeatureStore, place: dict[str, Any], make_recipe: Callable[..., Recipe]
    ) -> None:
        with pytest.raises(RecipeMismatch, match=r"pooling: \"mean\" != \"class\"; sampling\.fps: 8 != 4"):
            FeatureStore.create(**place, recipe=make_recipe(pooling="class", sampling={"fps": 4, "frames": 4}))

    def test_a_place_without_a_store_is_not_opened(self, place: dict[str, Any]) -> None:
        with pytest.raises(StoreNotFound, match="no feature store"):
            FeatureStore.open(**place)

    def test_a_zarr_group_of_others_is_neither_opened_nor_written_into(
        self, place: dict[str, Any], recipe: Recipe
    ) -> None:
        probe = FeatureStore.create(**place, recipe=recipe)
        probe.place.put("zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {"title": "mine"}}')
        with pytest.raises(NotAFeatureStore, match="hold no recipe"):
            FeatureStore.open(**place)
        with pytest.raises(NotAFeatureStore):
            FeatureStore.create(**place, recipe=recipe)

    def test_a_future_format_is_refused(self, store: FeatureStore, place: dict[str, Any]) -> None:
        document = _bytes_at(store, "zarr.json").replace(b'"format": 1', b'"format": 2', 1)
        store.place.put("zarr.json", document)
        with pytest.raises(NotAFeatureStore, match="reads format 1 only"):
            FeatureStore.open(**place)

    def test_tokens_that_may_not_become_a_shard_are_refused(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], make_seconds: Callable[[int], np.ndarray]
    ) -> None:
        store.plan(KEY, make_seconds(9), {})
        good = make_features(4)
        with pytest.raises(InvalidTokens, match=r"shape \(3, 3, 8\), expected \(4, 3, 8\)"):
            store.write_shard(KEY, 0, good[:3])
        with pytest.raises(InvalidWindow, match="shards 0 to 2, not 3"):
            store.write_shard(KEY, 3, good)
        with pytest.raises(InvalidTokens, match="int32"):
            store.write_shard(KEY, 0, good.astype(np.int32))
        for wrong in (np.nan, np.inf, -np.inf):
            bad = good.copy()
            bad[2, 1, 5] = wrong
            with pytest.raises(InvalidTokens, match="shard 0: clip 2 of the shard, token 1"):
                store.write_shard(KEY, 0, bad)
        bad[2, 1, 5] = 70_000
        with pytest.raises(InvalidTokens, match=r"70000 is beyond the largest float16 \(65504\)"):
            store.write_shard(KEY, 0, bad)
        assert store.missing(KEY) == [0, 1, 2]

    def test_windows_beyond_the_video_are_refused(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        write_video(store, KEY, make_features(5))
        video = store.video(KEY)
        for start_clip, stop_clip in [(-1, 2), (2, 2), (3, 2), (0, 6), (5, 6)]:
            with pytest.raises(InvalidWindow, match="clips 0 to 5"):
                video.read(start_clip, stop_clip)

    def test_reading_by_seconds_gives_every_clip_that_shares_time(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        features = make_features(9)  # clip i lasts from i + 0.5 to i + 2.5
        write_video(store, KEY, features)
        video = store.video(KEY)
        tokens, seconds = video.read_seconds(3.0, 4.5)
        np.testing.assert_array_equal(tokens, features[1:4])
        np.testing.assert_array_equal(seconds, video.seconds[1:4])
        assert len(video.read_seconds(-5, 1000)[0]) == 9
        assert len(video.read_seconds(2.5, 2.6)[0]) == 2  # clip 0 ends where the range starts
        for start, stop in [(0.0, 0.5), (10.5, 12.0), (3.0, 3.0), (4.0, 3.0)]:
            with pytest.raises(InvalidWindow, match=r"clips from 0\.5 to 10\.5 s"):
                video.read_seconds(start, stop)

    def test_a_clip_of_one_frame_is_found_at_its_instant(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray]
    ) -> None:
        store.plan(KEY, np.array([[1.0, 1.0], [2.0, 2.0]]), {})
        store.write_shard(KEY, 0, make_features(2))
        store.complete(KEY)
        np.testing.assert_array_equal(store.video(KEY).read_seconds(2.0, 2.5)[0], make_features(2)[1:])

    def test_seconds_that_run_backwards_are_refused(self, store: FeatureStore) -> None:
        with pytest.raises(InvalidWindow, match="clip 1 lies before clip 0"):
            store.plan(KEY, [[5, 6], [1, 2]], {})
        with pytest.raises(InvalidWindow, match="clip 0 ends before it starts"):
            store.plan(KEY, [[6, 5]], {})
        with pytest.raises(InvalidWindow, match="finite"):
            store.plan(KEY, [[0, np.nan]], {})
        for seconds in ([], [[1, 2, 3]], [1, 2]):
            with pytest.raises(InvalidWindow, match="shape"):
                store.plan(KEY, seconds, {})
        assert store.status(KEY) == "absent"

    def test_a_deleted_video_is_gone_and_can_be_made_again(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        write_video(store, KEY, make_features(9))
        write_video(store, "other", make_features(3))
        store.update_catalogue()
        store.delete(KEY)
        assert store.keys() == ["other"]
        assert store.status(KEY) == "absent"
        write_video(store, KEY, make_features(6, seed=1), source={"size_bytes": 99})
        np.testing.assert_array_equal(store.video(KEY).read(0, 6), make_features(6, seed=1))
        assert verify(store) == []

    def test_shards_left_by_an_interrupted_deletion_are_not_taken_for_new_ones(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], make_seconds: Callable[[int], np.ndarray]
    ) -> None:
        store.plan(KEY, make_seconds(9), {})
        store.write_shard(KEY, 1, make_features(4))
        (name,) = store.place.sizes("videos").keys() - {"zarr.json"}
        store.place.delete(f"videos/{name}/zarr.json")
        store.plan(KEY, make_seconds(9), {"size_bytes": 11})
        assert store.missing(KEY) == [0, 1, 2]

    def test_keys_lengths_and_videos_agree(
        self,
        store: FeatureStore,
        make_features: Callable[..., np.ndarray],
        make_seconds: Callable[[int], np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        for key, num_clips in [("b", 5), ("A", 3), ("c/d", 9)]:
            write_video(store, key, make_features(num_clips))
        store.plan("planned", make_seconds(2), {})
        assert store.keys() == ["A", "b", "c/d"]
        assert len(store) == 3
        assert store.num_clips() == {"A": 3, "b": 5, "c/d": 9}
        assert [(video.key, video.num_clips) for video in store.videos()] == [("A", 3), ("b", 5), ("c/d", 9)]
        before = store.keys(complete=False)
        store.update_catalogue()
        assert store.keys(complete=False) == before == ["A", "b", "c/d", "planned"]
        assert store.num_clips() == {"A": 3, "b": 5, "c/d": 9}

    def test_shards_are_read_one_after_the_other(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        write_video(store, KEY, make_features(9))
        shards = list(store.video(KEY).iter_shards())
        assert [len(shard) for shard in shards] == [4, 4, 1]
        np.testing.assert_array_equal(np.concatenate(shards), make_features(9))

    def test_a_catalogue_cannot_make_an_incomplete_video_look_complete(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        write_video(store, KEY, make_features(9))
        store.update_catalogue()
        catalogue = _bytes_at(store, "catalogue/zarr.json")
        store.reopen(KEY)
        assert store.keys() == []
        store.place.put("catalogue/zarr.json", catalogue)  # as if another process had written it late
        assert KEY not in store
        assert store.status(KEY) == "planned"
        with pytest.raises(IncompleteVideo):
            store.video(KEY)
        assert [damage.path for damage in verify(store)] == ["catalogue/zarr.json"]
        repair(store)
        assert store.keys() == []

    def test_a_damaged_catalogue_is_as_good_as_none(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        write_video(store, KEY, make_features(9))
        store.update_catalogue()
        catalogue = _bytes_at(store, "catalogue/zarr.json")
        for damaged in (catalogue[:-20], catalogue.replace(b'"num_clips": 9', b'"num_clips": 8'), b"[]", b""):
            store.place.put("catalogue/zarr.json", damaged)
            assert store.num_clips() == {KEY: 9}

    def test_a_store_opened_for_reading_is_not_written(
        self,
        store: FeatureStore,
        place: dict[str, Any],
        make_features: Callable[..., np.ndarray],
        make_seconds: Callable[[int], np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        write_video(store, KEY, make_features(3))
        reader = FeatureStore.open(**place)
        for call in (
            lambda: reader.plan("new", make_seconds(3), {}),
            lambda: reader.delete(KEY),
            lambda: reader.reopen(KEY),
            lambda: reader.complete(KEY),
            lambda: reader.update_catalogue(),
            lambda: repair(reader),
        ):
            with pytest.raises(StoreReadOnly, match="mode='a'"):
                call()

    def test_a_complete_video_is_not_overwritten_by_a_late_worker(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        write_video(store, KEY, make_features(3))
        assert store.write_shard(KEY, 0, make_features(3, seed=9)) == 0
        np.testing.assert_array_equal(store.video(KEY).read(0, 3), make_features(3))

    def test_a_whole_store_is_verified_sound(
        self,
        place: dict[str, Any],
        dtype: str,
        make_recipe: Callable[..., Recipe],
        make_features: Callable[..., np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        store = FeatureStore.create(**place, recipe=make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2)
        write_video(store, KEY, make_features(9))
        write_video(store, "part", make_features(9)[:2], complete=False)
        store.update_catalogue()
        assert verify(store) == []

    def test_one_changed_byte_is_found_and_repaired(
        self,
        place: dict[str, Any],
        dtype: str,
        make_recipe: Callable[..., Recipe],
        make_features: Callable[..., np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        store = FeatureStore.create(**place, recipe=make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2)
        write_video(store, KEY, make_features(9))
        store.update_catalogue()
        path = (
            "videos/cam01-p03--"
            + next(n for n in store.place.sizes("videos") if n != "zarr.json")[11:]
            + "/tokens/c.1.0.0"
        )
        sound = _bytes_at(store, path)
        flipped = bytearray(sound)
        flipped[len(sound) // 3] ^= 0x10
        store.place.put(path, bytes(flipped))
        (damage,) = repair(store)
        assert (damage.kind, damage.key, damage.shard, damage.path) == ("damaged", KEY, 1, path)
        assert (store.status(KEY), store.missing(KEY), store.keys()) == ("planned", [1], [])
        write_video(store, KEY, make_features(9))
        assert store.place.get(path) == sound

    def test_zarr_reads_one_video_without_longvid(
        self, store: FeatureStore, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
    ) -> None:
        write_video(store, "plain", make_features(9))
        group = zarr.open_group(store.place.zarr_store(), path="videos/plain", mode="r")
        tokens, seconds = group["tokens"], group["seconds"]
        assert isinstance(tokens, zarr.Array)
        assert isinstance(seconds, zarr.Array)
        np.testing.assert_array_equal(np.asarray(tokens[2:7]), make_features(9)[2:7])
        np.testing.assert_array_equal(np.asarray(seconds[:]), store.video("plain").seconds)
        assert tokens.metadata.to_dict()["dimension_names"] == ("clip", "token", "dim")
        assert group.attrs["key"] == "plain"
        assert group.attrs["status"] == "complete"

    def test_info_counts_what_is_there(
        self,
        store: FeatureStore,
        make_features: Callable[..., np.ndarray],
        make_seconds: Callable[[int], np.ndarray],
        write_video: Callable[..., None],
    ) -> None:
        write_video(store, KEY, make_features(9))
        store.plan("planned", make_seconds(4), {})
        info = store.info()
        assert (info.complete_videos, info.planned_videos, info.num_clips) == (1, 1, 9)
        assert info.seconds == pytest.approx(10.0)
        assert info.token_bytes == 9 * 3 * 8 * 2
        assert info.to_dict()["digest"] == store.recipe.digest
