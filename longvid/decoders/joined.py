"""Token streams of several encoders in one sequence, for any decoder.

    step      |  stream 0  |      stream 1       |  stream 0  | ...
    tokens     a           b     b     b     b    a

Each stream is projected to a common width by a linear layer of its own and gets a learned code, so that a decoder that
knows nothing of streams can tell them apart. Which stream a token belongs to follows from its place in the step.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longvid.decoders.base import Decoder
from longvid.decoders.standardise import standard_of
from longvid.errors import DecoderError
from longvid.validation import Count, settings

CODE_DEVIATION = 0.02
"""Deviation of the codes' first values: small beside features of any encoder."""


@settings(DecoderError, kw_only=True)
class StreamLayout:
    """The streams of a step, in order."""

    dims: tuple[Count, ...]
    """Width of each stream's tokens; a narrower token is followed by zeros up to the widest."""
    tokens: tuple[Count, ...]
    """Tokens of each stream in a step."""
    width: Count | None = None
    """Width that all streams are projected to; none: the widest."""
    standardise: tuple[bool, ...] = ()
    """Which streams are scaled to mean 0 and deviation 1 over the training videos; empty: none."""

    def __post_init__(self) -> None:
        if len(self.dims) != len(self.tokens) or len(self.standardise) not in (0, len(self.dims)):
            raise DecoderError(f"{len(self.dims)} streams, but {len(self.tokens)} numbers of tokens")

    @property
    def inner_dim(self) -> int:
        """Width of the tokens that the decoder gets."""
        return max(self.dims) if self.width is None else self.width

    def split(self, steps: Any) -> list[Any]:
        """The tokens of each stream, without the zeros, of `(..., tokens, dim)`."""
        stops = np.cumsum(self.tokens).tolist()
        parts = zip([0, *stops], stops, self.dims, strict=False)
        return [steps[..., first:stop, :dim] for first, stop, dim in parts]


class JoinedStreams(Decoder):
    """`decoder` on token streams; before `fit` no stream is standardised."""

    def __init__(self, decoder: Decoder, layout: StreamLayout) -> None:
        super().__init__()
        self.decoder = decoder
        self.config = decoder.config
        self.layout = layout
        self.streams = nn.ModuleList(Stream(dim, layout.inner_dim) for dim in layout.dims)

    def fit(self, blocks: Iterable[Float[np.ndarray, "_ _ dim"]]) -> None:
        """Compute mean and deviation of the streams to be standardised, in one pass and in float64."""
        chosen = [index for index, wanted in enumerate(self.layout.standardise) if wanted]
        if not chosen:
            return
        found = standard_of([self.layout.split(block)[index] for index in chosen] for block in blocks)
        for index, (mean, scale) in zip(chosen, found, strict=True):
            stream = self.streams[index]
            assert isinstance(stream, Stream)
            stream.mean.copy_(torch.from_numpy(mean))
            stream.scale.copy_(torch.from_numpy(scale))

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """What the decoder says to the streams; `lengths` counts tokens, whole steps of them."""
        logits: Tensor = self.decoder(self.merged(tokens), lengths)
        return logits

    def stages(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "stages batch *steps outputs"]:
        """The decoder's stages on the streams."""
        return self.decoder.stages(self.merged(tokens), lengths)

    @property
    def min_tokens(self) -> int:
        """The decoder's own."""
        return self.decoder.min_tokens

    def merged(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length inner_dim"]:
        """The tokens of whole steps at a common width, each with the code of its stream."""
        per_step, widest = sum(self.layout.tokens), max(self.layout.dims)
        if tokens.shape[1] % per_step or tokens.shape[2] != widest:
            raise DecoderError(
                f"{tokens.shape[1]} tokens {tokens.shape[2]} wide; this decoder takes steps of {per_step} tokens "
                f"{widest} wide, from stores joined as in its training"
            )
        parts = self.layout.split(tokens.unflatten(1, (-1, per_step)))
        return torch.cat([own(part) for own, part in zip(self.streams, parts, strict=True)], dim=2).flatten(1, 2)

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The decoder's own groups, and one of the projections and codes."""
        own = {"params": list(self.streams.parameters()), "lr": learning_rate, "weight_decay": weight_decay}
        return [*self.decoder.param_groups(learning_rate, weight_decay), own]


class Stream(nn.Module):
    """One stream's way into the sequence: standardised, projected, and a code added."""

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.project = nn.Linear(dim, width)
        self.code = nn.Parameter(torch.randn(width) * CODE_DEVIATION)

    def forward(self, tokens: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch width"]:
        """The tokens at the common width."""
        projected: Tensor = self.project((tokens.to(self.mean.dtype) - self.mean) * self.scale)
        return projected + self.code
