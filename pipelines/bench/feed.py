"""Whether reading windows keeps up with the decoder that trains on them.

Windows of ViS4mer's LVU size (60 clips of 197 x 1024 tokens) are drawn at random from a store on this disk, padded and
converted to float32 as in training, and compared with the decoder's own training step (forward, backward, AdamW) on the
same windows, on this machine's best device. The ratio is samples per second of the one over the other: below 1, reading
would slow training down.

Then 20 attentive heads side by side (a recipe's `grid`) on one reading against one head: time to read a batch, forward,
backward and AdamW.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils.data import DataLoader

from longvid.decoders import Decoder, build_decoder
from longvid.decoders.side_by_side import SideBySide
from longvid.pipelines.bench.measure import MEGABYTE, interleaved_seconds
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.training.data import batch_dtype
from longvid.pipelines.training.module import adamw
from longvid.pipelines.training.scoring import loss_of
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import ManifestRow, Task
from longvid.windows import Draw, RandomWindows, WindowBatch, WindowDataset, Windows, collate

HEADS, HEADS_COST = 20, 3.0
"""Heads that V-JEPA 2's evaluation trains at once, and what they may cost in the cost of one."""
HEADS_PRECISIONS = ("float32", "bfloat16")
CLASSES = ("friend", "ex", "married", "couple")


@dataclass(frozen=True)
class FeedSize:
    """Size of a window, a batch and the store."""

    clips: int
    tokens: int
    dim: int
    video_clips: int
    videos: int
    batch: int
    heads_batch: int
    """Windows per batch where heads are trained side by side."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one window as float16 in the store."""
        return 2 * self.clips * self.tokens * self.dim


LVU = FeedSize(clips=60, tokens=197, dim=1024, video_clips=130, videos=4, batch=2, heads_batch=16)
QUICK = FeedSize(clips=60, tokens=16, dim=128, video_clips=130, videos=4, batch=4, heads_batch=4)


def run(*, quick: bool = False) -> BenchTable:
    """Samples per second from the store, and through the decoder's training step."""
    size = QUICK if quick else LVU
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    megabytes = size.sample_bytes / MEGABYTE
    table = BenchTable(
        title=f"Feed: windows of {size.clips} x {size.tokens} x {size.dim} ({megabytes:.1f} MB each)",
        columns=["what", "samples/s", "MB/s", "ms per sample"],
    )
    with TemporaryDirectory(prefix="longvid-bench-") as folder:
        data = _windows(Path(folder) / "features.zarr", size)
        ways = {
            "windows as float32, for training on a CPU": _reader(data, size, torch.float32),
            "windows as stored, for sending to a GPU": _reader(data, size, None),
        }
        training = f"ViS4mer's training step on {device.type}"
        seconds = interleaved_seconds(ways | {training: _trainer(data, size, device)}, rounds=3 if quick else 2)
        by_workers = None if quick else _loader_seconds(data, size, workers=2, dtype=batch_dtype(device))
        heads = _heads(data, size, device, rounds=1)
    for what, taken in seconds.items():
        _add(table, what, taken / size.batch, size)
    for what, taken in heads.items():
        _add(table, what, taken / size.heads_batch, size)
    if by_workers is not None:
        _add(table, "the same windows by 2 worker processes", by_workers, size)
    read = seconds[list(ways)[0 if device.type == "cpu" else 1]]
    table.claim("samples/s from the store over samples/s of the training step", seconds[training] / read, at_least=1.0)
    _claim_heads(table, heads)
    table.notes.append("The store is in the page cache, as after the first epoch.")
    return table


def _windows(location: Path, size: FeedSize) -> WindowDataset:
    """Random features in a store on this disk, as training windows."""
    recipe = Recipe(
        encoder="random numbers",
        encoder_config={},
        weights_sha256="",
        sampling={},
        preprocessing={},
        pooling="tokens",
        num_tokens=size.tokens,
        dim=size.dim,
    )
    store = FeatureStore.create(location, recipe)
    rng = np.random.default_rng(0)
    begins = np.arange(size.video_clips, dtype=np.float64)
    rows = []
    for index in range(size.videos):
        key = f"video-{index}"
        store.plan(key, np.stack([begins, begins + 1], axis=1), {})
        for shard in store.missing(key):
            first, stop = store.shard_clips(key, shard)
            store.write_shard(key, shard, rng.standard_normal((stop - first, size.tokens, size.dim), np.float32))
        store.complete(key)
        rows.append(ManifestRow(key, split="train", label=index % len(CLASSES)))
    task = Task("bench", "classification", CLASSES)
    return WindowDataset(FeatureStore.open(location), rows, Windows(clips=size.clips), task=task, training=True)


