"""Parts that transformer encoders share.

Attention, MLP, pre-norm block, patch embedding, drop path and position tables.

Token sequences are `batch length dim`; channels are head-major (channel = head * head_dim + j).
Parameter names (`qkv`, `proj`, `fc1`, `fc2`, `norm1`, `norm2`) are those of most published checkpoints.
"""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def split_heads(
    tokens: Float[Tensor, "batch length dim"], num_heads: int
) -> Float[Tensor, "batch heads length head_dim"]:
    """A view of the tokens with the channel axis split into heads."""
    by_head: Tensor = tokens.unflatten(-1, (num_heads, -1))
    return by_head.transpose(1, 2)


def join_heads(heads: Float[Tensor, "batch heads length head_dim"]) -> Float[Tensor, "batch length dim"]:
    """The inverse of `split_heads`."""
    return heads.transpose(1, 2).flatten(2)


def attend(
    query: Float[Tensor, "batch queries dim"],
    key: Float[Tensor, "batch keys dim"],
    value: Float[Tensor, "batch keys dim"],
    num_heads: int,
    *,
    scale: float | None = None,
) -> Float[Tensor, "batch queries dim"]:
    """softmax(Q K^T * scale) V in each head, heads joined again; fused, so the score matrix is never stored.

    `scale=None` is head_dim ** -0.5.
    """
    q, k, v = (split_heads(part, num_heads) for part in (query, key, value))
    return join_heads(functional.scaled_dot_product_attention(q, k, v, scale=scale))


class Attention(nn.Module):
    """Multi-head self-attention with one projection for q, k and v (rows q | k | v, each head-major)."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True, scale: float | None = None) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} cannot be cut into num_heads={num_heads} equal heads")
        self.num_heads = num_heads
        self.scale = scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length dim"]:
        """Each token replaced by its attention-weighted mixture of the sequence."""
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        output: Tensor = self.proj(attend(query, key, value, self.num_heads, scale=self.scale))
        return output


class MLP(nn.Module):
    """Linear layer, exact (erf) GELU, linear layer."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The same two layers at every position."""
        output: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return output


class DropPath(nn.Module):
    """In training, zeroes a whole residual branch of an item with probability `rate` and rescales the others."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate={rate} must lie in [0, 1)")
        self.rate = rate

    def forward(self, branch: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *rest"]:
        """The branch, unchanged in evaluation."""
        if not self.training or self.rate == 0:
            return branch
        keep = torch.full((len(branch), *[1] * (branch.ndim - 1)), 1 - self.rate, device=branch.device)
        return branch * torch.bernoulli(keep).div(1 - self.rate).to(branch.dtype)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def drop_path_rates(last_rate: float, depth: int) -> list[float]:
    """Rates that rise linearly from 0 at the first of `depth` blocks to `last_rate` at the last."""
    return [last_rate * index / max(depth - 1, 1) for index in range(depth)]


class Block(nn.Module):
    """Pre-norm transformer block: x + Attention(LN1(x)), then x + MLP(LN2(x)).

    The attention module is passed in; what else it needs (a grid shape, a segment length) comes through `context`.
    """

    def __init__(
        self,
        dim: int,
        attention: nn.Module,
        *,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Float[Tensor, "batch length dim"], *context: Any) -> Float[Tensor, "batch length dim"]:
        """The tokens after both residual branches."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), *context))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens


class PatchEmbed2d(nn.Module):
    """One token per square patch: a convolution with a kernel as large as its stride."""

    def __init__(self, dim: int, patch_size: int, *, in_channels: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch length dim"]:
        """Tokens in raster order (rows first)."""
        grid: Tensor = self.proj(images)
        return grid.flatten(2).transpose(1, 2)


class PatchEmbed3d(nn.Module):
    """One token per space-time block. Frames, rows and columns left over at the end are dropped, never padded."""

    def __init__(self, dim: int, patch_size: tuple[int, int, int], *, in_channels: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(
        self, clips: Float[Tensor, "batch channel time height width"]
    ) -> Float[Tensor, "batch dim steps rows columns"]:
        """The grid of tokens, channels second."""
        grid: Tensor = self.proj(clips)
        return grid


def resize_table(
    table: Float[Tensor, "places dim"], grid_from: tuple[int, int], grid_to: tuple[int, int]
) -> Float[Tensor, "new_places dim"]:
    """A learned position table for `grid_from` (rows, columns), in raster order, resized to `grid_to`.

    The rule of this library for every spatial table: bicubic, corners not aligned, no antialias; with an equal size
    the table itself is returned. The table holds the grid only: set class-token entries aside first.
    """
    if len(table) != grid_from[0] * grid_from[1]:
        raise ValueError(f"a table of {len(table)} places is not a grid of {grid_from[0]}x{grid_from[1]}")
    if tuple(grid_from) == tuple(grid_to):
        return table
    grid = rearrange(table, "(rows columns) dim -> 1 dim rows columns", rows=grid_from[0])
    resized = functional.interpolate(grid, size=tuple(grid_to), mode="bicubic", align_corners=False)
    return rearrange(resized, "1 dim rows columns -> (rows columns) dim")


def init_transformer_(module: nn.Module, *, std: float = 0.02) -> None:
    """Initialises a module: linear weights truncated normal with zero bias, layer norms one and zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm) and part.elementwise_affine:
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def inflate_2d(weight: Float[Tensor, "*out height width"], frames: int) -> Float[Tensor, "*out frames height width"]:
    """A 2D kernel as a 3D one with the same output for a still clip: repeated `frames` times, divided by `frames`."""
    return weight.unsqueeze(-3).repeat_interleave(frames, dim=-3) / frames


def centre_2d(weight: Float[Tensor, "*out height width"], frames: int) -> Float[Tensor, "*out frames height width"]:
    """A 2D kernel as a 3D one that sees the middle frame only; its other temporal taps are zero."""
    inflated = weight.new_zeros(*weight.shape[:-2], frames, *weight.shape[-2:])
    inflated[..., frames // 2, :, :] = weight
    return inflated
