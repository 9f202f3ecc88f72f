"""The size of a store on disk is known before it is made."""

from pathlib import Path

import pytest

from longvid.stores import FeatureStore
from longvid.stores.info import disk_bytes
from longvid.stores.layout import make_layout

SIZES = {"clips_per_shard": 8, "clips_per_chunk": 4}


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("num_clips", [1, 4, 8, 21])
def test_the_bytes_of_a_video_are_known_beforehand(
    dtype: str, num_clips: int, tmp_path: Path, make_recipe, make_features, write_video
) -> None:
    recipe = make_recipe(dtype=dtype)
    store = FeatureStore.create(tmp_path / "f", recipe, **SIZES)
    write_video(store, "v", make_features(num_clips))
    record = store.record("v")
    made = sum(file.stat().st_size for file in (tmp_path / "f/videos/v").rglob("*") if file.is_file())
    assert record is not None
    assert disk_bytes(recipe, make_layout(recipe, **SIZES), record) == made


def test_compression_never_takes_more_than_was_told(tmp_path: Path, make_recipe, make_features, write_video) -> None:
    recipe = make_recipe()
    store = FeatureStore.create(tmp_path / "f", recipe, **SIZES, compression="zstd")
    write_video(store, "v", 0 * make_features(64))
    record = store.record("v")
    made = sum(file.stat().st_size for file in (tmp_path / "f/videos/v").rglob("*") if file.is_file())
    assert record is not None
    assert made <= disk_bytes(recipe, store.layout, record)


def test_an_estimate_is_what_the_video_takes(store: FeatureStore, make_features, make_seconds, write_video) -> None:
    source = {"size_bytes": 10, "about": {"problems": ["one"]}}
    told = store.estimate(9, key="v", seconds=make_seconds(9), source=source)
    write_video(store, "v", make_features(9), source=source)
    files = [file for file in (Path(store.location) / "videos/v").rglob("*") if file.is_file()]
    assert (told.files, told.disk_bytes) == (len(files), sum(file.stat().st_size for file in files))
    assert told.token_bytes == 9 * 3 * 8 * 2
    assert abs(store.estimate(9).disk_bytes - told.disk_bytes) < 1000


def test_an_unknown_way_to_check_is_refused_by_name(store: FeatureStore, unchecked) -> None:
    code = f"from longvid.stores import FeatureStore; FeatureStore.open({store.location!r}, check='sometimes')"
    assert "check='sometimes': choose 'always', 'once' or 'never'" in unchecked(code)
