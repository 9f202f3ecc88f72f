"""Encoders that learn: motions, real digits, speed and memory.

Made-up clips of sixteen motions (`longvid.pipelines.learning.motions`): single frames look the same in every class.
The tiny variants of the three architectures are trained on them from random weights. So are their image twins, which
see the same frames one by one and whose scores are averaged: the same widths and depths without anything that joins
frames. A third column moves scikit-learn's handwritten digits instead of blobs, and tests on digits of other writers,
with one seed; these trainings start from the weights that have learned the blobs.

Speed is that of training from files with two worker processes, beside decoding alone and the step alone, in turns.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from longvid.encoders.base import Encoder
from longvid.encoders.dualformer.model import DualFormer
from longvid.encoders.learning import Classifying, classifying
from longvid.encoders.mobile_former.model import MobileFormer
from longvid.encoders.xvit.model import XViT, start_from_scratch
from longvid.files import replacing
from longvid.pipelines.bench.keeping import bench_folder, kept
from longvid.pipelines.bench.measure import PeakMemory, in_own_process, interleaved_seconds
from longvid.pipelines.bench.pretrain import spread
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.learning.config import FinetuneConfig, load_finetuning
from longvid.pipelines.learning.data import ClipsInMemory, LearningData, open_learning_data, train_loader
from longvid.pipelines.learning.finetune import finetune
from longvid.pipelines.learning.motions import CLASSES, Sprites, digit_sprites, motion_clips
from longvid.pipelines.machine.cores import available_cores
from longvid.recognition import normalised
from longvid.tasks import Task

NETS = {
    "X-ViT": "motion-xvit",
    "DualFormer": "motion-dualformer",
    "Video Mobile-Former": "motion-mobile-former",
}
"""The recipe of each architecture's tiny variant."""
WITH, WITHOUT, DIGITS = "with time", "frame by frame", "digits"
CHANCE = 100 / len(CLASSES)
GOAL, NEAR_CHANCE, GOAL_SPEED = 90.0, 2 * CHANCE, 0.9
MEMORY_OF = (
    *("xvit-nano", "dualformer-nano", "video-mobile-former-nano"),
    *("video-mobile-former-500m", "dualformer-tiny", "xvit-b16-8f"),
)


@dataclass(frozen=True)
class Size:
    """How much is drawn and trained."""

    clips: int
    tested: int
    epochs: dict[str, int]
    seeds: int
    ways: tuple[str, ...]
    memory_of: tuple[str, ...]
    compiled: bool
    speed_clips: int


FULL = Size(
    clips=3200,
    tested=480,
    epochs={"X-ViT": 8, "DualFormer": 3, "Video Mobile-Former": 3},
    seeds=3,
    ways=(WITH, WITHOUT, DIGITS),
    memory_of=MEMORY_OF,
    compiled=True,
    speed_clips=640,
)
QUICK = replace(
    FULL,
    clips=1600,
    tested=320,
    epochs={"DualFormer": 10},
    seeds=1,
    ways=(WITH, WITHOUT),
    memory_of=MEMORY_OF[:3],
    compiled=False,
    speed_clips=192,
)


def run(*, quick: bool = False, keep: Path | None = None) -> BenchTable:
    """Accuracy of every net in every way, then clips per second and memory.

    `keep`: a folder of what is drawn, trained and measured, in which a bench that was stopped goes on.
    """
    size = QUICK if quick else FULL
    with bench_folder(keep, quick=quick) as place:
        table = accuracies(size, list(all_outcomes(size, place)))
        _add_speed(table, size, place)
        for name in size.memory_of:
            for way in ("eager", "recomputed", *(("compiled",) if size.compiled else ())):
                rate, peak = kept(
                    place / "measured" / f"{name}-{way}.json", partial(in_own_process, step_cost, name, way)
                )
                table.notes.append(
                    f"{name}, {way}: {rate:.3g} clips/s in a step alone, peak memory {peak / 2**20:,.0f} MiB"
                )
    return table


