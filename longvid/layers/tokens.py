"""Attention between a few tokens and many rows: Read, Former and Write.

Read goes from the rows to the tokens, Former is among the tokens, Write goes from the tokens to the rows.

    letters of Mobile-Former    here
    X, C                        `rows`, the positions of a map or a sequence, their channels `dim`: (batch, rows, dim)
    Z, M, d                     `tokens`: (batch, num_tokens, token_dim)

The rows are never projected: they serve unchanged as keys and values of Read and as queries of Write, with their
channels split into heads. Attention runs head by head over slices of the rows: no copy of them is made. One call over a
head axis would copy them, and torch's fused attention is slow for so few keys: for a map of 16x28x28x24 on one core,
Write takes 0.5 ms in this form, 1.5 ms fused, 2.4 ms in one batched product.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FIRST_TEMPERATURE = 3.0
"""Initial value of a learned temperature: queries that do not depend on the input learn only if attention can focus."""


def softmax(scores: Tensor, dim: int) -> Tensor:
    """Softmax in float32 or wider, returned in the type of `scores`."""
    return scores.softmax(dim, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)


def attend(
    queries: Float[Tensor, "batch queries dim"], rows: Float[Tensor, "batch rows dim"], *, heads: int
) -> Float[Tensor, "batch queries dim"]:
    """Attention of already scaled queries to rows, which are both keys and values; heads are slices of channels."""
    seen = []
    for query, row in zip(queries.chunk(heads, -1), rows.chunk(heads, -1), strict=True):
        seen.append(torch.bmm(softmax(torch.bmm(query, row.transpose(1, 2)), -1), row))
    return torch.cat(seen, -1)


def rms(x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """x divided by its root mean square; no weights."""
    return functional.rms_norm(x, x.shape[-1:])


class Read(nn.Module):
    """Updates the tokens from the rows: gated attention, output projection, post-norm.

    `gated`: a gate per channel, 0 to 2, from the incoming tokens; it is in the code of Mobile-Former's author, although
    seldom described. `own_queries`: that many learned queries, one per token, take the place of the tokens: what is
    read then does not depend on the tokens, so a sequence can be read as it arrives. `focused`: queries are normalised
    and have a learned temperature per head.
    """

    def __init__(
        self, dim: int, token_dim: int, *, heads: int, gated: bool = True, own_queries: int = 0, focused: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.source = nn.Parameter(torch.randn(own_queries, token_dim) * 0.5) if own_queries else None
        self.source_norm = nn.LayerNorm(token_dim) if focused else nn.Identity()
        self.query = nn.Linear(token_dim, dim)
        temperature = torch.full((heads,), math.log(FIRST_TEMPERATURE))
        self.log_temperature = nn.Parameter(temperature) if focused else None
        self.gate = nn.Linear(token_dim, dim) if gated else None
        self.out = nn.Linear(dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(
        self, tokens: Float[Tensor, "batch num_tokens token_dim"], rows: Float[Tensor, "batch rows dim"]
    ) -> Float[Tensor, "batch num_tokens token_dim"]:
        """The updated tokens; the order of the rows does not matter."""
        return self.finish(tokens, attend(self.queries(tokens), rows, heads=self.heads))

    def queries(self, tokens: Float[Tensor, "*batch num_tokens token_dim"]) -> Float[Tensor, "*batch num_tokens dim"]:
        """Scaled queries."""
        source = tokens if self.source is None else self.source.expand_as(tokens)
        query: Tensor = self.query(self.source_norm(source))
        scale: float = (query.shape[-1] // self.heads) ** -0.5
        if self.log_temperature is None:
            return query * scale
        by_head: Tensor = query.unflatten(-1, (self.heads, -1))
        return (by_head * (self.log_temperature.exp() * scale)[:, None]).flatten(-2)

    def finish(
        self,
        tokens: Float[Tensor, "*batch num_tokens token_dim"],
        seen: Float[Tensor, "*batch num_tokens dim"],
    ) -> Float[Tensor, "*batch num_tokens token_dim"]:
        """The updated tokens, from the output of the attention."""
        if self.gate is not None:
            seen = seen * (2 * functional.hardsigmoid(self.gate(tokens)))
        updated: Tensor = self.norm(tokens + self.out(seen))
        return updated


class Former(nn.Module):
    """Updates the tokens from each other: attention without key and value projections, then an MLP of twice the
    width; post-norm."""

    def __init__(self, token_dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(token_dim, token_dim)
        self.out = nn.Linear(token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)
        self.up = nn.Linear(token_dim, 2 * token_dim)
        self.down = nn.Linear(2 * token_dim, token_dim)
        self.mlp_norm = nn.LayerNorm(token_dim)

    def forward(
        self, tokens: Float[Tensor, "batch num_tokens token_dim"]
    ) -> Float[Tensor, "batch num_tokens token_dim"]:
        """The updated tokens."""
        queries = self.query(tokens) * (tokens.shape[-1] // self.heads) ** -0.5
        tokens = self.norm(tokens + self.out(attend(queries, tokens, heads=self.heads)))
        updated: Tensor = self.mlp_norm(tokens + self.down(functional.gelu(self.up(tokens))))
        return updated


class Write(nn.Module):
    """Adds to each row what it reads from the tokens; no norm after it, no output projection.

    `normalised`: rows are divided by their root mean square before they attend to the tokens.
    """

    def __init__(self, dim: int, token_dim: int, *, heads: int, normalised: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.normalised = normalised
        self.key = nn.Linear(token_dim, dim)
        self.value = nn.Linear(token_dim, dim)

    def forward(
        self, rows: Float[Tensor, "batch rows dim"], tokens: Float[Tensor, "batch num_tokens token_dim"]
    ) -> Float[Tensor, "batch rows dim"]:
        """The updated rows; each row's update depends on that row and the tokens alone."""
        scale = (rows.shape[-1] // self.heads) ** -0.5
        keys = (self.key(tokens) * scale).chunk(self.heads, -1)
        values = self.value(tokens).chunk(self.heads, -1)
        queries = (rms(rows) if self.normalised else rows).chunk(self.heads, -1)
        written = []
        for key, value, query, row in zip(keys, values, queries, rows.chunk(self.heads, -1), strict=True):
            # tokens x rows, so that the softmax over the few tokens runs along long contiguous lines
            weights = softmax(torch.bmm(key, query.transpose(1, 2)), 1).transpose(1, 2)
            if weights.dtype == row.dtype:
                written.append(torch.baddbmm(row, weights, value))
            else:  # under autocast the rows have the wider dtype, and keep it
                written.append(row + torch.bmm(weights, value))
        return torch.cat(written, -1)


class SlopeGenerator(nn.Module):
    """Two slopes per channel, from a token: a two-layer network whose outputs lie in [0, 1]."""

    def __init__(self, token_dim: int, dim: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(token_dim, token_dim // 4)
        self.expand = nn.Linear(token_dim // 4, 2 * dim)

    def forward(self, token: Float[Tensor, "batch token_dim"]) -> Float[Tensor, "batch twice_dim"]:
        """The raw slopes theta: those of all channels' positive side first, then those of the negative side."""
        return functional.hardsigmoid(self.expand(functional.relu(self.reduce(token))))
