"""Attention from learned queries to a sequence, without keys and values.

A learned query is the same for every token, so the projections to keys and values can be moved from the tokens to the
query and to the mixture. With x the tokens after the norm without its weights, g and b the norm's weights:

    score of token n   q·(K (g x_n + b) + k) = (g Kᵀq)·x_n + constant        the softmax does not see the constant
    output             Σ a_n (V (g x_n + b) + v) = V (g Σ a_n x_n + b) + v    the weights a_n sum to 1

That is exact, and costs 2 N C h multiply-adds per query instead of 2 N C² (h heads, C channels: 64 times less for the
published probes). And x depends on no weight, so many probes on the same tokens share it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class FoldedQueries(NamedTuple):
    """What the queries of one probe need of the tokens, and what they make of it."""

    directions: Float[Tensor, "rows dim"]
    """One direction per query and head (query-major): its product with a token is the token's score."""
    scale: Float[Tensor, " dim"] | None
    """Weight and bias of the norm before the attention; None without a norm."""
    shift: Float[Tensor, " dim"] | None
    value_weight: Float[Tensor, "dim dim"]
    value_bias: Float[Tensor, " dim"] | None
    heads: int

    def finish(self, mixtures: Float[Tensor, "batch rows dim"]) -> Float[Tensor, "batch queries dim"]:
        """The attention's output from the mixture of tokens that each row has read."""
        if self.scale is not None and self.shift is not None:
            mixtures = mixtures * self.scale + self.shift
        by_head = mixtures.unflatten(1, (-1, self.heads))
        weight = self.value_weight.unflatten(0, (self.heads, -1))
        values = torch.einsum("bqhc,hdc->bqhd", by_head, weight).flatten(2)
        return values if self.value_bias is None else values + self.value_bias


def fold(
    query: Float[Tensor, "queries dim"],
    key_value: Float[Tensor, "two_dim dim"],
    key_value_bias: Float[Tensor, " two_dim"] | None,
    heads: int,
    scale: Tensor | None,
    shift: Tensor | None,
) -> FoldedQueries:
    """The queries (already projected) with the projections of the tokens folded into them."""
    key, value = key_value.chunk(2)
    head_dim = query.shape[-1] // heads
    by_head = query.unflatten(-1, (heads, head_dim)) * head_dim**-0.5
    directions = torch.einsum("qhd,hdc->qhc", by_head, key.unflatten(0, (heads, head_dim))).flatten(0, 1)
    bias = None if key_value_bias is None else key_value_bias.chunk(2)[1]
    return FoldedQueries(directions if scale is None else directions * scale, scale, shift, value, bias, heads)


def read(
    tokens: Float[Tensor, "batch length dim"],
    directions: Float[Tensor, "rows dim"],
    outside: Bool[Tensor, "batch length 1"] | None,
) -> Float[Tensor, "batch rows dim"]:
    """The softmax-weighted mixture of the tokens of each row; `outside`: True on padding."""
    scores = tokens @ directions.mT
    if outside is not None:
        scores = scores.masked_fill(outside, -torch.inf)
    return scores.softmax(dim=1).mT.to(tokens.dtype) @ tokens
