"""ViS4mer on a stream: constant memory, constant cost per token.

A block emits one token for every two it takes in, so its stream keeps the S4 state and at most one token that waits for
its partner; a running mean follows the last block. After each push the scores are those of one pass over all tokens so
far.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.decoders.pyramid import PyramidBlock
from longvid.decoders.sequence import checked_tokens
from longvid.decoders.vis4mer import ViS4mer
from longvid.errors import DecoderError
from longvid.ssm import S4Layer


class StreamingViS4mer:
    """Holds the state of `batch` videos that advance together. The decoder must stay in evaluation mode.

    Raises DecoderError for a decoder that cannot stream: a bidirectional one, one with the official kernel at an odd
    length (which no recurrence has), or one with a head other than `video`.
    """

    def __init__(self, decoder: ViS4mer, *, batch: int = 1) -> None:
        config = decoder.config
        if config.bidirectional:
            raise DecoderError("bidirectional=True needs the future: train a causal ViS4mer to stream it")
        if config.head != "video":
            raise DecoderError(f"head={config.head!r} cannot stream: its coarse scales are read backwards in time")
        odd = [config.s4(block).max_length % 2 for block in range(config.layers)]
        if config.odd_length == "official" and any(odd):
            raise DecoderError(
                "the official kernel at an odd length has no recurrence: load it with odd_length='exact'"
            )
        if config.time_code:
            raise DecoderError("time_code=True needs the length of the whole video: train without it to stream")
        if decoder.training:
            raise DecoderError("the decoder is in training mode: call decoder.eval() before streaming")
        self._decoder = decoder
        self._batch = batch
        self.reset()

    def reset(self) -> None:
        """Forget every token, before a new video."""
        blocks = (block for block in self._decoder.blocks if isinstance(block, PyramidBlock))
        self._blocks = [_BlockStream(block, self._batch) for block in blocks]
        self._total: Tensor | None = None
        self._count = 0
        self.tokens_seen = 0

    @property
    def state_bytes(self) -> int:
        """Bytes held between pushes: constant, except for one waiting token per block."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._held())

    def _held(self) -> Iterator[Tensor]:
        for block in self._blocks:
            yield from block.held()
        if self._total is not None:
            yield self._total

    @torch.no_grad()
    def push(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch outputs"] | None:
        """Take the next tokens; returns the scores so far, or None before the first 2^layers tokens."""
        tokens = checked_tokens(tokens, None, dim=self._decoder.config.dim, minimum=0)
        if len(tokens) != self._batch:
            raise DecoderError(f"{len(tokens)} videos were pushed to a stream of {self._batch}")
        last = self._advance(tokens)[-1]
        if last.shape[1]:
            self._add(last)
        return self.scores()

    @torch.no_grad()
    def push_states(self, tokens: Float[Tensor, "batch length dim"]) -> tuple[Tensor, ...]:
        """Take the next tokens; the new states of every scale, as in `ViS4mer.past_states`, possibly none."""
        return tuple(self._advance(tokens))

    def _advance(self, tokens: Tensor) -> list[Tensor]:
        """The new tokens of every scale, the projected ones first."""
        self.tokens_seen += tokens.shape[1]
        scales = [self._decoder.project(tokens.to(self._decoder.head.dtype))]
        for block, width in zip(self._blocks, self._decoder.config.widths[1:], strict=True):
            x = scales[-1]
            scales.append(block.push(x) if x.shape[1] else x.new_zeros(len(x), 0, width))
        return scales

    def scores(self) -> Float[Tensor, "batch outputs"] | None:
        """Scores of all tokens so far."""
        if self._total is None or self._count == 0:
            return None
        mean = self._total / self._count
        scores: Tensor = self._decoder.head([(mean[:, None].to(self._decoder.head.dtype), None)])
        return scores

    def _add(self, x: Float[Tensor, "batch length dim"]) -> None:
        """Add x to the running mean; in float64, so that the next token still counts after millions."""
        total = x.double().sum(dim=1)
        self._total = total if self._total is None else self._total + total
        self._count += x.shape[1]


class _BlockStream:
    """One block's S4 state and the token that waits for its partner."""

    def __init__(self, block: PyramidBlock, batch: int) -> None:
        assert isinstance(block.mix, S4Layer)
        self._block, self._layer = block, block.mix
        self._state = self._layer.initial_state(batch)
        self._waiting: Tensor | None = None

    def held(self) -> Iterator[Tensor]:
        """Every tensor that is kept."""
        yield self._state
        if self._waiting is not None:
            yield self._waiting

    def push(self, x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch half narrow"]:
        """Tokens of the next scale that are now complete; possibly none."""
        z, self._state = self._layer.carry(self._block.before(x), self._state)
        x = self._block.add(x, z)
        if self._waiting is not None:
            x = torch.cat([self._waiting, x], dim=1)
        # a copy: a view would keep the whole chunk alive
        self._waiting = x[:, -1:].clone() if x.shape[1] % 2 else None
        return self._block.shrink(x)
