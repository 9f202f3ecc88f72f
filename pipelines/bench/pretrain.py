"""What pretraining is worth where labels are few, against from scratch.

Made-up long videos: a video goes through six states at a tempo of its own, in one of four cyclic orders, its class.
Every state occurs equally often in every class, so that only the order tells classes apart; a clip shows its state's
prototype, the appearance that its whole video shares, and noise. 4 or 16 videos per class have a label, and a quarter
of these choose the epoch and the learning rate; all training videos, without labels, are pretrained on.

All ways have the same decoder, labelled videos, number of steps and learning rates to choose from, trained side by
side as a `grid`. Accuracy is on unseen videos, over three seeds of data, labels and weights. What was tuned for the
pretraining (decoder, objective, its rate and length) was chosen on another draw of videos, that of seed 0.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.pretraining.config import PretrainConfig
from longvid.pipelines.pretraining.results import PretrainResult
from longvid.pipelines.pretraining.run import pretrain
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest, ManifestRow

CLASSES = ("order-a", "order-b", "order-c", "order-d")
STATES = 6
ORDERS = ((0, 1, 2, 3, 4, 5), (0, 2, 1, 3, 5, 4), (0, 4, 1, 5, 3, 2), (0, 5, 2, 4, 3, 1))
"""Cyclic orders of the states; no two share a step."""
DIM = 32
APPEARANCE, NOISE = 0.5, 0.4
"""Sizes of what a video shares and of each clip's noise; a state's prototype has size 1."""
LABELLED = (4, 16)
"""Labelled videos per class."""
GOAL_POINTS = 15.0
SEEDS = (1, 2, 3)
"""Seeds of data, labels and weights; the draw of seed 0 was looked at while settings were chosen."""
PRETRAINING_RATE = 5e-3
LEARNING_RATES = (1e-3, 3e-3, 1e-2)
"""The same for every way; the labelled videos that are held out choose."""
DECODERS: dict[str, dict[str, Any]] = {
    "lstm": {"width": 64},
}
OBJECTIVE: dict[str, Any] = {"mask": "spans", "mean_span": 4.0}
WAYS: dict[str, dict[str, Any]] = {
    "from scratch": {},
    "pretrained, frozen": {"frozen": True},
    "pretrained, fine-tuned": {},
}
SCRATCH = "from scratch"


@dataclass(frozen=True)
class Size:
    """How much is made up and trained."""

    videos: int
    """Training videos, without labels but for a few."""
    tested: int
    clips: int
    pretraining_epochs: int
    steps: int
    """Steps of every training with labels."""
    seeds: int
    decoders: tuple[str, ...]
    labelled: tuple[int, ...]


FULL = Size(
    videos=320,
    tested=200,
    clips=64,
    pretraining_epochs=20,
    steps=200,
    seeds=3,
    decoders=tuple(DECODERS),
    labelled=LABELLED,
)
QUICK = replace(FULL, tested=100, seeds=1, labelled=LABELLED[:1])


@dataclass(frozen=True)
class Outcome:
    """One decoder and seed."""

    decoder: str
    seed: int
    pretraining: PretrainResult
    accuracy: dict[tuple[str, int], float]
    """Test accuracy by way and number of labelled videos per class."""


def run(*, quick: bool = False) -> BenchTable:
    """Accuracies on unseen videos, and the pretraining's loss beside the guesses that need no model."""
    size = QUICK if quick else FULL
    outcomes = list(all_outcomes(size))
    spread_of = "one seed" if size.seeds == 1 else f"mean and deviation over {size.seeds} seeds"
    table = BenchTable(
        f"Accuracy in percent on {size.tested} unseen videos of {size.clips} clips, {spread_of}; chance is 25",
        ["decoder", "way", *(f"{count} labels per class" for count in size.labelled)],
    )
    for name in size.decoders:
        found = [outcome for outcome in outcomes if outcome.decoder == name]
        for way in WAYS:
            values = ([100 * outcome.accuracy[way, count] for outcome in found] for count in size.labelled)
            table.rows.append([name, way, *(spread(value) for value in values)])
        few = size.labelled[0]
        gains = {
            way: mean(100 * (outcome.accuracy[way, few] - outcome.accuracy[SCRATCH, few]) for outcome in found)
            for way in WAYS
            if way != SCRATCH
        }
        best = max(gains, key=lambda way: gains[way])
        table.claim(f"{name}: points that {best} gains with {few} labels per class", gains[best], at_least=GOAL_POINTS)
        losses = [outcome.pretraining.val or outcome.pretraining.train for outcome in found]
        table.claim(
            f"{name}: held-out loss over the best guess that needs no model",
            mean(compared.loss / compared.hardest for compared in losses),
            at_most=1.0,
        )
        table.notes.append(
            f"{name}: {found[0].pretraining.parameters:,} parameters, pretrained on {size.videos} videos without "
            f"labels, {found[0].pretraining.epochs} epochs, {found[0].pretraining.hours_per_second:.2f} hours of video "
            f"per second; then {size.steps} steps with labels in every way, at {len(LEARNING_RATES)} learning rates "
            "of which labelled videos that are held out choose"
        )
    return table


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.1f}" if len(values) == 1 else f"{mean(values):.1f} +- {stdev(values):.1f}"


