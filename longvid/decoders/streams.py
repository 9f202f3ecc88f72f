"""Trained decoders as streams: scores after each push of tokens.

stream = open_stream(decoder)
for tokens in parts:                    # (1, length, dim)
    scores = stream.push(tokens)        # (1, outputs); None while there are too few tokens
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from longvid.decoders.base import Decoder
from longvid.decoders.global_tokens import GlobalTokenDecoder
from longvid.decoders.global_tokens.streaming import StreamingGlobalTokens
from longvid.decoders.joined import JoinedStreams
from longvid.decoders.part import PartOf
from longvid.decoders.standardise import Standardised
from longvid.decoders.streaming import StreamingViS4mer
from longvid.decoders.vis4mer import ViS4mer
from longvid.errors import DecoderError


@runtime_checkable
class Stream(Protocol):
    """A decoder's view of videos that are still running."""

    def reset(self) -> None:
        """Forget every token: a new video begins."""
        ...

    def push(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch outputs"] | None:
        """Take the next tokens; the logits of all tokens so far, or None while there are too few."""
        ...


def open_stream(decoder: Decoder, *, batch: int = 1) -> Stream:
    """The decoder over `batch` videos that run in step; it must stay in evaluation mode.

    Raises DecoderError, with the reason, for a decoder that does not stream.
    """
    if isinstance(decoder, Standardised):
        return _Wrapped(open_stream(decoder.decoder, batch=batch), before=decoder.standardised)
    if isinstance(decoder, JoinedStreams):
        return _Wrapped(open_stream(decoder.decoder, batch=batch), before=decoder.merged)
    if isinstance(decoder, PartOf):
        return _Wrapped(open_stream(decoder.decoder, batch=batch), after=decoder.part)
    if isinstance(decoder, ViS4mer):
        return StreamingViS4mer(decoder, batch=batch)
    if isinstance(decoder, GlobalTokenDecoder):
        return StreamingGlobalTokens(decoder, batch=batch)
    raise DecoderError(f"{type(decoder).__name__} does not stream: it reads whole windows")


def _same(values: Tensor) -> Tensor:
    return values


class _Wrapped:
    """The stream of a decoder inside another: tokens go through `before`, scores through `after`."""

    def __init__(
        self, inner: Stream, *, before: Callable[[Tensor], Tensor] = _same, after: Callable[[Tensor], Tensor] = _same
    ) -> None:
        self._inner, self._before, self._after = inner, before, after

    def reset(self) -> None:
        self._inner.reset()

    def push(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch outputs"] | None:
        scores = self._inner.push(self._before(tokens))
        return None if scores is None else self._after(scores)
