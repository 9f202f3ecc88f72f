"""The pyramid with self-attention: softmax, or Performer's linear one.

With softmax it is the long sequence transformer that the ViS4mer paper compares with.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from longvid.decoders.pyramid import PyramidConfig, PyramidDecoder
from longvid.errors import DecoderError
from longvid.layers.masks import beyond, zero_beyond
from longvid.layers.transformer import join_heads, split_heads
from longvid.validation import Count, settings

HEAD_DIM = 64


@settings(DecoderError, kw_only=True)
class TransformerConfig(PyramidConfig):
    """Settings of `Transformer`."""

    time_code: bool = True
    attention: Literal["fused", "stored"] = "fused"
    """`fused`: torch's scaled-dot-product attention, which never stores the weights; `stored`: weights in memory."""


@settings(DecoderError, kw_only=True)
class PerformerConfig(PyramidConfig):
    """Settings of `Performer`."""

    time_code: bool = True
    features: Count = 128
    """Random features per head."""


class Transformer(PyramidDecoder):
    """The pyramid with softmax attention."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, lambda block: SoftmaxAttention(config.widths[block], kind=config.attention))


class Performer(PyramidDecoder):
    """The pyramid with linear attention by positive random features (FAVOR+, arXiv 2009.14794)."""

    config: PerformerConfig

    def __init__(self, config: PerformerConfig) -> None:
        super().__init__(config, lambda block: LinearAttention(config.widths[block], features=config.features))


def num_heads(width: int) -> int:
    """Number of heads that gives each about 64 channels."""
    wanted = max(1, width // HEAD_DIM)
    return next(heads for heads in range(wanted, 0, -1) if width % heads == 0)


class SoftmaxAttention(nn.Module):
    """Multi-head self-attention over all tokens of an item, without its padding."""

    def __init__(self, width: int, *, kind: str) -> None:
        super().__init__()
        self.heads = num_heads(width)
        self.kind = kind
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """Every token's mixture of the item."""
        x = zero_beyond(x, lengths)  # a weight of zero times NaN is NaN
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        mask = None if lengths is None else ~beyond(x, lengths)[:, None, None, :, 0]
        if self.kind == "fused":
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            scores = query @ key.mT / math.sqrt(query.shape[-1])
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            mixed = scores.softmax(-1) @ value
        output: Tensor = self.out(join_heads(mixed))
        return output


class LinearAttention(nn.Module):
    """Attention whose exp(q·k) is a product of positive random features: linear in the length.

    exp(q·k) = E[ φ(q) φ(k) ] with φ(x) = exp(ω·x - |x|²/2) over Gaussian ω; the ω are orthogonal in blocks, drawn once.
    """

    projection: Tensor

    def __init__(self, width: int, *, features: int) -> None:
        super().__init__()
        self.heads = num_heads(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.register_buffer("projection", orthogonal_directions(features, width // self.heads))

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """Every token's mixture of the item."""
        x = zero_beyond(x, lengths)  # a weight of zero times NaN is NaN
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        outside = None if lengths is None else beyond(x, lengths)[:, None]
        seen_by = self._features(query, over=-1, outside=None)
        seen = self._features(key, over=(-2, -1), outside=outside)
        mixed = seen_by @ (seen.mT @ value)
        total = seen_by @ seen.sum(-2)[..., None]
        output: Tensor = self.out(join_heads(mixed / total.clamp(min=1e-6)))
        return output

    def _features(self, vectors: Tensor, *, over: int | tuple[int, ...], outside: Tensor | None) -> Tensor:
        """φ up to a factor that cancels (one per query, one shared by all keys); zero for padding."""
        scaled: Tensor = vectors * vectors.shape[-1] ** -0.25
        exponent = scaled @ self.projection.mT - scaled.square().sum(-1, keepdim=True) / 2
        if outside is not None:
            exponent = exponent.masked_fill(outside, -torch.inf)
        return (exponent - exponent.amax(dim=over, keepdim=True).detach()).exp()


def orthogonal_directions(features: int, dim: int) -> Float[Tensor, "features dim"]:
    """Gaussian vectors, orthogonal in blocks of `dim`, with lengths distributed as those of independent ones."""
    blocks = [torch.linalg.qr(torch.randn(dim, dim))[0] for _ in range(-(-features // dim))]
    lengths: Tensor = torch.randn(features, dim).norm(dim=1, keepdim=True)
    return torch.cat(blocks)[:features] * lengths
