"""A toy data set whose classes differ in the order of events only: pooled features cannot tell them apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longvid.pipelines.training.config import TrainConfig
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest, ManifestRow

DIM = 4


def tokens_of(label: int, rng: np.random.Generator, num_clips: int) -> np.ndarray:
    """(clips, 1, DIM): event A on channel 0 before event B on channel 1 (label 0), or after it (label 1)."""
    tokens = 0.1 * rng.standard_normal((num_clips, 1, DIM))
    early, late = num_clips // 4 + rng.integers(-1, 2), 3 * num_clips // 4 + rng.integers(-1, 2)
    tokens[early, 0, label] += 3
    tokens[late, 0, 1 - label] += 3
    return tokens.astype(np.float32)


@pytest.fixture
def toy_recipe() -> Recipe:
    return Recipe(
        encoder="toy",
        encoder_config={},
        weights_sha256="0" * 64,
        sampling={"frames": 1, "fps": 1, "stride_seconds": 1},
        preprocessing={},
        pooling="mean",
        num_tokens=1,
        dim=DIM,
    )


@pytest.fixture
def make_data(tmp_path, toy_recipe) -> Callable[..., Path]:
    """Writes `features.zarr` and `manifest.csv` into a folder, and returns the folder."""

    def make(
        videos: dict[str, int] | None = None, *, num_clips: int = 16, label: Callable[[int], Any] | None = None
    ) -> Path:
        store = FeatureStore.create(tmp_path / "features.zarr", toy_recipe, clips_per_shard=64)
        rng, rows = np.random.default_rng(0), []
        for split, count in (videos or {"train": 24, "val": 8, "test": 8}).items():
            for index in range(count):
                key, order = f"{split}/{index}", index % 2
                begins = np.arange(num_clips, dtype=float)
                store.plan(key, np.stack([begins, begins + 1], axis=1), {})
                store.write_shard(key, 0, tokens_of(order, rng, num_clips))
                store.complete(key)
                given = ("a-then-b", "b-then-a")[order] if label is None else label(order)
                rows.append(ManifestRow(key, split=split, label=given))
        Manifest(tuple(rows)).write(tmp_path / "manifest.jsonl")
        return tmp_path

    return make


@pytest.fixture
def recipe_for() -> Callable[..., TrainConfig]:
    """A small, fast training recipe over the data in a folder."""

    def make(folder: Path, **settings: Any) -> TrainConfig:
        defaults: dict[str, Any] = {
            "store": str(folder / "features.zarr"),
            "manifest": str(folder / "manifest.jsonl"),
            "out": str(folder / "run"),
            "decoder": {"name": "vis4mer", "options": {"width": 16, "layers": 2, "state_size": 8}},
            "batch_size": 8,
            "epochs": 2,
            "optimiser": {"learning_rate": 1e-2},
            "tensorboard": False,
            "device": "cpu",
        }
        return TrainConfig.of(defaults | settings)

    return make
