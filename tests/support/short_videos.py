"""Four short videos with their features, and small runs trained on them."""

from pathlib import Path
from typing import Any

from longvid.clips.sampling import Sampling
from longvid.pipelines.demo.videos import Script, encode
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest, ManifestRow


def extract_short_videos(folder: Path) -> None:
    """Write `v0.mp4` to `v3.mp4` (two of split train, one of val and test), `manifest.jsonl` and `features.zarr`."""
    rows = []
    for index, split in enumerate(("train", "train", "val", "test")):
        encode(Script(f"v{index}", index % 2, 5.0 + index, 0.5, 2.5, seed=index), folder)
        path = str(folder / f"v{index}.mp4")
        rows.append(ManifestRow(f"v{index}", split=split, label=("a", "b")[index % 2], path=path))
    Manifest(tuple(rows)).write(folder / "manifest.jsonl")
    job = ExtractionJob(
        "patch-statistics",
        encoder_options={"size": 32, "dim": 16, "frames": 2},
        seed=3,
        sampling=Sampling(frames=2, fps=4.0, stride_seconds=0.5),
        pooling="mean",
    )
    extract([VideoRequest(row.key, str(row.path)) for row in rows], job, folder / "features.zarr", scheduler="inline")


def train_on_short_videos(folder: Path, out: str, **settings: Any) -> None:
    """Train a run of two seeds on these features into `folder/out`."""
    defaults: dict[str, Any] = {
        "store": str(folder / "features.zarr"),
        "manifest": str(folder / "manifest.jsonl"),
        "out": str(folder / out),
        "decoder": {"name": "mean-linear"},
        "epochs": 2,
        "seeds": [0, 1],
        "tensorboard": False,
        "device": "cpu",
    }
    train(TrainConfig.of(defaults | settings))