def accuracies(size: Size, found: list["Outcome"]) -> BenchTable:
    """The table of all trainings, with the claims about them."""
    seeds = "one seed" if size.seeds == 1 else f"mean and deviation over {size.seeds} seeds"
    table = BenchTable(
        f"Accuracy in percent on {size.tested} unseen clips of {len(CLASSES)} motions, {seeds}; chance is {CHANCE:g}",
        ["net", "parameters", *size.ways, "seconds per training"],
    )
    for net in size.epochs:
        own = {way: [one for one in found if (one.net, one.way) == (net, way)] for way in size.ways}
        there = {way: [100 * one.accuracy for one in outcomes] for way, outcomes in own.items()}
        seconds = float(np.mean([one.seconds for one in own[WITH]]))
        table.rows.append([net, own[WITH][0].parameters, *(spread(there[way]) for way in size.ways), f"{seconds:.0f}"])
        table.claim(f"{net}: accuracy with time", float(np.mean(there[WITH])), at_least=GOAL)
        table.claim(f"{net}: accuracy frame by frame", float(np.mean(there[WITHOUT])), at_most=NEAR_CHANCE)
        if DIGITS in size.ways:
            table.claim(f"{net}: accuracy on moving digits", float(np.mean(there[DIGITS])), at_least=GOAL)
    return table


def _add_speed(table: BenchTable, size: Size, place: Path) -> None:
    folder = place / "speed"
    measure = partial(in_own_process, speed_of, str(folder), size.speed_clips)
    seconds = kept(place / "measured" / f"speed-{size.speed_clips}.json", measure)
    rates = {name: size.speed_clips * 0.8 / value for name, value in seconds.items()}
    table.notes.append(
        f"dualformer-nano from files, two workers: {', '.join(f'{n} {r:.3g} clips/s' for n, r in rates.items())}"
    )
    slower = min(rates["decoding alone"], rates["step alone"])
    table.claim("training over the slower of decoding and step", rates["training"] / slower, at_least=GOAL_SPEED)


@dataclass(frozen=True)
class Outcome:
    """One training."""

    net: str
    way: str
    seed: int
    accuracy: float
    parameters: int
    seconds: float


