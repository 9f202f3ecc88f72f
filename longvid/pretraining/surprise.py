"""Surprise over time from a stream, and the events it shows.

    stream = SurpriseStream(model)                      # a pretraining with objective.name=next-clip
    for tokens in parts:                                # (1, length, dim)
        surprise = stream.push(tokens)                  # one value per clip that is complete: its loss, given the past

The surprise of a clip is the loss of what was expected of it one step (the shortest horizon) before; NaN for the first
clips, of which nothing was expected. A boundary is a clip that surprises more than all within `gap` clips, and
more than `threshold` deviations above the mean of everything up to then; it is known `gap` clips later.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvid.decoders.base import Decoder
from longvid.decoders.global_tokens import GlobalTokenDecoder
from longvid.decoders.recurrent import Recurrent
from longvid.decoders.standardise import Standardised
from longvid.decoders.streams import open_stream
from longvid.decoders.vis4mer import ViS4mer
from longvid.errors import ConfigError, DecoderError
from longvid.pretraining.models import NextClipModel, PretrainingModel
from longvid.pretraining.objective import error

Parts = tuple[Tensor, ...]
"""New states of every scale, (batch, steps, width) each; possibly no steps."""


class SurpriseStream:
    """How unexpected each clip of one video is; constant memory and cost per clip.

    Raises `ConfigError` for a model that predicts masked clips, DecoderError for a decoder that does not stream.
    """

    def __init__(self, model: PretrainingModel) -> None:
        if not isinstance(model, NextClipModel):
            raise ConfigError("surprise needs a pretraining that predicts later clips: objective.name=next-clip")
        self._model = model.eval()
        self._states = state_stream(model.decoder)
        self._horizon = min(model.objective.horizons)
        self._index = model.objective.horizons.index(self._horizon)
        self.reset()

    def reset(self) -> None:
        """Forget every clip, before a new video."""
        self._push = self._states()
        self._waiting: Tensor | None = None
        self._last: list[Tensor | None] = [None] * len(self._model.readouts)
        self._expected: list[Tensor] = []
        self._previous: list[Tensor] = []
        self.last_clip: list[float] = []
        """What the guess `the last clip again` would have been off by, beside each surprise."""

    @torch.no_grad()
    def push(self, tokens: Float[Tensor, "one length dim"]) -> Float[np.ndarray, " clips"]:
        """Surprise of every clip that is complete with these tokens."""
        size = self._model.num_tokens
        if self._waiting is not None:
            tokens = torch.cat([self._waiting, tokens], dim=1)
        whole = tokens.shape[1] // size * size
        self._waiting = tokens[:, whole:].clone()
        found = [self._clip(tokens[:, first : first + size]) for first in range(0, whole, size)]
        return np.array(found)

    def _clip(self, tokens: Tensor) -> float:
        """Surprise of one clip; afterwards it is part of what later ones are expected from."""
        lengths = torch.tensor([tokens.shape[1]], device=tokens.device)
        target = self._model.targets(tokens, lengths)[0, 0]
        surprise = guess = float("nan")
        loss = self._model.objective.loss
        if len(self._expected) == self._horizon:
            surprise = float(error(self._expected.pop(0), target, loss))
            guess = float(error(self._previous.pop(0), target, loss))
        self.last_clip.append(guess)
        self._expected.append(self._next(tokens))
        self._previous.append(target)
        return surprise

    def _next(self, tokens: Tensor) -> Float[Tensor, " dim"]:
        """What is expected `horizon` clips after this one."""
        states = self._push(tokens.to(self._model.mean.dtype))
        for scale, (new, linear) in enumerate(zip(states, self._model.readouts, strict=True)):
            if new.shape[1]:
                self._last[scale] = linear(new[:, -1])
        total = torch.stack([last for last in self._last if last is not None]).sum(dim=0)
        expected: Tensor = total[0].unflatten(0, (len(self._model.objective.horizons), -1))
        return expected[self._index]


def state_stream(decoder: Decoder) -> Callable[[], Callable[[Tensor], Parts]]:
    """A maker of functions that take the next tokens and return the new states of `past_states`.

    Raises DecoderError for a decoder that does not stream.
    """
    if isinstance(decoder, Standardised):
        inner = state_stream(decoder.decoder)

        def wrapped() -> Callable[[Tensor], Parts]:
            push = inner()
            return lambda tokens: push(decoder.standardised(tokens))

        return wrapped
    if isinstance(decoder, ViS4mer):
        return lambda: open_stream(decoder).push_states  # type: ignore[attr-defined]
    if isinstance(decoder, GlobalTokenDecoder):
        return lambda: open_stream(decoder).push_states  # type: ignore[attr-defined]
    if isinstance(decoder, Recurrent):
        decoder.past_widths()
        return lambda: _Cells(decoder).push_states
    raise DecoderError(f"{type(decoder).__name__} does not stream: use vis4mer, global-tokens, lstm or gru")


class _Cells:
    """An LSTM or a GRU that goes on from its last state."""

    def __init__(self, decoder: Recurrent) -> None:
        self._cells = decoder.cells
        self._state: Tensor | tuple[Tensor, Tensor] | None = None

    def push_states(self, tokens: Tensor) -> Parts:
        outputs, self._state = self._cells(tokens, self._state)
        return (outputs,)


class Boundaries:
    """Finds boundaries in surprise as it arrives, `gap` clips late."""

    def __init__(self, *, threshold: float = 3.0, gap: int = 4) -> None:
        if gap < 1 or threshold < 0:
            raise ConfigError(f"a boundary needs gap >= 1 and threshold >= 0, not gap={gap}, threshold={threshold}")
        self.threshold = threshold
        self.gap = gap
        self._recent: list[float] = []
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self._seen = 0

    def push(self, surprise: float) -> int | None:
        """The index of the clip that is now known to be a boundary, or None."""
        self._recent.append(surprise)
        self._seen += 1
        if len(self._recent) > 2 * self.gap + 1:
            self._recent.pop(0)
        index = self._seen - 1 - self.gap
        if index < 0:
            return None
        candidate = self._recent[-1 - self.gap]
        is_boundary = (
            self._count >= 2 * self.gap  # deviations of fewer mean little
            and candidate >= max(value for value in self._recent if not np.isnan(value))
            and candidate > self._mean + self.threshold * (self._squares / self._count) ** 0.5
        )
        self._add(candidate)
        return index if is_boundary else None

    def _add(self, value: float) -> None:
        """Welford's running mean and variance."""
        if np.isnan(value):
            return
        self._count += 1
        step = value - self._mean
        self._mean += step / self._count
        self._squares += step * (value - self._mean)


def boundaries_of(surprise: Float[np.ndarray, " clips"], *, threshold: float = 3.0, gap: int = 4) -> list[int]:
    """Indices of the clips at which an event begins, each decided from what was there `gap` clips later."""
    found = Boundaries(threshold=threshold, gap=gap)
    return [index for value in surprise.tolist() if (index := found.push(value)) is not None]


def surprise_along(model: PretrainingModel, parts: Iterator[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Surprise of every clip, and that of the guess `the last clip again`."""
    stream = SurpriseStream(model)
    found = [stream.push(part) for part in parts]
    return np.concatenate(found) if found else np.zeros(0), np.array(stream.last_clip)
