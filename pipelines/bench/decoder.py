"""ViS4mer against the same stack with self-attention, by length.

Also a training step at LVU size, and streaming for ten hours. One thread. Times are processor seconds of contenders
that alternate in one process; memory is what a separate process adds to the built model. Attention is torch's fused
one, whose memory is also linear, and the paper's, which stores its weights.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from longvid.decoders import Decoder, build_decoder
from longvid.decoders.streaming import StreamingViS4mer
from longvid.decoders.vis4mer import ViS4mer
from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, in_own_process, interleaved_seconds
from longvid.pipelines.bench.table import BenchTable, Panel

WIDTH = 256
BATCH = 2
LENGTHS = (512, 1024, 2048, 4096, 8192, 11820)
QUICK_LENGTHS = (512, 2048)
COMPARED_AT = 8192
PAPER_LENGTH = 11820

FUSED_FASTER, FUSED_MEMORY = 5.0, 1.0
PAPER_FASTER, PAPER_MEMORY = 2.63, 8.0
"""The ViS4mer paper's figures against attention that stores its weights."""

LVU_BATCH, LVU_WIDTH = 16, 1024
STEADY = 1.1

WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "vis4mer": ("vis4mer", {}),
    "fused": ("transformer", {"attention": "fused", "time_code": False}),
    "stored": ("transformer", {"attention": "stored", "time_code": False}),
}


@dataclass(frozen=True)
class Size:
    """Size of one input."""

    batch: int
    length: int


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine. Quick: two lengths, no stored attention, no step at LVU size."""
    table = BenchTable(
        f"ViS4mer against fused attention in its place, batch {BATCH}, first width {WIDTH}",
        ["length", "pass", "vis4mer s", "fused s", "times faster", "vis4mer MB", "fused MB", "share of memory"],
    )
    for length in QUICK_LENGTHS if quick else LENGTHS:
        compare(table, Size(BATCH, length), rounds=2)
    note_crossing(table)
    add_panels(table)
    if not quick:
        claim_against_fused(table)
        claim_against_stored(table)
        claim_lvu_step(table)
    claim_streaming(table, rounds=2 if quick else 4)
    return table


def compare(table: BenchTable, size: Size, *, rounds: int) -> None:
    """One row for the forward pass in evaluation, one for forward and backward in training."""
    for mode in ("forward", "training"):
        seconds = in_own_process(time_ways, ("vis4mer", "fused"), mode, size, rounds)
        ours, theirs = (in_own_process(peak_of, way, mode, size) for way in ("vis4mer", "fused"))
        faster = seconds["fused"] / seconds["vis4mer"]
        table.rows.append(
            [
                size.length,
                mode,
                seconds["vis4mer"],
                seconds["fused"],
                faster,
                ours / MEGABYTE,
                theirs / MEGABYTE,
                ours / theirs,
            ]
        )


def note_crossing(table: BenchTable) -> None:
    """Note from which measured lengths on attention is no longer faster."""
    for mode in ("forward", "training"):
        wins = [(row[0], row[4]) for row in table.rows if row[1] == mode]
        slower = [length for length, faster in wins if isinstance(faster, float) and faster < 1]
        quicker = [length for length, faster in wins if isinstance(faster, float) and faster >= 1]
        if not quicker:
            table.notes.append(f"{mode}: fused attention is faster at every length measured")
        elif not slower:
            table.notes.append(f"{mode}: ViS4mer is faster from the shortest measured length on, {quicker[0]}")
        else:
            table.notes.append(f"{mode}: fused attention falls behind between {slower[-1]} and {quicker[0]} tokens")


def add_panels(table: BenchTable) -> None:
    """Plot the speed-up and the share of the memory by length."""
    drawn = (("times faster than fused attention", 4, True), ("share of fused attention's memory", 7, False))
    for what, column, log_y in drawn:
        lines: dict[str, list[tuple[int | float, float]]] = {}
        for row in table.rows:
            length, value = row[0], row[column]
            assert isinstance(length, int)
            assert isinstance(value, float)
            lines.setdefault(str(row[1]), []).append((length, value))
        table.panels.append(Panel(f"ViS4mer: {what}", "tokens", "ratio", lines, level=1.0, log_y=log_y))


def claim_against_fused(table: BenchTable) -> None:
    """The goals at `COMPARED_AT`, forward and backward."""
    row = next(row for row in table.rows if row[0] == COMPARED_AT and row[1] == "training")
    faster, share = row[4], row[7]
    assert isinstance(faster, float)
    assert isinstance(share, float)
    table.claim(f"training at {COMPARED_AT:,}, times faster than fused attention", faster, at_least=FUSED_FASTER)
    table.claim(f"training at {COMPARED_AT:,}, share of fused attention's memory", share, at_most=FUSED_MEMORY)


def claim_against_stored(table: BenchTable) -> None:
    """The paper's own comparison, with one item, because the weights of two would not fit on most machines."""
    size = Size(1, PAPER_LENGTH)
    needed = 6 * 4 * WIDTH // 64 * PAPER_LENGTH**2
    if psutil.virtual_memory().available < needed:
        table.notes.append(f"stored attention at {PAPER_LENGTH:,}: left out, it needs {needed / 1e9:.0f} GB free")
        return
    seconds = in_own_process(time_ways, ("vis4mer", "stored"), "training", size, 1)
    ours, theirs = (in_own_process(peak_of, way, "training", size) for way in ("vis4mer", "stored"))
    what = f"training at {PAPER_LENGTH:,}, against attention that stores its weights"
    table.claim(f"{what}: times faster", seconds["stored"] / seconds["vis4mer"], at_least=PAPER_FASTER)
    table.claim(f"{what}: times less memory", theirs / ours, at_least=PAPER_MEMORY)


