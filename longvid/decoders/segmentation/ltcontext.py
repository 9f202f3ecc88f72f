"""LTContext: attention in windows, then sparse attention over all time.

Bahrami, Francesca and Gall, ICCV 2023. Written from a description of the network and its configuration; the authors'
code is CC BY-NC and not copied.

    o = gelu(conv3(x)); o = windowed(norm(o)) + o; o = long(norm(o)) + o; x = x + dropout(conv1(o))

`windowed`: blocks of W steps see themselves and W / 2 steps on each side. `long`: step t sees all steps t mod G. From
the second stage on the values are the features of the stage before. The published model has no norm: the switch in its
configuration is inverted.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from longvid.decoders.segmentation.norms import InstanceNorm
from longvid.decoders.segmentation.staged import StagedConfig, StagedDecoder, chances, cut
from longvid.errors import DecoderError
from longvid.validation import Count, NonNegative, Share, settings

Steps = Float[Tensor, "batch _ length"]
Valid = Float[Tensor, "batch 1 length"] | None

OUTPUT_DROPOUT = 0.1
"""Dropout after an attention's output, a constant of the authors' code."""


@settings(DecoderError, kw_only=True)
class LTContextConfig(StagedConfig):
    """Settings of `LTContext`; the defaults are the authors' for Breakfast."""

    width: Count = 64
    """Channels of every stage."""
    layers: Count = 9
    """Blocks of each stage; block i has dilation `dilation_factor`^i."""
    refinements: NonNegative = 3
    """Stages after the first, of width `width / reduction`."""
    reduction: Count = 2
    """Width of the first stage over that of the later ones."""
    window: Count = 64
    """Steps of a block of the windowed attention; even."""
    stride: Count = 8
    """Steps between the steps that attend to each other over all time (64 on Assembly101)."""
    heads: Count = 1
    """Attention heads."""
    dilation_factor: Count = 2
    """Growth of the dilation from block to block."""
    norm: Literal["none", "instance"] = "none"
    """Norm before each block's attention."""
    dropout: Share = 0.2
    """Share of numbers set to zero in training."""
    attention_dropout: Share = 0.2
    """Share of attention weights set to zero in training."""
    channel_dropout: Share = 0.3
    """Dropout of whole channels of a stage's input: features, then class probabilities."""

    def __post_init__(self) -> None:
        if self.window % 2:
            raise DecoderError(f"window={self.window} must be even: half of it is seen on each side")
        narrow = self.width // self.reduction
        if self.width % self.reduction or narrow % (2 * self.heads) or self.width % (2 * self.heads):
            raise DecoderError(
                f"width={self.width} over reduction={self.reduction} must be a whole number that twice the "
                f"heads={self.heads} divide"
            )


class Attention(nn.Module):
    """Projections around an attention, `windowed` or `long`; the inner width is half the width."""

    def __init__(self, config: LTContextConfig, width: int, *, kind: Literal["windowed", "long"]) -> None:
        super().__init__()
        inner = width // 2
        self.query, self.key, self.value = (nn.Conv1d(width, inner, 1) for _ in range(3))
        self.out = nn.Conv1d(inner, width, 1)
        self.dropout = nn.Dropout(OUTPUT_DROPOUT)
        self.config = config
        self.kind = kind

    def forward(self, x: Steps, values: Steps, valid: Valid) -> Steps:
        """What each step finds in `values`."""
        there = torch.ones_like(x[:, :1], dtype=torch.bool) if valid is None else valid > 0
        size = self.config.window if self.kind == "windowed" else self.config.stride
        mix = windowed if self.kind == "windowed" else strided
        share = self.config.attention_dropout if self.training else 0.0
        mixed = mix(
            self.query(x), self.key(x), self.value(values), there, size=size, heads=self.config.heads, dropout=share
        )
        return cut(self.dropout(self.out(functional.gelu(mixed))), valid)


class Block(nn.Module):
    """Dilated convolution, windowed attention, long attention, point-wise convolution, residual."""

    def __init__(self, config: LTContextConfig, width: int, dilation: int) -> None:
        super().__init__()
        self.taps = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.norm = InstanceNorm(over_padding=config.padding == "official") if config.norm == "instance" else None
        self.windowed = Attention(config, width, kind="windowed")
        self.long = Attention(config, width, kind="long")
        self.point = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Steps, before: Steps | None, valid: Valid) -> Steps:
        """Features of the next block; `before`: those of the stage before, None in the first."""
        seen = cut(functional.gelu(self.taps(x)), valid)
        for attention in (self.windowed, self.long):
            normed = seen if self.norm is None else self.norm(seen, valid)
            seen = attention(normed, normed if before is None else before, valid) + seen
        return cut(self.dropout(self.point(seen)) + x, valid)


