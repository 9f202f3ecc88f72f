"""What a store takes on the disk can be told before it is made."""

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
