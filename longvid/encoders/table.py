"""The truth table: counted cost of every encoder beside published cost.

Counting needs no memory: the models are built and run on torch's meta device, where tensors have shapes but no bytes.
Operations are counted by `torch.utils.flop_counter`: two per multiply-add, for convolutions and matrix products.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from longvid.encoders.base import Encoder, EncoderOutput, PublishedFigures
from longvid.encoders.registry import ENCODERS, EncoderEntry, build_encoder
from longvid.errors import EncoderError


@dataclass(frozen=True)
class TruthRow:
    """One encoder at its default input."""

    JSON_PROPERTIES: ClassVar = ("parameters_ratio", "gflops_ratio")

    name: str
    frames: int
    height: int
    width: int
    parameters: int
    gflops: float
    """Operations of one clip, in units of 1e9."""
    output: str
    """Tokens of one clip: time x place, and any others."""
    published: PublishedFigures | None = None
    licence: str = ""
    """Licence of the published weights."""

    @property
    def input(self) -> str:
        """Frames and size of one clip."""
        return f"{self.frames} x {self.height} x {self.width}"

    @property
    def parameters_ratio(self) -> float | None:
        """Counted over published; None if nothing is published."""
        if self.published is None or not self.published.parameters:
            return None
        return self.parameters / self.published.parameters

    @property
    def gflops_ratio(self) -> float | None:
        """Counted over published, the latter converted to operations of one clip; None if nothing is published."""
        if self.published is None or not self.published.gflops:
            return None
        return self.gflops / (self.published.gflops * self.published.flops_factor)


def truth_table(names: Iterable[str] | None = None) -> Iterator[TruthRow]:
    """One row for each of the named built-in encoders (default: all), as soon as it is counted."""
    for name in ENCODERS if names is None else names:
        entry = ENCODERS.get(name)
        if isinstance(entry, EncoderEntry):
            yield _row(name, entry)
        elif names is not None:
            raise EncoderError(f"{name!r} is not a built-in encoder; there are {', '.join(ENCODERS)}")


def _row(name: str, entry: EncoderEntry) -> TruthRow:
    with torch.device("meta"):
        encoder = build_encoder(name)
        operations, output = count_operations(encoder)
    preprocessing = encoder.spec.preprocessing
    return TruthRow(
        name=name,
        frames=encoder.spec.sampling.frames,
        height=preprocessing.height,
        width=preprocessing.width,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        gflops=operations / 1e9,
        output=describe_output(output),
        published=published_figures(name, entry),
        licence=entry.licence,
    )


def count_operations(encoder: Encoder) -> tuple[int, EncoderOutput]:
    """Operations of one clip at the spec's input (two per multiply-add), and the output, on the meta device."""
    preprocessing = encoder.spec.preprocessing
    shape = (1, 3, encoder.spec.sampling.frames, preprocessing.height, preprocessing.width)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = encoder(torch.empty(shape, device="meta"))
    return counter.get_total_flops(), output


def describe_output(output: EncoderOutput) -> str:
    """Shapes of an encoder's output for one clip, such as `8 x 196 of 768, class 8 of 768, clip 768`."""
    _, time, place, dim = output.tokens.shape
    parts = [f"{time} x {place} of {dim}"]
    if output.class_tokens is not None:
        parts.append(f"class {output.class_tokens.shape[1]} of {output.class_tokens.shape[2]}")
    if output.clip is not None:
        parts.append(f"clip {output.clip.shape[1]}")
    if output.global_tokens is not None:
        parts.append(f"global {output.global_tokens.shape[1]} of {output.global_tokens.shape[2]}")
    return ", ".join(parts)


def published_figures(name: str, entry: EncoderEntry) -> PublishedFigures | None:
    """The row of that name in `PUBLISHED` of the builder's module, if there is one."""
    module = import_module(entry.builder.partition(":")[0])
    figures: dict[str, PublishedFigures] = getattr(module, "PUBLISHED", {})
    return figures.get(name)


COLUMNS = (
    "encoder",
    "frames x size",
    "output tokens",
    "parameters",
    "published",
    "ratio",
    "GFLOPs",
    "published",
    "ratio",
    "note",
)
"""Headings of `cells`."""


def cells(row: TruthRow, note: str) -> tuple[str, ...]:
    """A row as text, one per column; `note` is its mark among the notes."""
    published = row.published or PublishedFigures(None, None, "")
    return (
        row.name,
        row.input,
        row.output,
        _millions(row.parameters),
        _millions(published.parameters),
        _ratio(row.parameters_ratio),
        _figure(row.gflops),
        _figure(published.gflops),
        _ratio(row.gflops_ratio),
        note,
    )


def table_notes(rows: Iterable[TruthRow]) -> dict[str, str]:
    """The marks `[1]` of the sources and notes of the published figures, in order of appearance."""
    texts = dict.fromkeys(_note(row.published) for row in rows if row.published is not None)
    return {text: f"[{index + 1}]" for index, text in enumerate(texts)}


def row_note(row: TruthRow, notes: dict[str, str]) -> str:
    """The mark of a row's note; empty if nothing is published."""
    return "" if row.published is None else notes[_note(row.published)]


def markdown(rows: Iterable[TruthRow]) -> str:
    """The table for a README, followed by its notes."""
    kept = list(rows)
    notes = table_notes(kept)
    lines = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join('---' for _ in COLUMNS)} |"]
    lines += [f"| {' | '.join(cells(row, row_note(row, notes)))} |" for row in kept]
    return "\n".join([*lines, "", *(f"{mark} {text}  " for text, mark in notes.items()), EXPLANATION])


EXPLANATION = (
    "GFLOPs are operations of one clip counted by torch.utils.flop_counter, two per multiply-add. Published figures "
    "are as published; each ratio is counted over published, the latter converted to operations of one clip."
)


def _note(published: PublishedFigures) -> str:
    """Where the figures were published and what they count."""
    factor = "" if published.flops_factor == 1 else f"; x {published.flops_factor:.3g} gives operations of one clip"
    return f"{published.source}{': ' if published.note else ''}{published.note}{factor}"


def _millions(count: float | int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.4g} M"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
