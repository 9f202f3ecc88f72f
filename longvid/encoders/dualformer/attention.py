"""DualFormer's two attentions: local windows, and a pooled pyramid.

The pyramid of pooled tokens covers the whole clip. Tokens are `batch length dim` in (time, row, column) raster order;
`grid` is their (time, height, width).
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from longvid.encoders.dualformer.config import COARSE_FIRST_KERNEL, PyramidKernels, Size
from longvid.layers.transformer import attend


def to_windows(
    tokens: Float[Tensor, "batch length dim"], grid: Size, window: Size
) -> Float[Tensor, "windows inside dim"]:
    """The tokens of each non-overlapping window, as a batch of short sequences. The window must divide the grid."""
    return rearrange(
        tokens,
        "b (nt t nh h nw w) c -> (b nt nh nw) (t h w) c",
        **_window_axes(grid, window),
    )


def from_windows(
    windows: Float[Tensor, "windows inside dim"], grid: Size, window: Size
) -> Float[Tensor, "batch length dim"]:
    """The inverse of `to_windows`."""
    return rearrange(
        windows,
        "(b nt nh nw) (t h w) c -> b (nt t nh h nw w) c",
        **_window_axes(grid, window),
    )


def _window_axes(grid: Size, window: Size) -> dict[str, int]:
    counts = {f"n{axis}": length // part for axis, length, part in zip("thw", grid, window, strict=True)}
    return counts | dict(zip("thw", window, strict=True))


def to_grid(tokens: Float[Tensor, "batch length dim"], grid: Size) -> Float[Tensor, "batch dim time height width"]:
    """The tokens as a grid, channels second; a view (in memory the channels stay last)."""
    places: Tensor = tokens.transpose(1, 2).unflatten(2, grid)
    return places


def to_tokens(grid: Float[Tensor, "batch dim time height width"]) -> Float[Tensor, "batch length dim"]:
    """The inverse of `to_grid`."""
    return grid.flatten(2).transpose(1, 2)


def depthwise(dim: int, kernel: Size) -> nn.Conv3d:
    """A convolution that pools each channel separately: kernel = stride, no padding, so remainders are dropped."""
    return nn.Conv3d(dim, dim, kernel_size=kernel, stride=kernel, groups=dim)


class LocalWindowAttention(nn.Module):
    """Self-attention inside non-overlapping windows: no shift, no mask, no position table (LW-MSA)."""

    def __init__(self, dim: int, heads: int, window: Size, *, qkv_bias: bool, scale: float | None) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.scale = scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "batch length dim"], grid: Size) -> Float[Tensor, "batch length dim"]:
        """Each token replaced by its attention-weighted mixture of its window."""
        query, key, value = self.qkv(to_windows(tokens, grid, self.window)).chunk(3, dim=-1)
        mixed = attend(query, key, value, self.heads, scale=self.scale)
        output: Tensor = self.proj(from_windows(mixed, grid, self.window))
        return output


class Pyramid(nn.Module):
    """A few hundred tokens that summarise the whole clip: fine pooled tokens first, then coarse ones, normed together.

    The coarse level has a batch norm, so training and evaluation mode differ.
    """

    def __init__(self, dim: int, kernels: PyramidKernels) -> None:
        super().__init__()
        self.fine = depthwise(dim, kernels.fine)
        self.coarse: nn.Sequential | None = None
        if kernels.coarse is not None:
            self.coarse = nn.Sequential(
                depthwise(dim, COARSE_FIRST_KERNEL),
                nn.BatchNorm3d(dim),
                nn.ReLU(),
                depthwise(dim, kernels.coarse),
            )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Float[Tensor, "batch length dim"], grid: Size) -> Float[Tensor, "batch pooled dim"]:
        """Pooled tokens; their number depends on the grid, the kernels are fixed."""
        places = to_grid(tokens, grid)
        levels = [to_tokens(self.fine(places))]
        if self.coarse is not None:
            levels.append(to_tokens(self.coarse(places)))
        pooled: Tensor = self.norm(torch.cat(levels, dim=1))
        return pooled


class PyramidAttention(nn.Module):
    """Every token queries the pyramid of the whole clip, or all tokens if there is no pyramid (GP-MSA)."""

    def __init__(
        self, dim: int, heads: int, kernels: PyramidKernels | None, *, qkv_bias: bool, scale: float | None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale
        self.pyramid = Pyramid(dim, kernels) if kernels is not None else None
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "batch length dim"], grid: Size) -> Float[Tensor, "batch length dim"]:
        """Each token replaced by its attention-weighted mixture of the clip."""
        source = tokens if self.pyramid is None else self.pyramid(tokens, grid)
        key, value = self.kv(source).chunk(2, dim=-1)
        output: Tensor = self.proj(attend(self.q(tokens), key, value, self.heads, scale=self.scale))
        return output
