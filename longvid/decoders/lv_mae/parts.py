"""LV-MAE's masked autoencoder over clip embeddings (arXiv 2504.03501).

One token per clip, of length 1 and as wide as the model: no input projection. The encoder sees the visible clips
alone, each with the code of its place in time; a smaller decoder sees them with a mask token at every masked place and
predicts the embeddings there. A batch holds items of different lengths: places that hold no clip are never attended,
so an item gives what it gives alone.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from longvid.layers.transformer import Attention, Block, join_heads, split_heads

NORM_EPS = 1e-6
TOKEN_STD = 0.02


def unit_length(embeddings: Float[Tensor, "*items dim"]) -> Float[Tensor, "*items dim"]:
    """Each embedding divided by its norm; zeros stay zeros."""
    return functional.normalize(embeddings, dim=-1, eps=1e-12)


def sine_table(rows: int, dim: int, like: Tensor) -> Float[Tensor, "rows dim"]:
    """The fixed position table: zeros for the class token, then the codes of places 0, 1, ...

    First half sin(p w_i), second half cos(p w_i), w_i = 10000^(-i / (dim / 2)). Computed in float64 and rounded to
    float32, as the authors' tables are.
    """
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = torch.arange(rows - 1, dtype=torch.float64)[:, None] * frequencies
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    return functional.pad(table, (0, dim % 2, 1, 0)).float().to(like)


def attention_heads(width: int, heads: int) -> int:
    """`heads`, or fewer where the width cannot be cut into so many."""
    return math.gcd(width, heads)


class KeyMaskedAttention(Attention):
    """Self-attention that leaves out the tokens marked in `ignored`."""

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], ignored: Bool[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """Each token replaced by its attention-weighted mixture of the tokens that are not ignored."""
        query, key, value = (split_heads(part, self.num_heads) for part in self.qkv(tokens).chunk(3, dim=-1))
        mask = None if ignored is None else ~ignored[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        output: Tensor = self.proj(join_heads(mixed))
        return output


def blocks_of(width: int, *, depth: int, heads: int, mlp_ratio: float, norm_eps: float = NORM_EPS) -> nn.ModuleList:
    """Pre-norm transformer blocks with exact GELU."""
    return nn.ModuleList(
        Block(
            width,
            KeyMaskedAttention(width, attention_heads(width, heads)),
            mlp_ratio=mlp_ratio,
            norm_eps=norm_eps,
        )
        for _ in range(depth)
    )


def start_(module: nn.Module) -> None:
    """Start as the authors do: linear layers Xavier uniform with zero bias, layer norms one and zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)


class Packed(NamedTuple):
    """The visible clips of each item, moved to the front in the order of time."""

    order: Int[Tensor, "batch places"]
    """Places of all clips: the visible ones in the order of time, then the others."""
    visible: Bool[Tensor, "batch places"]
    """Which places of `order` hold a visible clip."""

    @classmethod
    def of(cls, visible: Bool[Tensor, "batch places"]) -> "Packed":
        """The packing that leaves out all clips that are not visible, cut to the longest item."""
        most = int(visible.sum(dim=1).max())
        order = (~visible).to(torch.uint8).argsort(dim=1, stable=True)
        counts = visible.sum(dim=1, keepdim=True)
        return cls(order[:, :most], torch.arange(most, device=visible.device) < counts)