def all_outcomes(size: Size, place: Path) -> Iterator[Outcome]:
    """Every net, way and seed, each in a process with one thread, with a bar on standard error."""
    blobs = [
        (net, way, seed) for seed in range(size.seeds) for net in size.epochs for way in size.ways if way != DIGITS
    ]
    digits = [(net, DIGITS, 0) for net in size.epochs if DIGITS in size.ways]  # they start from what these have learned
    with (
        ProcessPoolExecutor(available_cores(), mp_context=get_context("spawn")) as pool,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        line = bar.add_task("fine-tuning", total=len(blobs + digits))
        for part in (blobs, digits):
            for done in as_completed([pool.submit(outcome_of, *one, size, place) for one in part]):
                bar.advance(line)
                yield done.result()


def outcome_of(net: str, way: str, seed: int, size: Size, place: Path) -> Outcome:
    """Train a net on the clips of a seed, in a folder of its own; accuracy is that of the last epoch on unseen clips.

    A training that was stopped goes on, and one that is done is read.
    """
    torch.set_num_threads(1)
    start = _folder(place, net, WITH, seed) / "best.safetensors" if way == DIGITS else "random"
    config = load_finetuning(
        NETS[net],
        [
            f"out={_folder(place, net, way, seed)}",
            f"encoder.weights={start}",
            f"epochs={size.epochs[net]}",
            f"seed={seed}",
            "workers=0",
            "device=cpu",
            "validation.choose=last",
            f"validation.every_epochs={size.epochs[net]}",
        ],
    )
    model = model_of(config, way)
    result = finetune(config, data=clips_of(size, seed, model.encoder, place, digits=way == DIGITS), model=model)
    return Outcome(net, way, seed, result.metrics["accuracy"], result.parameters, result.seconds)


def _folder(place: Path, net: str, way: str, seed: int) -> Path:
    return place / "trained" / f"{NETS[net]}, {way}, seed {seed}"


def clips_of(size: Size, seed: int, encoder: Encoder, place: Path, *, digits: bool) -> LearningData:
    """Training clips of the seed and unseen ones, held in memory; drawn once for all nets."""
    known, unknown = digit_sprites() if digits else (None, None)
    train = ClipsInMemory(*_drawn(place, size.clips, 2 * seed, known))
    val = ClipsInMemory(*_drawn(place, size.tested, 2 * seed + 1, unknown))
    keys = tuple(str(index) for index in range(len(val)))
    task = Task("motion", classes=CLASSES)
    return LearningData(task, train, val, keys, encoder.spec.preprocessing, listed=(len(train), len(val)))


def _drawn(place: Path, count: int, seed: int, sprites: Sprites | None) -> tuple[np.ndarray, np.ndarray]:
    file = place / "clips" / f"{'blobs' if sprites is None else 'digits'}-{seed}-{count}.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        frames, labels = motion_clips(count, seed=seed, sprites=sprites)
        with replacing(file) as unfinished, unfinished.open("wb") as opened:
            np.savez(opened, frames=frames, labels=labels)
    with np.load(file) as held:
        return held["frames"], held["labels"]


def model_of(config: FinetuneConfig, way: str) -> Classifying:
    """The recipe's net with a head for the motions, or its image twin."""
    own = config.encoder
    model = classifying(
        own.name,
        classes=len(CLASSES),
        weights=own.weights,
        seed=config.seed,
        drop_path=own.drop_path,
        head_dropout=own.head_dropout,
        options=own.options,
    )
    if way != WITHOUT:
        return model
    torch.manual_seed(config.seed)
    twin = image_twin(model.encoder)
    twin.spec = model.encoder.spec
    return FrameByFrame(twin, classes=len(CLASSES)).train()


def image_twin(encoder: Encoder) -> Encoder:
    """The same widths and depths for one frame, with nothing that reaches over frames."""
    if isinstance(encoder, XViT):
        return start_from_scratch(XViT(replace(encoder.config, mixed_blocks=(), temporal_rows=1, segment_frames=1)))
    if isinstance(encoder, DualFormer):
        config = encoder.config
        stages = tuple(
            replace(stage, window=(1, *stage.window[1:]), fine=(1, *stage.fine[1:])) for stage in config.stages
        )
        patch, size = (1, *config.patch[1:]), (1, *config.video_size[1:])
        return DualFormer(replace(config, stages=stages, patch=patch, video_size=size))
    assert isinstance(encoder, MobileFormer)
    blocks = tuple(replace(block, time_stride=1) for block in encoder.config.blocks)
    return MobileFormer(replace(encoder.config, time_taps=1, blocks=blocks))


class FrameByFrame(Classifying):
    """A net that sees every frame by itself, and the mean of their scores."""

    def forward(self, clips: Tensor) -> Tensor:
        """Raw class scores."""
        batch, time = clips.shape[0], clips.shape[2]
        frames = clips.transpose(1, 2).flatten(0, 1).unsqueeze(2)
        scores: Tensor = super().forward(frames).unflatten(0, (batch, time)).mean(dim=1)
        return scores


def step_cost(name: str, way: str) -> tuple[float, int]:
    """Clips per second of a training step of two clips at the encoder's own size, and its peak of memory."""
    from longvid.encoders.learning import recompute_blocks

    torch.set_num_threads(os.cpu_count() or 1)
    model = classifying(name, classes=400, weights="random")
    if way == "recomputed":
        recompute_blocks(model)
    runs: Callable[[Tensor], Tensor] = torch.compile(model) if way == "compiled" else model
    spec = model.encoder.spec
    clips = torch.randn(2, 3, spec.sampling.frames, spec.preprocessing.height, spec.preprocessing.width)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-6)

    def step() -> None:
        optimiser.zero_grad()
        runs(clips).logsumexp(dim=1).mean().backward()
        optimiser.step()

    with PeakMemory() as memory:
        seconds = interleaved_seconds({"step": step}, rounds=2)["step"]
    return len(clips) / seconds, memory.peak_bytes


def speed_of(folder: str, clips: int) -> dict[str, float]:
    """Seconds of an epoch of decoding alone, of the step alone and of training, in turns; two workers decode."""
    torch.set_num_threads(1)
    place = Path(folder)
    words = [f"manifest={place / 'motion.jsonl'}", f"made_up={clips}", "workers=2", "device=cpu"]
    config = load_finetuning("motion-dualformer", words)
    model = model_of(config, WITH)
    data = open_learning_data(config, model.encoder.spec)
    loader: Any = train_loader(data, config, device=torch.device("cpu"))
    batch = next(iter(loader))
    steps = len(loader)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def learn_from(batch: Any) -> None:
        scores = model(normalised(batch["clip"], data.preprocessing))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores, batch["label"]).backward()
        optimiser.step()

    def decode() -> None:
        for _ in loader:
            pass

    def step() -> None:
        for _ in range(steps):
            learn_from(batch)

    def both() -> None:
        for one in loader:
            learn_from(one)

    return interleaved_seconds({"decoding alone": decode, "step alone": step, "training": both}, rounds=2)