def all_outcomes(size: Size) -> Iterator[Outcome]:
    """Every decoder and seed, each in a process with one thread, with a bar on standard error."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(outcome_of, name, seed, size) for seed in SEEDS[: size.seeds] for name in size.decoders]
        bar = track(as_completed(runs), "pretraining", total=len(runs), console=Console(stderr=True), transient=True)
        for done in bar:
            yield done.result()


def outcome_of(name: str, seed: int, size: Size) -> Outcome:
    """Make the videos, pretrain, and train every way with every number of labels."""
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="longvid-bench-") as folder:
        place = Path(folder)
        rows = make_videos(place / "features.zarr", size, seed)
        Manifest(tuple(rows)).write(place / "unlabelled.jsonl")
        result = pretrain(pretraining(name, seed, size, place))
        accuracy = {}
        for count in size.labelled:
            Manifest(tuple(with_labels(rows, count))).write(place / f"labelled-{count}.jsonl")
            for index, way in enumerate(WAYS):
                config = training(name, way, seed, size, place, count, f"run-{count}-{index}")
                train(config)
                found = evaluate(config.out, split="test")
                accuracy[way, count] = found.metrics["accuracy"].mean
    return Outcome(name, seed, result, accuracy)


def pretraining(name: str, seed: int, size: Size, place: Path) -> PretrainConfig:
    """Settings of the pretraining."""
    return PretrainConfig.of(
        {
            "stores": [str(place / "features.zarr")],
            "manifest": str(place / "unlabelled.jsonl"),
            "decoder": {"name": name, "options": DECODERS[name]},
            "objective": OBJECTIVE,
            "window": {"clips": size.clips, "shortest": size.clips // 2},
            "epochs": size.pretraining_epochs,
            "batch_size": 16,
            "optimiser": {"learning_rate": PRETRAINING_RATE},
            "validation": {"every_epochs": size.pretraining_epochs},
            "seed": seed,
            "device": "cpu",
            "out": str(place / "pretraining"),
        }
    )


def training(name: str, way: str, seed: int, size: Size, place: Path, count: int, out: str) -> TrainConfig:
    """Settings of one training with labels; the same number of steps however many labels there are."""
    start = {} if way == SCRATCH else {"init": str(place / "pretraining"), **WAYS[way]}
    trained = len(CLASSES) * (count - count // 4)
    batch = min(16, trained)
    epochs = max(1, size.steps * batch // trained)
    return TrainConfig.of(
        {
            "store": str(place / "features.zarr"),
            "manifest": str(place / f"labelled-{count}.jsonl"),
            "decoder": {"name": name, "options": DECODERS[name], **start},
            "validation": {"fraction": 0.25, "every_epochs": max(1, epochs // 20)},
            "epochs": epochs,
            "batch_size": batch,
            "grid": {"optimiser.learning_rate": list(LEARNING_RATES)},
            "seeds": [seed],
            "tensorboard": False,
            "device": "cpu",
            "out": str(place / out),
        }
    )


def make_videos(location: Path, size: Size, seed: int) -> list[ManifestRow]:
    """A store of training and test videos, and a row for each."""
    rng = np.random.default_rng(seed)
    store = FeatureStore.create(location, _recipe(), clips_per_shard=size.clips)
    prototypes = rng.standard_normal((STATES, DIM)) / np.sqrt(DIM)
    begins = np.arange(size.clips, dtype=np.float64)
    rows = []
    for split, count in (("train", size.videos), ("test", size.tested)):
        for index in range(count):
            key, label = f"{split}/{index}", index % len(CLASSES)
            store.plan(key, np.stack([begins, begins + 1], axis=1), {})
            store.write_shard(key, 0, clips_of(label, prototypes, size.clips, rng)[:, None].astype(np.float32))
            store.complete(key)
            rows.append(ManifestRow(key, split=split, label=CLASSES[label]))
    return rows


def clips_of(
    label: int, prototypes: Float[np.ndarray, "states dim"], num_clips: int, rng: np.random.Generator
) -> Float[np.ndarray, "clips dim"]:
    """The clips of one video."""
    order = np.roll(ORDERS[label], -int(rng.integers(STATES)))
    states = np.repeat(np.resize(order, num_clips), rng.integers(2, 5))[:num_clips]
    appearance = APPEARANCE * rng.standard_normal(DIM) / np.sqrt(DIM)
    noise = NOISE * rng.standard_normal((num_clips, DIM)) / np.sqrt(DIM)
    clips: np.ndarray = prototypes[states] + appearance + noise
    return clips


def with_labels(rows: list[ManifestRow], count: int) -> list[ManifestRow]:
    """Test videos, and the first `count` training videos of each class."""
    left = dict.fromkeys(CLASSES, count)
    chosen = []
    for row in rows:
        if row.split == "train":
            left[str(row.label)] -= 1
        if row.split == "test" or left[str(row.label)] >= 0:
            chosen.append(row)
    return chosen


def _recipe() -> Recipe:
    return Recipe(
        encoder="made-up events",
        encoder_config={},
        weights_sha256="",
        sampling={},
        preprocessing={},
        pooling="mean",
        num_tokens=1,
        dim=DIM,
    )
