"""A small encoder learns a larger one's stored features.

The long videos are the demo's (order and distance of two events). The teacher, an X-ViT of 64 x 64 pixels, is
fine-tuned on labelled seconds of some videos: a red disc, a blue square, or neither. It then encodes other videos,
without labels, into a store, from which the student learns: at most a tenth of the teacher's operations. A decoder is
trained on the features that the teacher, the student, and the same student with random weights give of the demo's
videos.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longvid.clips.sampling import Sampling
from longvid.encoders import build_encoder
from longvid.encoders.table import count_operations
from longvid.pipelines.bench.keeping import bench_folder
from longvid.pipelines.bench.pretrain import spread
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.demo.videos import CLASSES, EVENT_SECONDS, MARGIN_SECONDS, Script, encode_all, write_scripts
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.together import Target
from longvid.pipelines.learning.config import FinetuneConfig, config_of, load_distillation
from longvid.pipelines.learning.distil import distil
from longvid.pipelines.learning.finetune import finetune
from longvid.pipelines.machine.cores import available_cores
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.train import train
from longvid.stores.layout import DEFAULT_CLIPS_PER_SHARD
from longvid.tasks import Manifest, ManifestRow

TEACHER_OPTIONS: dict[str, Any] = {"size": 64, "fps": 8.0}
STUDENT_OPTIONS: dict[str, Any] = {"frames": 4, "size": 32, "fps": 4.0}
TEACHER, STUDENT = "xvit-nano", "video-mobile-former-nano"
WHO = ("teacher", "student", "random student")
STRIDE_SECONDS = 1.0
"""Clips of one second, of eight frames for the teacher and four for the student."""
EVENTS = ("blue square", "neither", "red disc")
GOAL_SHARE, GOAL_OPERATIONS = 0.95, 0.1


@dataclass(frozen=True)
class Size:
    """How much is drawn and trained."""

    labelled_events: int
    """Videos of which the teacher sees labelled seconds."""
    unlabelled: int
    """Videos that the student learns from."""
    decoded: int
    """Videos of the demo's task: 70 % to train decoders, 10 % to validate, 20 % to test."""
    teacher_epochs: int
    student_epochs: int
    decoder_epochs: int
    seeds: int


FULL = Size(24, 24, 440, teacher_epochs=12, student_epochs=12, decoder_epochs=60, seeds=3)
QUICK = replace(
    FULL, labelled_events=16, unlabelled=8, decoded=60, teacher_epochs=6, student_epochs=6, decoder_epochs=40, seeds=1
)


def run(*, quick: bool = False, keep: Path | None = None) -> BenchTable:
    """Operations per clip, and test accuracy of a decoder on each encoder's features.

    `keep`: a folder of what is drawn, extracted and trained, in which a bench that was stopped goes on.
    """
    with bench_folder(keep, quick=quick) as place:
        return measured(place, QUICK if quick else FULL)


def measured(place: Path, size: Size) -> BenchTable:
    """The whole chain in a folder: fine-tune, extract, distil, extract, train decoders, evaluate."""
    scripts = {
        "events": write_scripts(size.labelled_events, seed=11),
        "unlabelled": write_scripts(size.unlabelled, seed=12),
        "demo": write_scripts(size.decoded, seed=0),
    }
    files = {
        name: encode_all(some, place / name, processes=min(2, available_cores())) for name, some in scripts.items()
    }
    teacher = finetune(teacher_config(place, scripts["events"], files["events"], size))
    weights = {"teacher": teacher.weights}
    _extract(files["unlabelled"], weights, {"teacher": place / "unlabelled.zarr"})
    words = [
        f"store={place / 'unlabelled.zarr'}",
        f"videos={place / 'unlabelled'}",
        f"out={place / 'student'}",
        f"epochs={size.student_epochs}",
        "batch_size=64",
        "optimiser.learning_rate=2e-3",
        "optimiser.average=0.99",
        "device=cpu",
        *(f"encoder.options.{name}={value}" for name, value in STUDENT_OPTIONS.items()),
    ]
    student = distil(load_distillation(STUDENT, words))
    weights["student"] = student.weights
    _write_task(place / "demo.jsonl", scripts["demo"], files["demo"])
    _extract(files["demo"], weights, {who: place / f"{who}.zarr" for who in WHO})
    accuracy = {who: _decoder_accuracy(place, who, size) for who in WHO}
    return _table(size, accuracy, weights, teacher.metrics["accuracy"], student.metrics["cosine"])


