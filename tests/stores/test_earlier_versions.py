"""Stores that earlier versions wrote are readable for ever.

`written_by_0_1_0.zarr` (float16) and `written_by_0_1_0_int8.zarr` were written by version 0.1.0 and are never made
again: two complete videos, `plain` and `Cam01/P03`, and one, `begun`, whose second shard was not written.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from longvid.stores import FeatureStore, verify

HERE = Path(__file__).parent
KEYS = {"plain": 6, "Cam01/P03": 3, "begun": 6}


def written(key: str) -> np.ndarray:
    """The features (clips, 2, 3) that version 0.1.0 was given."""
    num_clips, seed = KEYS[key], list(KEYS).index(key)
    return (np.arange(num_clips * 6).reshape(num_clips, 2, 3) + 100 * seed).astype(np.float32) / 8


@pytest.fixture(params=["float16", "int8"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    """A copy of a store of version 0.1.0, open for writing."""
    name = "written_by_0_1_0" + ("_int8" if request.param == "int8" else "") + ".zarr"
    return FeatureStore.open(shutil.copytree(HERE / name, tmp_path / name), mode="a")


def assert_reads_as_written(store: FeatureStore, key: str) -> None:
    half_step = 0.5001 * np.abs(written(key)).max(axis=2, keepdims=True) / 127 if store.recipe.dtype == "int8" else 0
    assert (np.abs(store.video(key).read(0, KEYS[key]) - written(key)) <= half_step).all()


def test_a_store_of_version_0_1_0_is_read(old: FeatureStore):
    assert old.keys() == ["Cam01/P03", "plain"]
    for key in old.keys():  # noqa: SIM118 -- a store is not a dictionary
        assert_reads_as_written(old, key)
        starts = np.arange(KEYS[key]) + 0.5
        np.testing.assert_array_equal(old.video(key).seconds, np.stack([starts, starts + 2.0], axis=1))
    assert old.video("Cam01/P03").source["size_bytes"] == 1001


def test_a_store_of_version_0_1_0_is_sound(old: FeatureStore):
    assert verify(old) == []


def test_a_video_that_version_0_1_0_began_is_finished(old: FeatureStore):
    assert old.missing("begun") == [1]
    old.write_shard("begun", 1, written("begun")[4:])
    old.complete("begun")
    assert_reads_as_written(old, "begun")
    old.update_catalogue()
    assert verify(old) == []
