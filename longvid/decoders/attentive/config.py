"""Settings of the attentive probe."""

from typing import Literal

from longvid.decoders.base import DecoderConfig
from longvid.errors import DecoderError
from longvid.validation import Count, Positive, settings

MOST_HEADS = 16
"""Attention heads of every published V-JEPA 2 probe, whatever its encoder has."""


@settings(DecoderError, kw_only=True)
class AttentiveConfig(DecoderConfig):
    """Settings of `AttentiveProbe`; the defaults are those of the authors' constructor."""

    layers: Count = 1
    """Attention blocks: one cross-attention and `layers` - 1 self-attention blocks. V-JEPA has 1, V-JEPA 2 has 4."""
    order: Literal["query-last", "query-first"] = "query-last"
    """`query-last` (V-JEPA 2): self-attention over all tokens, then the query reads them. `query-first` (V-JEPA): the
    query reads the tokens, then self-attention over the queries. With one layer both are the same."""
    heads: Count | None = None
    """Attention heads; none: 16, or the next lower number that divides the width."""
    mlp_ratio: Positive = 4.0
    """Width of the MLPs' hidden layers, as a multiple of `dim`."""
    complete: bool = True
    """Whether the cross-attention block is whole; without, it is bare: no norm, no residual, no MLP."""
    qkv_bias: bool = True
    """Whether the projections to queries, keys and values have biases."""
    norm_epsilon: Positive = 1e-5
    """Added to the variance in layer norms: 1e-5 in the authors' code, 1e-6 in transformers' copy."""
    queries: tuple[Count, ...] = ()
    """Outputs that each of several queries answers for (EPIC-KITCHENS: verb, noun, action); none: one query for all."""
    time_code: bool = False
    """Add a learned code of time to the tokens. Without (as published) the probe cannot tell their order."""
    checkpointing: bool = False
    """Recompute each self-attention block in the backward pass: less memory, a third more time."""

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise DecoderError(f"dim={self.dim} cannot be cut into heads={self.heads} equal heads")
        if self.queries and sum(self.queries) != self.outputs:
            raise DecoderError(
                f"queries={self.queries} answer for {sum(self.queries)} outputs, there are {self.outputs}"
            )
        if self.queries and self.head == "steps":
            raise DecoderError("head='steps' has no learned query of its own per output; leave out queries")

    @property
    def num_heads(self) -> int:
        """Attention heads."""
        if self.heads is not None:
            return self.heads
        return next(heads for heads in range(min(MOST_HEADS, self.dim), 0, -1) if self.dim % heads == 0)


@settings(DecoderError, kw_only=True)
class FourLayerConfig(AttentiveConfig):
    """`AttentiveConfig` with V-JEPA 2's published depth."""

    layers: Count = 4
