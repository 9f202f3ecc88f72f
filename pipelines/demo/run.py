"""`longvid demo`: both stages on generated videos, two decoders compared."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

from longvid.clips.sampling import Sampling
from longvid.pipelines.demo.videos import CLASSES, Script, encode_all, write_scripts
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.reporting import report
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.results import Summary, TrainResult
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore
from longvid.tasks import Manifest, ManifestRow

TRAIN_SHARE, VAL_SHARE = 0.7, 0.1
"""The rest is the test split; classes alternate, so that every split has all of them."""

ENCODER = ExtractionJob(
    "patch-statistics",
    encoder_options={"dim": 16},
    sampling=Sampling(frames=1, fps=1.0, stride_seconds=1.0),
    pooling="spatial",
    batch_clips=32,
    torch_threads=1,
)
"""Twelve statistics and four random numbers per patch; one frame per second and one token per frame, so that a video
is a sequence of 66 to 100 tokens."""

DECODERS: dict[str, dict[str, Any]] = {
    "vis4mer": {"width": 64, "dropout": 0.1},
    "mean-linear": {},
}
EPOCHS = 60
LEARNING_RATE = 5e-3

Say = Callable[[str], Any]


@dataclass(frozen=True)
class DecoderRow:
    """One decoder's row of the table."""

    name: str
    accuracy: Summary
    """Accuracy on the held-out videos, by seed; between 0 and 1."""
    seeds: tuple[float, ...]
    parameters: int
    train_seconds: float
    """Mean over seeds."""


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo, and the places of its files."""

    decoders: tuple[DecoderRow, ...]
    chance: float
    videos: int
    test_videos: int
    video_hours: float
    video_bytes: int
    store_bytes: int
    store: str
    report: str
    seconds: dict[str, float]
    """Wall seconds of each part."""

    def facts(self) -> list[str]:
        """The lines below the table."""
        parts = ", ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())
        return [
            f"{self.test_videos} of {self.videos} videos held out; chance {100 * self.chance:.0f} %",
            f"{self.video_hours:.1f} hours of video, {self.video_bytes / 1e6:.0f} MB; "
            f"store {self.store}, {self.store_bytes / 1e6:.1f} MB",
            parts,
            f"report: {self.report}",
        ]


def demo(
    folder: Path,
    *,
    videos: int = 440,
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = EPOCHS,
    workers: int = 2,
    say: Say = print,
) -> DemoResult:
    """Draw videos, extract them over dask workers, train both decoders with every seed, write the report.

    Whatever is already in `folder` is kept, so that a second call only writes the report again.
    """
    seconds: dict[str, float] = {}
    scripts = write_scripts(videos, seed=0)
    paths, manifest = make_features(scripts, folder, workers=workers, seconds=seconds, say=say)
    with _timed(seconds, "training"):
        trained = {}
        for name in DECODERS:
            say(f"training {name} with seeds {', '.join(map(str, seeds))}")
            trained[name] = _train_all(partial(config_of, name, folder, epochs), seeds, workers)
    with _timed(seconds, "report"):
        rows = tuple(_row(result) for result in trained.values())
        page = report([folder / "runs" / name for name in DECODERS], folder / "report.html")
    return DemoResult(
        decoders=rows,
        chance=1 / len(CLASSES),
        videos=videos,
        test_videos=len(manifest.split("test")),
        video_hours=sum(script.length_seconds for script in scripts) / 3600,
        video_bytes=sum(path.stat().st_size for path in paths),
        store_bytes=FeatureStore.open(folder / "features.zarr").info().file_bytes or 0,
        store=str(folder / "features.zarr"),
        report=str(page),
        seconds=seconds,
    )


def make_features(
    scripts: list[Script],
    folder: Path,
    *,
    workers: int = 2,
    seconds: dict[str, float] | None = None,
    say: Say = lambda line: None,
) -> tuple[list[Path], Manifest]:
    """The demo's videos, its `manifest.jsonl` and its `features.zarr`, in `folder`; the videos and the manifest.

    `seconds`: is told the wall seconds of both parts.
    """
    seconds = {} if seconds is None else seconds
    with _timed(seconds, "videos"):
        say(f"drawing {len(scripts)} videos of one to two minutes in {folder / 'videos'}")
        paths = encode_all(scripts, folder / "videos", processes=workers)
        manifest = _write_manifest(scripts, paths, folder)
    with _timed(seconds, "extraction"):
        say(f"extracting features over {workers} dask workers into {folder / 'features.zarr'}")
        requests = [VideoRequest(path.stem, str(path)) for path in paths]
        extract(
            requests,
            ENCODER,
            folder / "features.zarr",
            scheduler="local",
            workers=workers,
            clips_per_shard=128,
            report_path=folder / "extraction.jsonl",
        )
    return paths, manifest


class _timed:  # noqa: N801 -- reads as a verb where it is used
    """Adds the wall-clock seconds of a block to a dictionary."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._begin = perf_counter()

    def __exit__(self, *exc: object) -> None:
        self._seconds[self._name] = perf_counter() - self._begin


def _split(index: int, videos: int) -> str:
    """The split of a video by its position in the list, so that the same scripts are always held out."""
    share = index / videos
    return "train" if share < TRAIN_SHARE else "val" if share < TRAIN_SHARE + VAL_SHARE else "test"


def _write_manifest(scripts: list[Script], paths: list[Path], folder: Path) -> Manifest:
    rows = [
        ManifestRow(script.name, _split(index, len(scripts)), CLASSES[script.class_index], str(path.absolute()))
        for index, (script, path) in enumerate(zip(scripts, paths, strict=True))
    ]
    manifest = Manifest(tuple(rows))
    manifest.write(folder / "manifest.jsonl")
    return manifest


def config_of(name: str, folder: Path, epochs: int, seeds: tuple[int, ...]) -> TrainConfig:
    """The recipe of one decoder; only the decoder differs between the two."""
    return TrainConfig.of(
        {
            "name": name,
            "store": str(folder / "features.zarr"),
            "manifest": str(folder / "manifest.jsonl"),
            "task": {"name": "order and distance", "kind": "classification", "classes": list(CLASSES)},
            "decoder": {"name": name, "options": DECODERS[name]},
            "standardise": True,
            "epochs": epochs,
            "optimiser": {"learning_rate": LEARNING_RATE},
            "seeds": list(seeds),
            "out": str(folder / "runs" / name),
            "tensorboard": False,
        }
    )


def _train_all(config: Callable[[tuple[int, ...]], TrainConfig], seeds: tuple[int, ...], workers: int) -> TrainResult:
    """Every seed of one decoder, several at once; the last call combines them into one run."""
    with ProcessPoolExecutor(min(workers, len(seeds)), mp_context=get_context("spawn")) as pool:
        list(pool.map(_train_one, [config((seed,)) for seed in seeds]))
    return train(config(seeds))


def _train_one(config: TrainConfig) -> None:
    import torch

    torch.set_num_threads(1)
    train(config)


def _row(trained: TrainResult) -> DecoderRow:
    scored = evaluate(trained.out, split="test")
    return DecoderRow(
        name=trained.decoder,
        accuracy=scored.metrics["accuracy"],
        seeds=tuple(seed.metrics["accuracy"] for seed in scored.seeds),
        parameters=trained.parameters,
        train_seconds=trained.train_seconds,
    )
