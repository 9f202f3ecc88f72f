"""The global-token decoder on a video that is still running."""

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.decoders.global_tokens.blocks import BlockState
from longvid.decoders.global_tokens.model import GlobalTokenDecoder, VideoHead
from longvid.decoders.sequence import checked_tokens
from longvid.errors import DecoderError
from longvid.layers.tokens import rms


class StreamingGlobalTokens:
    """Holds the state of `batch` videos that advance together; constant memory, scores always equal to one pass.

    Tokens are processed in the segments the decoder was trained with; those that do not fill one yet are kept, and
    included in the scores. Raises DecoderError for a decoder that was not built with `causal=True`.
    """

    def __init__(self, decoder: GlobalTokenDecoder, *, batch: int = 1) -> None:
        if not decoder.config.causal:
            raise DecoderError("this global-token decoder needs whole videos: train one with causal=True to stream")
        if not isinstance(decoder.head, VideoHead):
            raise DecoderError(f"head={decoder.config.head!r} does not stream here; use head='video'")
        if decoder.training:
            raise DecoderError("the decoder is in training mode: call decoder.eval() before streaming")
        self._decoder, self._head = decoder, decoder.head
        self._batch = batch
        self.reset()

    def reset(self) -> None:
        """Forget every token, before a new video."""
        self._states: list[BlockState | None] = [None] * len(self._decoder.blocks)
        self._done = 0
        self._total = torch.zeros(self._batch, self._decoder.config.width, dtype=torch.float64)
        self._waiting: Tensor | None = None

    @property
    def tokens_seen(self) -> int:
        """Number of tokens of each video so far."""
        return self._done + (0 if self._waiting is None else self._waiting.shape[1])

    @torch.no_grad()
    def push(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch outputs"] | None:
        """Take the next tokens; returns the scores so far, or None before the first token."""
        tokens = checked_tokens(tokens, None, dim=self._decoder.config.dim, minimum=0)
        if len(tokens) != self._batch:
            raise DecoderError(f"{len(tokens)} videos were pushed to a stream of {self._batch}")
        if self._waiting is not None:
            tokens = torch.cat([self._waiting, tokens], dim=1)
        size = self._decoder.config.segment
        scores = None
        while tokens.shape[1] >= size:
            scores, self._states, self._total = self._run(tokens[:, :size])
            self._done += size
            tokens = tokens[:, size:]
        self._waiting = tokens.clone() if tokens.shape[1] else None
        return scores if self._waiting is None else self._run(self._waiting)[0]

    @torch.no_grad()
    def push_states(self, tokens: Float[Tensor, "batch length dim"]) -> tuple[Tensor, ...]:
        """Take the next tokens; the projected ones and the ends of finished segments, as in `past_states`."""
        projected = self._decoder.embed(tokens, None, first=self.tokens_seen)
        waiting = tokens if self._waiting is None else torch.cat([self._waiting, tokens], dim=1)
        size, ends = self._decoder.config.segment, []
        while waiting.shape[1] >= size:
            x, read, self._states = self._blocks(waiting[:, :size])
            ends.append(self._decoder.ends(x, read))
            self._done += size
            waiting = waiting[:, size:]
        self._waiting = waiting.clone() if waiting.shape[1] else None
        none = projected.new_zeros(len(tokens), 0, self._decoder.past_widths()[1])
        return projected, torch.cat(ends, dim=1) if ends else none

    def _run(self, tokens: Tensor) -> tuple[Tensor, list[BlockState | None], Tensor]:
        """Scores after one more segment, with the states and the sum of positions after it."""
        x, read, states = self._blocks(tokens)
        total = self._total.to(x.device) + rms(x)[:, 0].double().sum(dim=1)
        mean = (total / (self._done + tokens.shape[1])).to(x.dtype)
        return self._head.classify(mean, read[:, 0]), states, total

    def _blocks(self, tokens: Tensor) -> tuple[Tensor, Tensor, list[BlockState | None]]:
        """Positions, tokens and states after one more segment."""
        decoder = self._decoder
        x = decoder.embed(tokens, None, first=self._done)[:, None]
        read = decoder.tokens.expand(len(x), 1, -1, -1)
        states: list[BlockState | None] = []
        for block, before in zip(decoder.blocks, self._states, strict=True):
            x, read, state = block(x, read, None, before)
            states.append(state)
        return x, read, states
