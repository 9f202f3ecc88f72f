"""Encoders: clips per second and memory, against a matrix product.

Each cell runs in a separate process, so that its memory is its own; there the encoder alternates with a large matrix
product, and the share is of operations per second. The three claimed ratios come from one process in which all
contenders alternate.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from longvid.encoders import ENCODERS, EncoderEntry, build_encoder
from longvid.encoders.table import count_operations
from longvid.encoders.xvit import XViT
from longvid.encoders.xvit.build import VARIANTS
from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, in_own_process, interleaved_seconds
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.machine.cores import available_cores

XVIT = "xvit-b16-8f"
SMALL = "video-mobile-former-1g"
EACH_WAY = (XVIT, "dualformer-tiny", SMALL)
"""Encoders that are also measured compiled and in bfloat16."""

OFFICIAL_MEGABYTES_PER_FRAME = 180.0
"""Peak memory per frame of the authors' X-ViT code under no_grad on a CPU: it keeps the whole graph."""

MATRIX_SIDE = 2048


@dataclass(frozen=True)
class Cell:
    """One encoder, run in one way with each number of threads in turn."""

    encoder: str
    way: str
    threads: tuple[int, ...]
    rounds: int


@dataclass(frozen=True)
class Measured:
    """The result of a cell's process for one number of threads."""

    threads: int
    clip_seconds: float
    gflops: float
    matrix_gflops_per_second: float
    peak_bytes: int

    @property
    def share(self) -> float:
        """Operations per second, relative to a large float32 matrix product in the same process."""
        return self.gflops / self.clip_seconds / self.matrix_gflops_per_second


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine. Quick: three encoders, one thread, nothing compiled."""
    table = BenchTable("Encoders", ["encoder", "way", "threads", "clips/s", "GFLOP", "of matmul", "peak MB"])
    for cell in cells(quick=quick):
        for found in in_own_process(measure_cell, cell):
            rate, megabytes = 1 / found.clip_seconds, found.peak_bytes / MEGABYTE
            figures = [found.threads, rate, found.gflops, found.share, megabytes]
            table.rows.append([cell.encoder, cell.way, *figures])
    claim_ratios(table, rounds=2 if quick else 4)
    table.notes += [
        f"one clip per batch, random weights; limit: the float32 product of two {MATRIX_SIDE} x {MATRIX_SIDE} matrices",
        "with one thread these are processor seconds, which other work on the machine does not change",
        "peak MB: resident memory that the first clip adds to the built model",
    ]
    return table


def cells(*, quick: bool) -> Iterator[Cell]:
    """The cells to measure, in table order."""
    threads = (1,) if quick else tuple(sorted({1, available_cores()}))
    ways = ("eager", "bfloat16") if quick else ("eager", "bfloat16", "compiled")
    names = EACH_WAY if quick else [name for name, entry in ENCODERS.items() if isinstance(entry, EncoderEntry)]
    for name in names:
        for way in ways if name in EACH_WAY else ("eager",):
            yield Cell(name, way, threads, rounds=1)


def measure_cell(cell: Cell) -> list[Measured]:
    """Time and memory of one encoder; runs in a separate process."""
    torch.set_num_threads(cell.threads[0])
    encoder = build_encoder(cell.encoder, dtype="bfloat16" if cell.way == "bfloat16" else "float32")
    with torch.device("meta"):
        operations, _ = count_operations(build_encoder(cell.encoder))
    clip, product = clip_for(encoder), matrix_product()
    forward = torch.compile(encoder) if cell.way == "compiled" else encoder
    measured = []
    with torch.inference_mode():
        with PeakMemory() as memory:
            forward(clip)
        for threads in cell.threads:
            torch.set_num_threads(threads)
            seconds = interleaved_seconds(
                {"encoder": lambda: forward(clip), "matrix": product},
                rounds=cell.rounds,
                processor=threads == 1,
            )
            limit = 2 * MATRIX_SIDE**3 / 1e9 / seconds["matrix"]
            measured.append(Measured(threads, seconds["encoder"], operations / 1e9, limit, memory.grown_bytes))
    return measured


def clip_for(encoder: Any, *, frames: int | None = None) -> Tensor:
    """A clip of noise in the encoder's size."""
    preprocessing = encoder.spec.preprocessing
    return torch.randn(1, 3, frames or encoder.spec.sampling.frames, preprocessing.height, preprocessing.width)


def matrix_product() -> Callable[[], Tensor]:
    """A large float32 matrix product, ready to be called."""
    left, right = torch.randn(2, MATRIX_SIDE, MATRIX_SIDE)
    return lambda: left @ right


def claim_ratios(table: BenchTable, *, rounds: int) -> None:
    """The three ratios that are claimed, each from one process."""
    seconds = in_own_process(measure_contenders, rounds)
    table.claim(
        "X-ViT B/16 against a plain ViT-B/16 on the same frames, time", seconds["xvit"] / seconds["vit"], at_most=1.3
    )
    table.claim(f"{SMALL} against X-ViT B/16, clips per second", seconds["xvit"] / seconds["small"], at_least=10)
    kept, ours = (in_own_process(megabytes_per_frame, graph) for graph in (True, False))
    table.notes.append(f"memory of {XVIT}: {ours:.1f} MB per frame, {kept:.0f} MB if the graph is kept")
    table.claim(
        f"X-ViT memory per frame against the authors' code ({OFFICIAL_MEGABYTES_PER_FRAME:.0f} MB)",
        ours / OFFICIAL_MEGABYTES_PER_FRAME,
        at_most=0.25,
    )


def measure_contenders(rounds: int) -> dict[str, float]:
    """Processor seconds per clip of X-ViT, the same net without mixing, and a small Video Mobile-Former; one thread."""
    torch.set_num_threads(1)
    mixing = build_encoder(XVIT)
    plain = XViT(replace(VARIANTS[XVIT].config, mixed_blocks=())).eval().requires_grad_(False)
    small = build_encoder(SMALL)
    clip, small_clip = clip_for(mixing), clip_for(small)
    with torch.inference_mode():
        return interleaved_seconds(
            {"xvit": lambda: mixing(clip), "vit": lambda: plain(clip), "small": lambda: small(small_clip)},
            rounds=rounds,
            processor=True,
        )


def megabytes_per_frame(graph_kept: bool) -> float:
    """Peak memory per frame that eight more frames add to X-ViT; `graph_kept`: with the graph, as the authors' code."""
    torch.set_num_threads(1)
    encoder = build_encoder(XVIT).requires_grad_(graph_kept)
    grown = []
    for frames in (8, 16):
        clip = clip_for(encoder, frames=frames)
        with _graph(graph_kept), PeakMemory() as memory:
            encoder(clip)
        grown.append(memory.peak_bytes)
    return (grown[1] - grown[0]) / 8 / MEGABYTE


@contextmanager
def _graph(kept: bool) -> Iterator[None]:
    with torch.enable_grad() if kept else torch.inference_mode():
        yield
