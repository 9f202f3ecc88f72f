"""Generated sequences whose answer needs a memory of their length.

Every sequence has `CHANNELS` channels of Gaussian noise. Events are stretches in which one channel is raised; in the
last sixteenth another channel signals that the answer is wanted. How often each channel is raised, and for how long in
total, is independent of the answer: a model that pools over time can only guess. An event lasts a fixed share of the
sequence, so the time over which things must be remembered grows with the length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

CHANNELS = 8
ASKING = CHANNELS - 1
"""The channel that is raised when the answer is wanted."""
NOISE, RAISED = 0.2, 2.0
SHORTEST = 64
MODULUS, MOST = 2, 4
"""Modulus of the counting task; at its end each remainder is equally likely."""

Batch = tuple[Tensor, Tensor]
"""Tokens (batch, length, CHANNELS) and answers (batch, questions)."""


@dataclass(frozen=True)
class MemoryTask:
    """One kind of sequence; each item is asked `questions` questions with `choices` answers each."""

    name: str
    what: str
    draw: Callable[[int, int, Generator, bool], Batch]
    """(batch, length, generator, held_out) -> a batch; `length` is a power of two, at least `SHORTEST`."""
    choices: int
    questions: int | None
    """None: one question per step; only those of the last sixteenth are scored, which need all that came before."""
    lengths: tuple[int, ...]
    """Lengths at which accuracy is measured; training goes up to the last."""
    order_alone: bool = True
    """Whether only the order of events tells the answer."""

    @property
    def head(self) -> str:
        """The decoder's head for this task."""
        return "steps" if self.questions is None else "video"

    @property
    def outputs(self) -> int:
        """Number of outputs of a decoder that answers all questions."""
        return self.choices * (self.questions or 1)

    def scored(self, given: Tensor) -> Tensor:
        """The part that is scored of answers or scores (batch, questions, ...)."""
        return given if self.questions is not None else given[:, -(given.shape[1] // 16) :]


def order(batch: int, length: int, generator: Generator, held_out: bool) -> Batch:
    """Two different events: which came first?"""
    first = torch.randint(0, 2, (batch, 1), generator=generator)
    tokens = canvas(batch, length, generator)
    event = length // 64
    raise_channels(tokens, begins(batch, length, 2, event, generator), event, torch.cat([first, 1 - first], dim=1))
    return tokens, first


def selective_copy(batch: int, length: int, generator: Generator, held_out: bool) -> Batch:
    """Four different events: name them in order."""
    channels = torch.rand(batch, 4, generator=generator).argsort(dim=1)
    tokens = canvas(batch, length, generator)
    event = length // 64
    raise_channels(tokens, begins(batch, length, 4, event, generator), event, channels)
    return tokens, channels


def counting(batch: int, length: int, generator: Generator, held_out: bool) -> Batch:
    """Up to `MOST` events of various durations: at every step, how many have started so far, modulo `MODULUS`?"""
    tokens = canvas(batch, length, generator)
    unit = max(1, length // 128)
    happens = torch.rand(batch, MOST, generator=generator).argsort(dim=1)
    happens = happens <= torch.randint(0, MOST, (batch, 1), generator=generator)
    first = begins(batch, length, MOST, 2 * unit, generator)
    durations = torch.randint(1, 4, (batch, MOST), generator=generator) * unit
    raise_channels(tokens, first, durations * happens, torch.zeros_like(first))
    begun = torch.zeros(batch, length, dtype=torch.long).scatter_add_(1, first, happens.long()).cumsum(dim=1)
    return tokens, begun % MODULUS


def digits(batch: int, length: int, generator: Generator, held_out: bool) -> Batch:
    """A handwritten digit of 8 x 8 pixels, pixel by pixel, each held for 1/64 of the sequence.

    In training it is shifted by up to a pixel: there are too few digits to train on them unchanged.
    """
    images, labels = handwritten(held_out)
    chosen = torch.randint(0, len(images), (batch,), generator=generator)
    pixels = images[chosen]
    if not held_out:
        pixels = shifted(pixels, torch.randint(-1, 2, (batch, 2), generator=generator))
    tokens = NOISE * torch.randn(batch, length, CHANNELS, generator=generator)
    tokens[:, :, 0] += pixels.repeat_interleave(length // 64, dim=1)
    return tokens, labels[chosen, None]


def shifted(images: Float[Tensor, "batch 64"], by: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch 64"]:
    """Each image moved up and to the left by -1, 0 or 1 of its 8 x 8 pixels; what comes in is blank."""
    padded = torch.nn.functional.pad(images.unflatten(1, (8, 8)), (1, 1, 1, 1))
    rows, columns = (torch.arange(1, 9) + by[:, axis, None] for axis in (0, 1))
    item = torch.arange(len(images))[:, None, None]
    return padded[item, rows[:, :, None], columns[:, None, :]].flatten(1)


def canvas(batch: int, length: int, generator: Generator) -> Float[Tensor, "batch length channels"]:
    """Noise, with the signal for an answer at the end."""
    tokens = NOISE * torch.randn(batch, length, CHANNELS, generator=generator)
    tokens[:, length - length // 16 :, ASKING] += RAISED
    return tokens


def begins(batch: int, length: int, events: int, spacing: int, generator: Generator) -> Int[Tensor, "batch events"]:
    """Ascending starts of events, at least two `spacing` apart, before the answer is wanted."""
    places = (length - length // 16) // (2 * spacing)
    chosen = torch.rand(batch, places, generator=generator).argsort(dim=1)[:, :events]
    return chosen.sort(dim=1).values * 2 * spacing


def raise_channels(
    tokens: Float[Tensor, "batch length channels"],
    first: Int[Tensor, "batch events"],
    durations: Int[Tensor, "batch events"] | int,
    channels: Int[Tensor, "batch events"],
) -> None:
    """Raise each event's channel from its first token for its duration, in place."""
    time = torch.arange(tokens.shape[1])[:, None]
    inside: Bool[Tensor, "batch length events"] = (time >= first[:, None]) & (time < (first + durations)[:, None])
    tokens.scatter_add_(2, channels[:, None].expand(inside.shape), RAISED * inside.float())


@cache
def handwritten(held_out: bool) -> tuple[Float[Tensor, "images 64"], Int[Tensor, " images"]]:
    """scikit-learn's digits, pixels from 0 to 2; the last fifth, by other writers, is held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.data, dtype=torch.float32) / 8
    labels = torch.tensor(bunch.target)
    cut = len(images) * 4 // 5
    return (images[cut:], labels[cut:]) if held_out else (images[:cut], labels[:cut])


TASKS = (
    MemoryTask("order", "which of two events came first", order, 2, 1, (1024, 4096, 16384)),
    MemoryTask("selective copy", "four events in their order", selective_copy, 4, 4, (1024, 4096)),
    MemoryTask("counting", f"events so far modulo {MODULUS}", counting, MODULUS, None, (256, 1024)),
    MemoryTask("digits", "handwriting, pixel by pixel", digits, 10, 1, (256, 1024), order_alone=False),
)