class ClipEncoder(nn.Module):
    """Class token and visible clips, each with the code of its place, through pre-norm blocks and a norm."""

    def __init__(self, dim: int, *, depth: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = blocks_of(dim, depth=depth, heads=heads, mlp_ratio=mlp_ratio)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        start_(self)
        nn.init.normal_(self.class_token, std=TOKEN_STD)

    def forward(
        self,
        clips: Float[Tensor, "batch clips dim"],
        places: Int[Tensor, "batch clips"],
        ignored: Bool[Tensor, "batch clips"] | None,
        num_places: int,
    ) -> Float[Tensor, "batch tokens dim"]:
        """The class token and the clips after the last block. `places`: each clip's place in time, from 0 on."""
        table = sine_table(1 + num_places, clips.shape[-1], clips)
        tokens = torch.cat([self.class_token.expand(len(clips), -1, -1), clips + table[places + 1]], dim=1)
        ignored = None if ignored is None else functional.pad(ignored, (1, 0), value=False)
        for block in self.blocks:
            tokens = block(tokens, ignored)
        encoded: Tensor = self.norm(tokens)
        return encoded


class Reconstruction(nn.Module):
    """The part of the autoencoder that predicts the masked clips; thrown away after the pretraining."""

    def __init__(self, dim: int, width: int, *, depth: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.embed = nn.Linear(dim, width)
        self.blocks = blocks_of(width, depth=depth, heads=heads, mlp_ratio=mlp_ratio)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.predict = nn.Linear(width, dim)
        start_(self)
        nn.init.normal_(self.mask_token, std=TOKEN_STD)

    def laid_out(
        self, encoded: Float[Tensor, "batch tokens dim"], packed: Packed, places: int
    ) -> Float[Tensor, "batch all_tokens width"]:
        """Class token and every place in the order of time: what is visible, a mask token elsewhere; with codes."""
        embedded: Tensor = self.embed(encoded)
        line = self.mask_token.expand(len(encoded), places, -1).to(embedded.dtype)
        rows = torch.where(packed.visible[..., None], embedded[:, 1:], self.mask_token.to(embedded.dtype))
        line = line.scatter(1, packed.order[..., None].expand_as(rows), rows)
        tokens = torch.cat([embedded[:, :1], line], dim=1)
        return tokens + sine_table(places + 1, tokens.shape[-1], tokens)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], ignored: Bool[Tensor, "batch clips"] | None
    ) -> Float[Tensor, "batch clips dim"]:
        """The predicted embedding of every place."""
        ignored = None if ignored is None else functional.pad(ignored, (1, 0), value=False)
        for block in self.blocks:
            tokens = block(tokens, ignored)
        predicted: Tensor = self.predict(self.norm(tokens))
        return predicted[:, 1:]


class MaskedAutoencoder(nn.Module):
    """Encoder of the visible clips and reconstruction of the masked ones."""

    def __init__(self, encoder: ClipEncoder, reconstruction: Reconstruction) -> None:
        super().__init__()
        self.encoder = encoder
        self.reconstruction = reconstruction

    def forward(
        self,
        embeddings: Float[Tensor, "batch clips dim"],
        masked: Bool[Tensor, "batch clips"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch clips dim"]:
        """Predictions at every place; those behind an item's last clip are meaningless."""
        return autoencoded(self.encoder, self.reconstruction, embeddings, masked, lengths)


def autoencoded(
    encoder: ClipEncoder,
    reconstruction: Reconstruction,
    embeddings: Float[Tensor, "batch clips dim"],
    masked: Bool[Tensor, "batch clips"],
    lengths: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch clips dim"]:
    """Predictions at every place, from the visible clips alone."""
    packed, encoded = encode_visible(encoder, embeddings, masked, lengths)
    line = reconstruction.laid_out(encoded, packed, masked.shape[1])
    predicted: Tensor = reconstruction(line, padding(masked, lengths))
    return predicted


def encode_visible(
    encoder: ClipEncoder,
    embeddings: Float[Tensor, "batch clips dim"],
    masked: Bool[Tensor, "batch clips"],
    lengths: Int[Tensor, " batch"] | None = None,
) -> tuple[Packed, Float[Tensor, "batch tokens dim"]]:
    """Class token and visible clips, encoded, in the order of `Packed`."""
    outside = padding(masked, lengths)
    packed = Packed.of(~masked if outside is None else ~(masked | outside))
    clips = unit_length(embeddings.to(encoder.class_token.dtype))
    visible = clips.gather(1, packed.order[..., None].expand(-1, -1, clips.shape[-1]))
    visible = visible.masked_fill(~packed.visible[..., None], 0.0)
    return packed, encoder(visible, packed.order, ~packed.visible, masked.shape[1])


def padding(clips: Tensor, lengths: Int[Tensor, " batch"] | None) -> Bool[Tensor, "batch clips"] | None:
    """Which places are behind an item's last clip; None: none."""
    if lengths is None:
        return None
    return torch.arange(clips.shape[1], device=clips.device) >= lengths[:, None]
