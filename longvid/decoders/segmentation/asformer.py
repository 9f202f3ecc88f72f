"""ASFormer: convolutions with attention in windows, in stages.

Yi, Wen and Jiang, BMVC 2021: an encoder reads the features, decoders refine its answers. Block i has dilation and
window d = 2^i. Each decoder reads the probabilities of the stage before; its attention mixes the features of the stage
before, by its own similarities.

    q, k = own features, v = features of the stage before (in the encoder: own)
    o = relu(conv3(x)); o = alpha attention(norm(o)) + o; x = x + dropout(conv1(o))

alpha is exp(-3 s) in decoder s = 0, 1, 2: 1, 0.05, 0.002. Positions are not encoded.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvid.decoders.segmentation.norms import InstanceNorm
from longvid.decoders.segmentation.staged import StagedConfig, StagedDecoder, chances, cut
from longvid.errors import DecoderError
from longvid.validation import Count, NonNegative, Share, settings

Steps = Float[Tensor, "batch _ length"]
Valid = Float[Tensor, "batch 1 length"] | None

MASKED = 1e-6
"""A masked key's factor before the softmax: it keeps this share of the normaliser, and none of the result."""


@settings(DecoderError, kw_only=True)
class ASFormerConfig(StagedConfig):
    """Settings of `ASFormer`; the defaults are the authors' but for `window`."""

    width: Count = 64
    """Channels of every stage."""
    layers: Count = 10
    """Blocks of each stage; block i has a window of 2^i steps on either side."""
    refinements: NonNegative = 3
    """Decoders after the encoder."""
    query_reduction: Count = 2
    """Width over the width of queries and keys."""
    value_reduction: Count = 2
    """Width over the width of values."""
    window: Literal["own", "shared"] = "own"
    """`own`: each step sees the window around itself, as the authors' README recommends for new work. `shared`: all
    steps of a block of d see the union of their windows, as in the authors' code and its trained weights."""
    dropout: Share = 0.5
    """Share of numbers set to zero in training."""
    channel_dropout: Share = 0.3
    """Dropout of whole channels of the features."""

    def __post_init__(self) -> None:
        for name in ("query_reduction", "value_reduction"):
            if self.width % getattr(self, name):
                raise DecoderError(f"{name}={getattr(self, name)} does not divide width={self.width}")


class WindowAttention(nn.Module):
    """Attention of blocks of `window` steps to the steps in and around them."""

    def __init__(self, config: ASFormerConfig, window: int) -> None:
        super().__init__()
        self.window = window
        width, inner = config.width, config.width // config.value_reduction
        self.query = nn.Conv1d(width, width // config.query_reduction, 1)
        self.key = nn.Conv1d(width, width // config.query_reduction, 1)
        self.value = nn.Conv1d(width, inner, 1)
        self.out = nn.Conv1d(inner, width, 1)
        self.shared = config.window == "shared"
        self.leaking = config.padding == "official"

    def forward(self, x: Steps, values: Steps, valid: Valid) -> Steps:
        """What each step finds around itself in `values`."""
        query, key, value = self.query(x), self.key(x), self.value(values)
        if not self.leaking:
            key, value = cut(key, valid), cut(value, valid)  # as beyond the ends, where both are zero
        there = torch.ones_like(x[:, :1]) if valid is None else valid
        mixed = windowed(query, key, value, there, window=self.window, shared=self.shared)
        return cut(self.out(mixed.relu()), valid)


class Block(nn.Module):
    """Dilated convolution, attention, point-wise convolution, residual."""

    def __init__(self, config: ASFormerConfig, dilation: int, alpha: float) -> None:
        super().__init__()
        width = config.width
        self.alpha = alpha
        self.taps = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.norm = InstanceNorm(over_padding=config.padding == "official")
        self.attention = WindowAttention(config, dilation)
        self.point = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Steps, before: Steps | None, valid: Valid) -> Steps:
        """Features of the next block; `before`: those of the stage before, None in the encoder."""
        seen = self.taps(x).relu()
        normed = self.norm(seen, valid)
        seen = self.alpha * self.attention(normed, normed if before is None else before, valid) + seen
        return cut(x + self.dropout(self.point(seen)), valid)


class Stage(nn.Module):
    """Point-wise in, blocks, point-wise out."""

    def __init__(self, config: ASFormerConfig, dim: int, *, alpha: float) -> None:
        super().__init__()
        self.enter = nn.Conv1d(dim, config.width, 1)
        self.blocks = nn.ModuleList(Block(config, 2**layer, alpha) for layer in range(config.layers))
        self.leave = nn.Conv1d(config.width, config.outputs, 1)
        self.masked = config.padding == "masked"

    def forward(self, x: Steps, before: Steps | None, valid: Valid) -> tuple[Steps, Steps]:
        """Logits and features of each step."""
        x = self.enter(x)
        x = cut(x, valid) if self.masked else x
        for block in self.blocks:
            x = block(x, before, valid)
        return cut(self.leave(x), valid), x


class ASFormer(StagedDecoder):
    """An encoder on the features and decoders that refine its answers."""

    config: ASFormerConfig

    def __init__(self, config: ASFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.channel_dropout = nn.Dropout1d(config.channel_dropout)
        self.encoder = Stage(config, config.dim, alpha=1.0)
        self.refine = nn.ModuleList(
            Stage(config, config.outputs, alpha=math.exp(-3 * stage)) for stage in range(config.refinements)
        )

    def run(self, x: Steps, valid: Valid) -> list[Steps]:
        """Logits of every stage."""
        logits, features = self.encoder(self.channel_dropout(x), None, valid)
        made = [logits]
        for stage in self.refine:
            logits, features = stage(chances(logits, valid), cut(features, valid), valid)
            made.append(logits)
        return made


def windowed(
    query: Float[Tensor, "batch width length"],
    key: Float[Tensor, "batch width length"],
    value: Float[Tensor, "batch inner length"],
    there: Float[Tensor, "batch 1 length"],
    *,
    window: int,
    shared: bool,
) -> Float[Tensor, "batch inner length"]:
    """Mixture of the values around each step.

    Queries are cut into blocks of `window`; each block is given half a window more on both sides. Behind the ends keys
    and values are zero, and masked as padding is (`there` is 0 on it).
    """
    length, half = query.shape[-1], window // 2
    spare = -length % window
    blocks = functional.pad(query, (0, spare)).unflatten(-1, (-1, window)).permute(0, 2, 3, 1)
    around = [
        functional.pad(x, (half, half + spare)).unfold(-1, window + 2 * half, window) for x in (key, value, there)
    ]
    keys, values, known = (x.permute(0, 2, 1, 3) for x in around)  # (batch, blocks, width, seen)
    mask = known * window_mask(window, shared=shared).to(query)
    scores = blocks @ keys / math.sqrt(query.shape[1]) + torch.log(mask + MASKED)
    mixed = (scores.softmax(dim=-1) * mask) @ values.mT
    rows: Tensor = mixed.flatten(1, 2)[:, :length]
    return rows.mT


def window_mask(window: int, *, shared: bool) -> Float[Tensor, "window seen"]:
    """1 where a step of a block sees one of the block's `window + 2 (window // 2)` surrounding steps.

    Step i sees i to i + window - 1; `shared`: all see what any of them sees, that is all but the last.
    """
    step, seen = torch.arange(window)[:, None], torch.arange(window + 2 * (window // 2))[None]
    if shared:
        return (seen < 2 * window - 1).float().expand(window, -1)
    return ((seen >= step) & (seen < step + window)).float()