class Stage(nn.Module):
    """Channel dropout, point-wise in, blocks, point-wise out."""

    def __init__(self, config: LTContextConfig, dim: int, width: int) -> None:
        super().__init__()
        self.channel_dropout = nn.Dropout1d(config.channel_dropout)
        self.enter = nn.Conv1d(dim, width, 1)
        self.blocks = nn.ModuleList(
            Block(config, width, config.dilation_factor**layer) for layer in range(config.layers)
        )
        self.leave = nn.Conv1d(width, config.outputs, 1)
        self.masked = config.padding == "masked"

    def forward(self, x: Steps, before: Steps | None, valid: Valid) -> tuple[Steps, Steps]:
        """Logits and features of each step."""
        x = self.enter(self.channel_dropout(x))
        x = cut(x, valid) if self.masked else x
        for block in self.blocks:
            x = block(x, before, valid)
        return cut(self.leave(x), valid), x


class LTContext(StagedDecoder):
    """A stage on the features, and narrower ones that refine its answers."""

    config: LTContextConfig

    def __init__(self, config: LTContextConfig) -> None:
        super().__init__()
        self.config = config
        narrow = config.width // config.reduction
        self.first = Stage(config, config.dim, config.width)
        self.narrow = nn.Conv1d(config.width, narrow, 1) if config.refinements else None
        self.refine = nn.ModuleList(Stage(config, config.outputs, narrow) for _ in range(config.refinements))

    def run(self, x: Steps, valid: Valid) -> list[Steps]:
        """Logits of every stage."""
        logits, features = self.first(x, None, valid)
        made = [logits]
        if self.narrow is not None:
            features = self.narrow(features)
        for stage in self.refine:
            logits, features = stage(chances(logits, valid), cut(features, valid), valid)
            made.append(logits)
        return made


def windowed(
    query: Steps,
    key: Steps,
    value: Steps,
    there: Bool[Tensor, "batch 1 length"],
    *,
    size: int,
    heads: int,
    dropout: float,
) -> Steps:
    """Blocks of `size` steps look at themselves and `size / 2` steps on each side."""
    length, half = query.shape[-1], size // 2
    spare = -length % size
    blocks = functional.pad(query, (0, spare)).unflatten(-1, (-1, size)).permute(0, 2, 1, 3)

    def around(x: Tensor) -> Tensor:
        return functional.pad(x, (half, half + spare)).unfold(-1, 2 * size, size).permute(0, 2, 1, 3)

    mixed = _mix(blocks, around(key), around(value), around(there), heads=heads, dropout=dropout)
    return mixed.permute(0, 2, 1, 3).flatten(2)[..., :length]


def strided(
    query: Steps,
    key: Steps,
    value: Steps,
    there: Bool[Tensor, "batch 1 length"],
    *,
    size: int,
    heads: int,
    dropout: float,
) -> Steps:
    """Each step looks at all steps that are a multiple of `size` steps away."""
    length = query.shape[-1]
    spare = -length % size

    def by_remainder(x: Tensor) -> Tensor:
        rows: Tensor = functional.pad(x, (0, spare)).unflatten(-1, (-1, size))
        return rows.permute(0, 3, 1, 2)

    parts = (by_remainder(x) for x in (query, key, value, there))
    mixed = _mix(*parts, heads=heads, dropout=dropout)
    return mixed.permute(0, 2, 3, 1).flatten(2)[..., :length]


def _mix(
    query: Float[Tensor, "batch blocks width asked"],
    key: Float[Tensor, "batch blocks width seen"],
    value: Float[Tensor, "batch blocks width seen"],
    there: Bool[Tensor, "batch blocks 1 seen"],
    *,
    heads: int,
    dropout: float,
) -> Float[Tensor, "batch blocks width asked"]:
    """Attention in each block to the keys that are there; a block without any is behind the end, and cut later."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(-1, -2) for x in (query, key, value))
    mask = (there | ~there.any(dim=-1, keepdim=True))[:, :, None]
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(-1, -2).flatten(2, 3)
