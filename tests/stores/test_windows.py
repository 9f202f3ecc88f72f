"""Any window of any store is what numpy slices from the array that was written."""

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from longvid.stores import DamagedStore, FeatureStore, Recipe, StoredVideo
from longvid.stores.mapped import MappedArray
from longvid.stores.shard import encode_shard


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int]:
    """(clips_per_chunk, clips_per_shard, num_clips)"""
    clips_per_chunk = draw(st.integers(1, 4))
    return clips_per_chunk, clips_per_chunk * draw(st.integers(1, 4)), draw(st.integers(1, 40))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=layouts(), dtype=st.sampled_from(["float16", "float32", "int8"]), data=st.data())
def test_the_mapped_and_the_ordinary_reader_give_what_numpy_slices(
    layout, dtype, data, make_recipe, make_features, write_video, tmp_path_factory
):
    clips_per_chunk, clips_per_shard, num_clips = layout
    sizes = {"clips_per_shard": clips_per_shard, "clips_per_chunk": clips_per_chunk}
    folder = FeatureStore.create(tmp_path_factory.mktemp("windows") / "f", make_recipe(dtype=dtype), **sizes)
    memory = FeatureStore.create(MemoryStore(), make_recipe(dtype=dtype), **sizes)
    features = make_features(num_clips)
    for store in (folder, memory):
        write_video(store, "v", features)
    truth = memory.video("v").read(0, num_clips)
    if dtype != "int8":
        np.testing.assert_array_equal(truth, features)
    mapped, ordinary = folder.video("v"), memory.video("v")
    for _ in range(5):
        start_clip = data.draw(st.integers(0, num_clips - 1))
        stop_clip = data.draw(st.integers(start_clip + 1, num_clips))
        np.testing.assert_array_equal(mapped.read(start_clip, stop_clip), truth[start_clip:stop_clip])
        np.testing.assert_array_equal(ordinary.read(start_clip, stop_clip), truth[start_clip:stop_clip])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(st.integers(0, 60), min_size=1, max_size=12).map(sorted),
    length=st.integers(0, 8),
    start=st.integers(-3, 70),
    span=st.integers(1, 40),
)
def test_a_range_of_seconds_is_what_comparing_each_clip_gives(edges, length, start, span, make_recipe, make_features):
    store = FeatureStore.create(MemoryStore(), make_recipe())
    seconds = np.array([[edge, edge + length] for edge in edges], float)
    store.plan("v", seconds, {})
    store.write_shard("v", 0, make_features(len(edges)))
    store.complete("v")
    stop = start + span
    wanted = [i for i, (a, b) in enumerate(seconds) if a < stop and (b > start or a == b >= start)]
    if not wanted:
        with pytest.raises(IndexError):
            store.video("v").read_seconds(start, stop)
        return
    tokens, found = store.video("v").read_seconds(start, stop)
    np.testing.assert_array_equal(tokens, make_features(len(edges))[wanted])
    np.testing.assert_array_equal(found, seconds[wanted])


@pytest.fixture
def written(store: FeatureStore, make_features, write_video) -> StoredVideo:
    """A complete video `v` of 11 clips in three shards of a local store."""
    write_video(store, "v", make_features(11))
    return store.video("v")


@pytest.fixture
def mapping(store: FeatureStore) -> MappedArray:
    """The fast path to the tokens of the video `v` of 11 clips."""
    return MappedArray(Path(store.location) / "videos/v", "tokens", np.dtype("<f2"), (3, 8), store.layout, 11)


def test_the_fast_path_is_the_one_that_is_taken(written: StoredVideo, mapping: MappedArray, make_features):
    np.testing.assert_array_equal(mapping.read(1, 10), make_features(11)[1:10])
    assert written.read(1, 10).flags.owndata
    assert not written._opened  # zarr was not asked


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b"\0"),
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-20] + bytes(20)),
    ],
    ids=["truncated", "longer", "empty", "gone", "another index"],
)
def test_an_odd_file_is_left_to_the_ordinary_reader(
    spoil: Callable[[Path], object], store: FeatureStore, written: StoredVideo, mapping: MappedArray
):
    spoil(Path(store.location) / "videos/v/tokens/c.1.0.0")
    assert mapping.read(0, 4) is not None
    assert mapping.read(2, 6) is None
    with pytest.raises(DamagedStore, match="longvid repair"):
        written.read(2, 6)


def test_a_shard_written_by_zarr_itself_is_read_by_who_asks_for_no_check(store, written, mapping, make_features):
    import zarr

    features = make_features(11, seed=5).astype(np.float16)
    array = zarr.open_array(Path(store.location) / "videos/v/tokens", mode="r+")
    array[4:8] = features[4:8]
    unchecked = FeatureStore.open(store.location, check="never").video("v")
    np.testing.assert_array_equal(unchecked.read(4, 8), features[4:8])
    np.testing.assert_array_equal(written.read(0, 4), make_features(11)[:4])
    with pytest.raises(DamagedStore, match="shard 1 of `tokens`: chunk 0 is not the one that was written there"):
        written.read(4, 8)


def test_an_array_described_otherwise_is_left_to_the_ordinary_reader(store, written, make_features):
    document = Path(store.location) / "videos/v/tokens/zarr.json"
    document.write_text(document.read_text().replace('"attributes": {}', '"attributes": {"note": 1}'))
    np.testing.assert_array_equal(written.read(1, 10), make_features(11)[1:10])
    assert written._opened


@pytest.mark.parametrize("position", [0, 40, 95, 96, 99, 100])  # two chunks of 96 bytes, each with a checksum of 4
def test_a_changed_byte_is_not_read_as_a_number(position, store, written):
    file = Path(store.location) / "videos/v/tokens/c.1.0.0"
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedStore, match="shard 1 of `tokens`: chunk"):
        written.read(0, 11)
    assert len(written.read(0, 4)) == 4


def test_a_video_made_again_is_not_read_from_the_old_file(store, written, make_features, write_video):
    np.testing.assert_array_equal(written.read(0, 11), make_features(11))
    store.delete("v")
    write_video(store, "v", make_features(11, seed=3))
    np.testing.assert_array_equal(store.video("v").read(0, 11), make_features(11, seed=3))


def test_windows_are_copies(written: StoredVideo, make_features):
    written.read(0, 4)[:] = 0
    np.testing.assert_array_equal(written.read(0, 4), make_features(11)[:4])


def test_many_more_shards_than_file_descriptors_can_be_read(
    tmp_path, make_recipe: Callable[..., Recipe], make_features
):
    store = FeatureStore.create(tmp_path / "many", make_recipe(), clips_per_shard=1)
    features = make_features(500).astype(np.float16)
    store.plan("v", np.arange(1000.0).reshape(-1, 2), {})
    for i in range(500):  # past `write_shard`, whose flushes to the disk would take seconds
        shard = encode_shard(features[i : i + 1], store.layout, fill_value=np.nan)
        (tmp_path / f"many/videos/v/tokens/c.{i}.0.0").write_bytes(shard)
    store.complete("v")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "next").open("w") as file:  # gets the lowest free number
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 300, hard))
    try:
        np.testing.assert_array_equal(store.video("v").read(0, 500), features)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
