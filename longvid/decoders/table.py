"""A table of every decoder's cost at the two published window sizes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields

import torch

from longvid.decoders import DECODERS, DecoderEntry, build_decoder, find_decoder, require_decoder
from longvid.decoders.base import Decoder
from longvid.decoders.cost import Cost, forward_cost, training_cost
from longvid.decoders.own import summary_of
from longvid.decoders.recurrent import Recurrent
from longvid.decoders.sizes import comparable_options

DIM = 1024
"""Width of the tokens, as in ViS4mer's features."""
LENGTHS = (3136, 11820)
"""Tokens per window: Breakfast and COIN (64 segments of 49 tokens), LVU (60 seconds of 197 tokens)."""
OUTPUTS = 10
COUNTED_STEPS = (512, 576)
"""Steps of an unrolled cell to extrapolate from; with fewer the weights' gradients outweigh the steps."""


@dataclass(frozen=True)
class DecoderRow:
    """One decoder at one length, batch 1, default options."""

    name: str
    summary: str
    length: int
    parameters: int
    gflops: float | None
    """Operations of a forward pass, in 1e9; two per multiply-add. None for a decoder of the user's own that cannot run
    on tensors without numbers."""
    evaluation_bytes: int | None
    """Most bytes that the tensors of a forward pass hold at once."""
    training_bytes: int | None
    """The same for a forward and a backward pass."""


def decoder_table(names: Iterable[str] | None = None, *, lengths: tuple[int, ...] = LENGTHS) -> Iterator[DecoderRow]:
    """One row per named decoder (None: all) and length, each as soon as it is counted."""
    chosen = list(DECODERS if names is None else names)
    for name in chosen:
        require_decoder(name)
    for name in chosen:
        for length in lengths:
            yield _row(name, length)


def summary(name: str) -> str:
    """What a decoder is, in a phrase."""
    entry = find_decoder(name)
    return entry.summary if isinstance(entry, DecoderEntry) else summary_of(entry)


def _row(name: str, length: int) -> DecoderRow:
    entry = find_decoder(name)
    own = not isinstance(entry, DecoderEntry)
    known = {field.name for field in fields(entry.config)} if isinstance(entry, DecoderEntry) else set()
    # choosing a kernel by its time means nothing on tensors without numbers
    options = {"backend": "cauchy"} if "backend" in known else {}
    options = comparable_options(name, DIM, options)
    with torch.device("meta" if not own else "cpu"):  # numbers count for nothing here, and drawing many takes long
        decoder = build_decoder(name, dim=DIM, outputs=OUTPUTS, max_length=length, **options)
    decoder = decoder if own else decoder.to_empty(device="cpu")
    count = _step_by_step if isinstance(decoder, Recurrent) and decoder.config.cell == "gru" else _at_once
    forward: Cost | None = None
    training: Cost | None = None
    try:
        forward, training = count(forward_cost, decoder, length), count(training_cost, decoder, length)
    except Exception:
        if not own:
            raise
    return DecoderRow(
        name=name,
        summary=summary(name),
        length=length,
        parameters=sum(parameter.numel() for parameter in decoder.parameters()),
        gflops=None if forward is None else forward.operations / 1e9,
        evaluation_bytes=None if forward is None else forward.peak_bytes,
        training_bytes=None if training is None else training.peak_bytes,
    )


def _at_once(count: Callable[..., Cost], decoder: Decoder, length: int) -> Cost:
    return count(decoder, torch.empty(1, length, DIM))


def _step_by_step(count: Callable[..., Cost], decoder: Decoder, length: int) -> Cost:
    """Cost of a cell that torch unrolls: two short sequences are counted and extrapolated linearly."""
    few, more = COUNTED_STEPS
    short, longer = (_at_once(count, decoder, steps) for steps in COUNTED_STEPS)
    share = (length - few) / (more - few)
    return Cost(
        operations=short.operations + round(share * (longer.operations - short.operations)),
        peak_bytes=short.peak_bytes + round(share * (longer.peak_bytes - short.peak_bytes)),
    )


COLUMNS = ("decoder", "parameters", "length", "GFLOPs", "evaluation MB", "training MB")
"""Headings of `cells`."""

EXPLANATION = (
    f"One window of {DIM}-wide tokens, {OUTPUTS} outputs, the sizes that training chooses by default. GFLOPs: a "
    "forward pass, two operations per multiply-add, FFTs included. MB: the most that the tensors of a pass hold at "
    "once, weights and input not counted; training is forward and backward."
)


def cells(row: DecoderRow) -> tuple[str, ...]:
    """A row as text, one per column."""
    return (
        row.name,
        f"{row.parameters / 1e6:.2f} M",
        f"{row.length:,}",
        "-" if row.gflops is None else f"{row.gflops:,.1f}" if row.gflops >= 0.05 else "< 0.1",
        megabytes(row.evaluation_bytes),
        megabytes(row.training_bytes),
    )


def markdown(rows: Iterable[DecoderRow]) -> str:
    """The table for a README: one line per decoder, with its figures at each length."""
    by_name: dict[str, list[DecoderRow]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    head = ["decoder", "what it is", "parameters", *COLUMNS[3:]]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for name, at_lengths in by_name.items():
        # without the name and the length: parameters, then what depends on the length
        parameters, *_ = (cells(row)[1] for row in at_lengths)
        figures = [", ".join(column) for column in zip(*(cells(row)[3:] for row in at_lengths), strict=True)]
        lines.append(f"| {' | '.join([name, at_lengths[0].summary, parameters, *figures])} |")
    lengths = " and ".join(f"{length:,}" for length in LENGTHS)
    return "\n".join([*lines, "", f"At {lengths} tokens. {EXPLANATION}"])


def megabytes(count: int | None) -> str:
    """Megabytes with at least two digits: `0.041`, `2.3`, `115`; a dash where they are not known."""
    if count is None:
        return "-"
    return f"{count / 1e6:.2g}" if count < 10e6 else f"{count / 1e6:,.0f}"
