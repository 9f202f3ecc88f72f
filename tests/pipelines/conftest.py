"""Videos made on the spot, a toy data set with its training recipe, and the command line as a user meets it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command import command_in_process

from longvid.pipelines.training.config import TrainConfig
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest, ManifestRow

DIM = 4
"""Of the toy data, whose classes differ in the order of events only: pooled features cannot tell them apart."""


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """Writes a small video whose colour says something: `make_video(path, seconds=2, colours=[(255, 0, 0), ...])`.

    The colours follow each other, each for an equal share of the time.
    """

    def make(
        path: Path,
        *,
        seconds: float = 2.0,
        colours: list[tuple[int, int, int]] | None = None,
        fps: int = 8,
        side: int = 64,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = colours or [(90, 90, 90)]
        num_frames = round(seconds * fps)
        texture = np.random.default_rng(0).integers(0, 30, (side, side, 3))
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            stream.time_base = Fraction(1, fps)
            for index in range(num_frames):
                colour = np.array(shown[index * len(shown) // num_frames])
                pixels = np.clip(colour + texture, 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `longvid` in a folder of its own: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return command_in_process(capsys)


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
