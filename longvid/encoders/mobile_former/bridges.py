"""The token side of Mobile-Former: Read (map to tokens), Former (tokens among themselves), Write (tokens to map).

    letters of the paper        here
    X, C                        `features`, its channels `dim`: (batch, dim, time, height, width)
    Z, M, d                     `tokens`: (batch, num_tokens, token_dim)

The large side is never projected: the map serves as keys and values of Read and as queries of Write just as it is, its
channels cut into heads. A clip's positions are one set of time x height x width; the tokens belong to the whole clip.
Attention runs head by head over slices of a channels-last map: no copy of the map is made. One call over a head axis
copies it, and torch's fused attention is slow for so few keys: at 16x28x28x24 on one core Write takes 0.5 ms in this
form, 1.5 ms fused, 2.4 ms in one batched product.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def to_rows(
    features: Float[Tensor, "batch dim time height width"],
) -> Float[Tensor, "batch positions dim"]:
    """Every position's channels as a row, time-major; a view of a channels-last map."""
    return features.permute(0, 2, 3, 4, 1).flatten(1, 3)


def softmax(scores: Tensor, dim: int) -> Tensor:
    """Softmax in float32 or wider, returned in the type of `scores`."""
    return scores.softmax(dim, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)


def attend(
    queries: Float[Tensor, "batch queries dim"], rows: Float[Tensor, "batch positions dim"], *, heads: int
) -> Float[Tensor, "batch queries dim"]:
    """Scaled dot-product attention to rows that are both keys and values; heads are channel slices."""
    scale = (rows.shape[-1] // heads) ** -0.5
    seen = []
    for query, row in zip((queries * scale).chunk(heads, -1), rows.chunk(heads, -1), strict=True):
        seen.append(torch.bmm(softmax(torch.bmm(query, row.transpose(1, 2)), -1), row))
    return torch.cat(seen, -1)


class Read(nn.Module):
    """Tokens that have looked at the map: gated attention, output projection, post-norm.

    The channel gate (0 to 2, from the incoming tokens) is in the author's code, though seldom described.
    """

    def __init__(self, dim: int, token_dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(token_dim, dim)
        self.gate = nn.Linear(token_dim, dim)
        self.out = nn.Linear(dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(
        self,
        tokens: Float[Tensor, "batch num_tokens token_dim"],
        features: Float[Tensor, "batch dim time height width"],
    ) -> Float[Tensor, "batch num_tokens token_dim"]:
        """The updated tokens; invariant to any order of the positions."""
        seen = attend(self.query(tokens), to_rows(features), heads=self.heads)
        gate = 2 * functional.hardsigmoid(self.gate(tokens))
        return self.norm(tokens + self.out(seen * gate))


class Former(nn.Module):
    """Tokens that have looked at each other: attention without key and value projections, then an MLP of twice the
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
        tokens = self.norm(tokens + self.out(attend(self.query(tokens), tokens, heads=self.heads)))
        return self.mlp_norm(tokens + self.down(functional.gelu(self.up(tokens))))


class Write(nn.Module):
    """The map with what the tokens have to say added at every position; no norm, no output projection."""

    def __init__(self, dim: int, token_dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(token_dim, dim)
        self.value = nn.Linear(token_dim, dim)

    def forward(
        self,
        features: Float[Tensor, "batch dim time height width"],
        tokens: Float[Tensor, "batch num_tokens token_dim"],
    ) -> Float[Tensor, "batch dim time height width"]:
        """The updated map; each position's update depends on that position and the tokens alone."""
        rows = to_rows(features)
        scale = (rows.shape[-1] // self.heads) ** -0.5
        keys = (self.key(tokens) * scale).chunk(self.heads, -1)
        values = self.value(tokens).chunk(self.heads, -1)
        written = []
        for key, value, row in zip(keys, values, rows.chunk(self.heads, -1), strict=True):
            # tokens x positions, so that the softmax over few tokens runs along long contiguous rows
            weights = softmax(torch.bmm(key, row.transpose(1, 2)), 1)
            written.append(torch.baddbmm(row, weights.transpose(1, 2), value))
        return torch.cat(written, -1).unflatten(1, features.shape[2:]).permute(0, 4, 1, 2, 3)
