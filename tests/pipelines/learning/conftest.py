"""A few made-up clips as files, and the smallest recipes that learn from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.learning.config import FinetuneConfig, load_finetuning
from longvid.pipelines.learning.motions import write_motions
from longvid.pipelines.training.progress import Quiet


@pytest.fixture(scope="session")
def motions(tmp_path_factory) -> Path:
    """A manifest of 80 clips of sixteen motions, 16 of them for validation."""
    manifest = tmp_path_factory.mktemp("motions") / "motion.jsonl"
    write_motions(manifest, count=80, seed=0)
    return manifest


@pytest.fixture
def recipe(motions, tmp_path) -> Callable[..., FinetuneConfig]:
    """The smallest fine-tuning: `recipe("epochs=3")`, two epochs of `dualformer-nano` without dropout."""

    def make(*overrides: str, name: str = "motion-dualformer") -> FinetuneConfig:
        words = [f"manifest={motions}", f"out={tmp_path / 'run'}", "epochs=2", "workers=0", "device=cpu"]
        return load_finetuning(name, [*words, "batch_size=16", *overrides])

    return make


@pytest.fixture(scope="session")
def teacher_store(tmp_path_factory, make_video) -> Callable[..., Path]:
    """A store of hand-made statistics of six coloured videos: `teacher_store(frames=2, pooling="spatial")`."""
    folder = tmp_path_factory.mktemp("teacher")
    random = np.random.default_rng(0)
    videos = []
    for index in range(6):
        colours = [tuple(map(int, random.integers(0, 255, 3))) for _ in range(4)]
        videos.append(make_video(folder / f"video-{index}.mp4", seconds=4, colours=colours))

    def make(name: str = "a", *, frames: int = 2, pooling: str = "spatial") -> Path:
        store = folder / f"{name}-{frames}-{pooling}.zarr"
        if not store.exists():
            options = {"dim": 16, "frames": frames, "size": 32}
            job = ExtractionJob("patch-statistics", encoder_options=options, pooling=pooling, torch_threads=1)
            extract([VideoRequest(path.stem, str(path)) for path in videos], job, store)
        return store

    make.videos = folder  # type: ignore[attr-defined]
    return make


class CutOff(Quiet):
    """Presses Ctrl-C at the end of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_ended(self, row) -> None:
        if row.epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def cut_off() -> type[CutOff]:
    """A progress display that interrupts the training after an epoch."""
    return CutOff