def _reader(data: WindowDataset, size: FeedSize, dtype: torch.dtype | None) -> Callable[[], WindowBatch]:
    rng = np.random.default_rng(0)
    return lambda: collate([data[Draw(int(rng.integers(len(data))), 0)] for _ in range(size.batch)], dtype=dtype)


def _trainer(data: WindowDataset, size: FeedSize, device: torch.device) -> Callable[[], None]:
    """One training step of ViS4mer as published, on a batch that is already on the device."""
    decoder: Decoder = build_decoder("vis4mer", dim=size.dim, outputs=len(CLASSES), max_length=data.max_length)
    decoder = decoder.to(device).train()
    optimiser = torch.optim.AdamW(decoder.param_groups(1e-3, 0.01))
    batch = collate([data[i] for i in range(size.batch)])
    tokens, lengths = batch.tokens.to(device), batch.lengths.to(device)
    assert batch.targets is not None
    targets = batch.targets.to(device)

    def step() -> None:
        optimiser.zero_grad()
        loss_of(decoder(tokens, lengths), targets, "classification").backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _heads(data: WindowDataset, size: FeedSize, device: torch.device, *, rounds: int) -> dict[str, float]:
    """Seconds of reading a batch once and training attentive heads on it, one and `HEADS` side by side.

    Processor seconds on a CPU, which other work on the machine does not change.
    """
    steps = {}
    for count in (1, HEADS):
        members = [build_decoder("attentive", dim=size.dim, outputs=len(CLASSES)) for _ in range(count)]
        decoder = SideBySide(members).to(device).train()
        optimiser = adamw(decoder.param_groups(1e-3, 0.01))
        for precision in HEADS_PRECISIONS:
            step = _grid_step(data, size, decoder, optimiser, device, precision=precision)
            steps[_heads_name(count, precision)] = step
    return interleaved_seconds(steps, rounds=rounds, processor=device.type == "cpu")


def _heads_name(count: int, precision: str) -> str:
    heads = "one attentive head" if count == 1 else f"{count} attentive heads side by side"
    return f"reading and training {heads}, {precision}"


def _claim_heads(table: BenchTable, seconds: dict[str, float]) -> None:
    for precision in HEADS_PRECISIONS:
        one, many = (seconds[_heads_name(count, precision)] for count in (1, HEADS))
        what = f"time of {HEADS} attentive heads on one reading over one head's, {precision}"
        table.claim(what, many / one, at_most=HEADS_COST)


def _grid_step(
    data: WindowDataset,
    size: FeedSize,
    decoder: SideBySide,
    optimiser: torch.optim.AdamW,
    device: torch.device,
    *,
    precision: str,
) -> Callable[[], None]:
    """A batch from the store, then forward, backward and AdamW of the heads."""
    rng = np.random.default_rng(0)
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")

    def step() -> None:
        draws = [Draw(int(rng.integers(len(data))), 0) for _ in range(size.heads_batch)]
        batch = collate([data[draw] for draw in draws], dtype=batch_dtype(device))
        assert batch.targets is not None
        targets = batch.targets.to(device)
        optimiser.zero_grad()
        with autocast:
            every = decoder(batch.tokens.to(device).float(), batch.lengths.to(device))
        torch.stack([loss_of(logits, targets, "classification") for logits in every]).sum().backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _loader_seconds(
    data: WindowDataset, size: FeedSize, *, workers: int, dtype: torch.dtype | None, batches: int = 12
) -> float:
    """Seconds per sample through a `DataLoader`, from its first batch on: starting the processes does not count."""
    sampler = RandomWindows(data, draw="windows")
    repeated = [draw for epoch in range(batches * size.batch // len(sampler) + 1) for draw in _epoch(sampler, epoch)]
    loader = DataLoader(
        data,
        batch_size=size.batch,
        sampler=repeated,
        num_workers=workers,
        collate_fn=partial(collate, length=data.max_length, dtype=dtype),
        multiprocessing_context="spawn",
    )
    seen, begin = 0, 0.0
    for index, batch in enumerate(loader):
        if index == 0:
            begin = time.perf_counter()
        else:
            seen += len(batch.lengths)
    return (time.perf_counter() - begin) / seen


def _epoch(sampler: RandomWindows, epoch: int) -> list[Draw]:
    sampler.set_epoch(epoch)
    return list(sampler)


def _add(table: BenchTable, what: str, seconds: float, size: FeedSize) -> None:
    table.rows.append([what, 1 / seconds, size.sample_bytes / MEGABYTE / seconds, seconds * 1000])
