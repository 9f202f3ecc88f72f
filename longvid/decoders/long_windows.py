"""Memory of training on windows of 100,000 tokens, in bfloat16."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch

from longvid.decoders import DECODERS, DecoderEntry, build_decoder
from longvid.decoders.cost import training_cost
from longvid.decoders.table import DIM, OUTPUTS, megabytes

LENGTH = 100_000
"""Tokens of a window: 500 clips of 200 tokens, or 28 hours of one token per second."""


@dataclass(frozen=True)
class LongWindowRow:
    """One decoder on one such window, batch 1."""

    name: str
    length: int
    training_bytes: int
    """Most bytes that the tensors of a forward and a backward pass hold at once under bfloat16 autocast."""
    checkpointed_bytes: int
    """The same with `checkpointing=true`: each block is computed again in the backward pass."""


def long_window_table(names: Iterable[str] | None = None, *, length: int = LENGTH) -> Iterator[LongWindowRow]:
    """A row for each of the named decoders (None: all) that can recompute its blocks, as soon as it is counted."""
    for name in DECODERS if names is None else names:
        entry = DECODERS[name]
        known = {field.name for field in fields(entry.config)} if isinstance(entry, DecoderEntry) else set()
        if "checkpointing" in known:
            plain, checkpointed = (_training_bytes(name, length, known, recomputed) for recomputed in (False, True))
            yield LongWindowRow(name, length, plain, checkpointed)


def _training_bytes(name: str, length: int, known: set[str], checkpointing: bool) -> int:
    # choosing a kernel by its time means nothing on tensors without numbers
    options = {"backend": "cauchy"} if "backend" in known else {}
    decoder = build_decoder(name, dim=DIM, outputs=OUTPUTS, max_length=length, checkpointing=checkpointing, **options)
    return training_cost(decoder, torch.empty(1, length, DIM), dtype=torch.bfloat16).peak_bytes


COLUMNS = ("decoder", "training MB", "with checkpointing=true")
"""Headings of `cells`."""
EXPLANATION = (
    f"One window of {LENGTH:,} tokens in training with precision=bfloat16; decoder.options.checkpointing=true computes "
    "each block again in the backward pass, which takes about a third more time. The first block of a pyramid is twice "
    "as long and wide as the next and holds most of what all hold, so it gains little."
)


def cells(row: LongWindowRow) -> tuple[str, ...]:
    """A row as text, one per column."""
    return row.name, megabytes(row.training_bytes), megabytes(row.checkpointed_bytes)
