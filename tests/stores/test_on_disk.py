"""Format 1 as others meet it: the same bytes every time, plain zarr, and quick to open however large."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from longvid.stores import FeatureStore, Recipe, path_name
from longvid.stores.digests import digests_document, document_sha256
from longvid.stores.layout import Layout, default_clips_per_chunk


def test_a_store_finished_after_interruptions_is_byte_for_byte_the_uninterrupted_one(
    tmp_path, make_recipe, make_features, make_seconds, write_video, folder_bytes
):
    straight = FeatureStore.create(tmp_path / "straight", make_recipe(), clips_per_shard=4)
    for key in ("a", "b"):
        write_video(straight, key, make_features(9))
    straight.update_catalogue()
    broken = FeatureStore.create(tmp_path / "broken", make_recipe(), clips_per_shard=4)
    broken.plan("b", make_seconds(9), {"size_bytes": 10})
    broken.write_shard("b", 2, make_features(9)[8:])
    time.sleep(0.01)
    again = FeatureStore.create(tmp_path / "broken", make_recipe(), clips_per_shard=4)
    for key in ("b", "a"):
        write_video(again, key, make_features(9))
    again.update_catalogue()
    assert folder_bytes(tmp_path / "broken") == folder_bytes(tmp_path / "straight")


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_zarr_understands_the_documents_and_would_write_the_same_shards(
    dtype, compression, tmp_path, make_recipe, make_features, write_video
):
    store = FeatureStore.create(
        tmp_path / "f", make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2, compression=compression
    )
    write_video(store, "v", make_features(9))
    folder = tmp_path / "f/videos/v/tokens"
    array = zarr.open_array(LocalStore(folder), mode="r")
    assert array.metadata.to_dict() == zarr.open_array(LocalStore(folder), mode="r").metadata.to_dict()
    assert array.shards == (4, 3, 8)
    assert array.chunks == (2, 3, 8)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "zarr.json").write_bytes((folder / "zarr.json").read_bytes())
    written = zarr.open_array(LocalStore(copy), mode="r+", config={"write_empty_chunks": True})
    for first in (0, 4, 8):
        written[first : first + 4] = array[first : first + 4]
    for file in sorted(folder.iterdir()):
        assert (copy / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("key", ["v", "P03/cam01 (a)"])
def test_xarray_opens_one_video_by_its_group(store, make_features, write_video, key):
    xarray = pytest.importorskip("xarray")
    write_video(store, key, make_features(9))
    with xarray.open_zarr(store.location, group=store.video(key).group, consolidated=False) as data:
        assert data.tokens.dims == ("clip", "token", "dim")
        assert dict(data.sizes) == {"clip": 9, "token": 3, "dim": 8, "edge": 2}
        np.testing.assert_array_equal(data.tokens.isel(clip=slice(2, 7)).values, make_features(9)[2:7])
        np.testing.assert_array_equal(data.seconds.values, store.video(key).seconds)
        assert data.attrs["key"] == key


def test_xarray_opens_a_whole_store_as_a_tree(store, make_features, write_video):
    xarray = pytest.importorskip("xarray")
    for key in ("v", "w"):
        write_video(store, key, make_features(9))
    with xarray.open_datatree(store.location, engine="zarr", consolidated=False) as tree:
        keys = {tree[store.video(key).group].attrs["key"] for key in ("v", "w")}
        assert keys == {"v", "w"}
        assert tree[store.video("v").group].tokens.shape == (9, 3, 8)


def test_xarray_and_a_line_of_arithmetic_read_int8(tmp_path, make_recipe, make_features, write_video):
    xarray = pytest.importorskip("xarray")
    store = FeatureStore.create(tmp_path / "f", make_recipe(dtype="int8"))
    write_video(store, "v", make_features(9))
    with xarray.open_zarr(tmp_path / "f", group="videos/v", consolidated=False, mask_and_scale=False) as data:
        np.testing.assert_array_equal((data.tokens * data.scale).values, store.video("v").read(0, 9))


def test_a_missing_shard_reads_as_nan_in_zarr_itself(store, make_features, write_video):
    write_video(store, "v", make_features(9))
    (Path(store.location) / "videos/v/tokens/c.1.0.0").unlink()
    tokens = zarr.open_array(Path(store.location) / "videos/v/tokens", mode="r")[:]
    assert np.isnan(tokens[4:8]).all()
    assert not np.isnan(tokens[:4]).any()


def test_nothing_on_the_disk_tells_the_time(store, make_features, write_video, folder_bytes):
    write_video(store, "v", make_features(9))
    store.update_catalogue()
    text = b"\n".join(data for path, data in folder_bytes(Path(store.location)).items() if path.endswith(".json"))
    for word in (b"created", b"date", b"time", str(time.gmtime().tm_year).encode()):
        assert word not in text


def test_the_shard_of_a_short_video_is_no_longer_than_its_clips(tmp_path, make_recipe, make_features, write_video):
    store = FeatureStore.create(tmp_path / "f", make_recipe(), clips_per_shard=64, clips_per_chunk=1)
    write_video(store, "v", make_features(3))
    (shard,) = (tmp_path / "f/videos/v/tokens").glob("c.*")
    assert shard.stat().st_size == 3 * (3 * 8 * 2 + 4) + 64 * 16 + 4


@pytest.mark.parametrize(
    ("num_tokens", "dim", "dtype", "clips_per_shard", "expected"),
    [(197, 1024, "float16", 64, 1), (17, 768, "float16", 64, 16), (1, 768, "float16", 64, 64), (1, 8, "int8", 7, 7)],
)
def test_a_chunk_is_what_fits_into_half_a_megabyte(num_tokens, dim, dtype, clips_per_shard, expected, make_recipe):
    recipe = make_recipe(num_tokens=num_tokens, dim=dim, dtype=dtype)
    assert default_clips_per_chunk(recipe, clips_per_shard) == expected


def _many_videos(folder: Path, store: FeatureStore, num_videos: int) -> None:
    """Fill the store with copies of its video `v` under other keys; every hundredth with its arrays, which is cheap."""
    record, rows = store.record("v"), store.digests("v")
    assert record is not None
    assert rows is not None
    for i in range(num_videos):
        copy = replace(record, key=f"cam{i % 7}/P{i:05d}")
        video = folder / "videos" / path_name(copy.key)
        digests = digests_document(copy, rows)
        if i % 100 == 0:
            shutil.copytree(folder / "videos/v", video)
            (video / "digests/zarr.json").write_bytes(digests)
        else:
            video.mkdir()
        (video / "zarr.json").write_bytes(copy.completed(document_sha256(digests)).to_bytes())


_OPEN_AND_READ = """
import sys, time
from longvid.stores import FeatureStore
begin = time.perf_counter()
store = FeatureStore.open(sys.argv[1])
lengths = store.num_clips()
tokens = store.video("cam2/P00100").read(1, 3)
print(len(lengths), time.perf_counter() - begin, float(tokens.astype("f4").sum()))
"""


@pytest.mark.parametrize("num_videos", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_store_of_many_videos_opens_in_a_second(num_videos, store, make_features, write_video):
    write_video(store, "v", make_features(4))
    _many_videos(Path(store.location), store, num_videos)
    store.update_catalogue()
    seconds = []
    for _ in range(3):
        command = [sys.executable, "-c", _OPEN_AND_READ, store.location]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found, taken, total = done.stdout.split()
        assert (int(found), float(total)) == (
            num_videos + 1,
            pytest.approx(float(make_features(4)[1:3].sum()), rel=1e-2),
        )
        seconds.append(float(taken))
    assert min(seconds) < 1.0


def test_importing_stores_is_light():
    program = "import sys, stores; print(*sorted({'torch', 'dask', 'h5py', 'av', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_store_s_document_says_how_its_features_were_made(store: FeatureStore):
    attributes = json.loads((Path(store.location) / "zarr.json").read_text())["attributes"]
    assert attributes["format"] == 1
    assert attributes["digest"] == store.recipe.digest
    assert Recipe.from_dict(attributes["recipe"]) == store.recipe
    assert store.layout == Layout(4, 2, None)