def claim_lvu_step(table: BenchTable) -> None:
    """A step on 16 windows of 60 seconds x 197 tokens x 1024, with checkpointing."""
    total = psutil.virtual_memory().total
    peak, seconds = in_own_process(lvu_step)
    size = f"{LVU_BATCH} x {PAPER_LENGTH:,} x {LVU_WIDTH}"
    table.claim(f"training step of {size}, share of this machine's memory", peak / total, at_most=1.0)
    table.notes.append(f"that step takes {peak / 1e9:.1f} GB, input included, and {seconds:.0f} s on one core")


def claim_streaming(table: BenchTable, *, rounds: int) -> None:
    """One token per second: the cost of one more minute after ten minutes, and after ten hours."""
    early, late, held_early, held_late = in_own_process(streaming_cost, rounds)
    table.claim("streaming, cost of a minute after 10 hours against after 10 minutes", late / early, at_most=STEADY)
    table.claim("streaming, state after 10 hours against after 10 minutes", held_late / held_early, at_most=1.0)


def decoder_of(way: str, length: int) -> Decoder:
    """One of the contenders."""
    name, options = WAYS[way]
    return build_decoder(name, dim=WIDTH, outputs=10, max_length=length, width=WIDTH, **options)


def one_pass(way: str, mode: str, size: Size) -> Callable[[], None]:
    """A forward pass without gradients, or forward and backward."""
    decoder = decoder_of(way, size.length)
    tokens = torch.randn(size.batch, size.length, WIDTH)
    decoder.train(mode == "training")

    def forward() -> None:
        with torch.no_grad():
            decoder(tokens)

    def training() -> None:
        decoder(tokens).square().sum().backward()
        decoder.zero_grad(set_to_none=True)

    return training if mode == "training" else forward


def time_ways(ways: tuple[str, ...], mode: str, size: Size, rounds: int) -> dict[str, float]:
    """Processor seconds per way."""
    torch.set_num_threads(1)
    passes = {way: one_pass(way, mode, size) for way in ways}
    return interleaved_seconds(passes, rounds=rounds, processor=True)


def peak_of(way: str, mode: str, size: Size) -> int:
    """Bytes that one pass adds, after one at a small size."""
    torch.set_num_threads(1)
    one_pass(way, mode, Size(1, 64))()
    call = one_pass(way, mode, size)
    with PeakMemory() as memory:
        call()
    return memory.grown_bytes


def lvu_step() -> tuple[int, float]:
    """Peak bytes of the whole process, and processor seconds, of one optimiser step."""
    torch.set_num_threads(1)
    decoder = build_decoder("vis4mer", dim=LVU_WIDTH, outputs=10, max_length=PAPER_LENGTH, checkpointing=True).train()
    optimiser = torch.optim.AdamW(decoder.param_groups(1e-3, 0.01))
    begin = time.process_time()
    with PeakMemory() as memory:
        tokens = torch.randn(LVU_BATCH, PAPER_LENGTH, LVU_WIDTH)
        decoder(tokens).square().sum().backward()
        optimiser.step()
    return memory.peak_bytes, time.process_time() - begin


def streaming_cost(rounds: int) -> tuple[float, float, int, int]:
    """Seconds for a minute's tokens after 10 minutes and after 10 hours, and the bytes that the stream holds then."""
    torch.set_num_threads(1)
    decoder = build_decoder("vis4mer", dim=WIDTH, outputs=10, max_length=4096).eval()
    assert isinstance(decoder, ViS4mer)
    minute = torch.randn(1, 60, WIDTH)
    young, old = StreamingViS4mer(decoder), StreamingViS4mer(decoder)
    for _ in range(10):
        young.push(minute)
    for _ in range(60):
        old.push(minute.repeat(1, 10, 1))
    held = young.state_bytes, old.state_bytes
    calls = {"young": lambda: young.push(minute), "old": lambda: old.push(minute)}
    seconds = interleaved_seconds(calls, rounds=5 * rounds, processor=True)
    return seconds["young"], seconds["old"], *held