def _table(
    size: Size, accuracy: dict[str, list[float]], weights: dict[str, str], events: float, cosine: float
) -> BenchTable:
    operations = {who: _operations(who) for who in accuracy}
    table = BenchTable(
        f"A decoder on {size.decoded // 5} unseen videos, accuracy in percent, {size.seeds} seeds; chance is 25",
        ["features of", "million operations per clip", "accuracy"],
    )
    for who, found in accuracy.items():
        table.rows.append([who, operations[who] / 1e6, spread([100 * value for value in found])])
    mean = {who: float(np.mean(found)) for who, found in accuracy.items()}
    table.claim("student's operations over the teacher's", operations["student"] / operations["teacher"],
                at_most=GOAL_OPERATIONS)  # fmt: skip
    table.claim("student's accuracy over the teacher's", mean["student"] / mean["teacher"], at_least=GOAL_SHARE)
    table.notes.append(f"random student's accuracy over the teacher's: {mean['random student'] / mean['teacher']:.3g}")
    table.notes.append(
        f"the teacher names {100 * events:.0f} % of held-out seconds; cosine of student and teacher on held-out videos "
        f"{cosine:.3f}; the student saw {size.unlabelled} videos and no label"
    )
    return table


def _operations(who: str) -> int:
    """Operations of one clip, two per multiply-add."""
    name, options = (TEACHER, TEACHER_OPTIONS) if who == "teacher" else (STUDENT, STUDENT_OPTIONS)
    with torch.device("meta"):
        return count_operations(build_encoder(name, **options))[0]


def teacher_config(place: Path, scripts: list[Script], files: list[Path], size: Size) -> FinetuneConfig:
    """The teacher's fine-tuning on labelled seconds: both events, and three seconds before the first."""
    rows = []
    for index, (script, path) in enumerate(zip(scripts, files, strict=True)):
        first = min(script.red_seconds, script.blue_seconds)
        parts = {
            "red disc": (script.red_seconds, script.red_seconds + EVENT_SECONDS),
            "blue square": (script.blue_seconds, script.blue_seconds + EVENT_SECONDS),
            "neither": (max(0.0, first - MARGIN_SECONDS), first - 1 / 6),
        }
        for label, (start, end) in parts.items():
            key, split = f"{script.name} {label}", "val" if index % 5 == 0 else "train"
            rows.append(
                ManifestRow(key, split=split, label=label, path=str(path), start_seconds=start, end_seconds=end)
            )
    Manifest(tuple(rows)).write(place / "events.jsonl")
    return config_of(
        FinetuneConfig,
        {
            "encoder": {"name": TEACHER, "options": TEACHER_OPTIONS, "head_dropout": 0.0},
            "manifest": str(place / "events.jsonl"),
            "classes": list(EVENTS),
            "clips": {"augmentation": {"crop": "random", "flip": 0.5}},
            "optimiser": {"learning_rate": 1e-3},
            "epochs": size.teacher_epochs * 4,
            "batch_size": 16,
            "workers": 0,
            "device": "cpu",
            "validation": {"every_epochs": size.teacher_epochs},
            "out": str(place / "teacher"),
        },
    )


def _extract(files: list[Path], weights: dict[str, str], stores: dict[str, Path]) -> None:
    """The features that the encoders give of the files; frames are decoded once for all of them."""
    first, *others = [(_job(who, weights), store) for who, store in stores.items()]
    targets = [Target(job, store, DEFAULT_CLIPS_PER_SHARD) for job, store in others]
    extract([VideoRequest(path.stem, str(path)) for path in files], *first, others=targets)


def _job(who: str, weights: dict[str, str]) -> ExtractionJob:
    name, options = (TEACHER, TEACHER_OPTIONS) if who == "teacher" else (STUDENT, STUDENT_OPTIONS)
    frames = 8 if who == "teacher" else int(STUDENT_OPTIONS["frames"])
    return ExtractionJob(
        name,
        encoder_options=dict(options),
        weights=weights.get(who),
        sampling=Sampling(frames=frames, fps=float(frames), stride_seconds=STRIDE_SECONDS),
        pooling="mean",
        batch_clips=32,
        torch_threads=available_cores(),
        device="cpu",
    )


def _write_task(manifest: Path, scripts: list[Script], files: list[Path]) -> None:
    rows = []
    for index, (script, path) in enumerate(zip(scripts, files, strict=True)):
        share = index / len(scripts)
        split = "train" if share < 0.7 else "val" if share < 0.8 else "test"
        rows.append(ManifestRow(path.stem, split=split, label=CLASSES[script.class_index], path=str(path)))
    Manifest(tuple(rows)).write(manifest)


def _decoder_accuracy(place: Path, who: str, size: Size) -> list[float]:
    """Test accuracy of the demo's decoder, by seed."""
    settings: dict[str, Any] = {
        "store": str(place / f"{who}.zarr"),
        "manifest": str(place / "demo.jsonl"),
        "decoder": {"name": "vis4mer", "options": {"width": 64, "dropout": 0.1}},
        "standardise": True,
        "epochs": size.decoder_epochs,
        "optimiser": {"learning_rate": 5e-3},
        "seeds": list(range(size.seeds)),
        "tensorboard": False,
        "device": "cpu",
        "out": str(place / f"run {who}"),
    }
    train(TrainConfig.of(settings))
    return [seed.metrics["accuracy"] for seed in evaluate(settings["out"], split="test").seeds]
