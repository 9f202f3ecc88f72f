"""Small recipes, features and stores that every test of this room starts from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from longvid.stores import FeatureStore, Recipe
from longvid.stores.testing import toy_features, toy_recipe, toy_seconds, write_toy_video


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    """A recipe of 3 tokens of 8 numbers; fields by keyword."""
    return toy_recipe


@pytest.fixture(scope="session")
def make_features() -> Callable[..., np.ndarray]:
    """Features (num_clips, tokens, dim), float32, each number exact in float16."""
    return toy_features


@pytest.fixture(scope="session")
def make_seconds() -> Callable[[int], np.ndarray]:
    """(num_clips, 2): two-second clips, one every second, starting at 0.5."""
    return toy_seconds


@pytest.fixture(scope="session")
def write_video() -> Callable[..., None]:
    """Plan a video, write its missing shards and complete it."""
    return write_toy_video


@pytest.fixture
def store(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> FeatureStore:
    """An empty store in a folder: shards of 4 clips in chunks of 2."""
    return FeatureStore.create(tmp_path / "features.zarr", make_recipe(), clips_per_shard=4, clips_per_chunk=2)


@pytest.fixture(scope="session")
def folder_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, by relative path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
