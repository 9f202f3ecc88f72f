"""X-ViT: an image transformer per frame, with mixing between frames.

Keys and values are mixed with those of the neighbouring frames.

Each frame is cut into 2D patches and has its own copy of one class token; the spatial and the temporal position
tables are added to all of them. The blocks are a plain pre-norm ViT with `MixingAttention`. The class tokens of a clip
are joined by temporal attention (one block over them and a clip token) or averaged; a small MLP, or one linear layer,
gives the class scores. Bulat et al., NeurIPS 2021, arXiv 2106.05968.

Position tables: the spatial one is made for 224 pixels and resized to other frame sizes by `resize_table` of
`longvid.layers`; the temporal one is repeated (frame t of a clip takes row t mod its length), as in the published
16-frame models, which have a table of eight rows.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvid.encoders.base import Encoder, EncoderOutput
from longvid.encoders.xvit.chunks import halo_chunks
from longvid.encoders.xvit.mixing import MixingAttention
from longvid.errors import EncoderError
from longvid.layers.transformer import (
    Attention,
    Block,
    PatchEmbed2d,
    attend,
    drop_path_rates,
    init_transformer_,
    resize_table,
)
from longvid.validation import Count, NonNegative, Positive, Share, settings

TABLE_IMAGE_SIZE = 224
"""Pixels per side for which the spatial position table is made, whatever the size of the frames."""
SCRATCH_TABLE_STD = 0.3
"""Deviation of the spatial position table in `start_from_scratch`: about that of the embedded patches."""

Aggregation = Literal["temporal_attention", "average"]


@settings(EncoderError)
class XViTConfig:
    """Sizes of one X-ViT, B/16 by default."""

    patch_size: Count = 16
    dim: Count = 768
    depth: Count = 12
    num_heads: Count = 12
    mlp_ratio: Positive = 4.0
    qkv_bias: bool = True
    norm_eps: Positive = 1e-6
    temporal_rows: NonNegative = 8
    """Length of the temporal position table; longer clips repeat it."""
    segment_frames: Count | None = 8
    """Frames exchange channels inside groups of this many; None: the whole clip is one segment of any length."""
    shift_div: Count = 8
    """dim // shift_div channels come from the next frame, as many from the previous one."""
    mixed_blocks: tuple[NonNegative, ...] | None = None
    """Blocks that mix; None: all."""
    summary_tokens: bool = False
    """The paper's summary tokens: a reconstruction, see `mixing.frame_summaries`."""
    aggregation: Aggregation = "temporal_attention"
    aggregator_layers: Count = 1
    aggregator_heads: Count = 12
    aggregator_mlp_ratio: Positive = 4.0
    head_dim: Count = 768
    """Hidden width of the classifier after temporal attention."""
    num_classes: NonNegative = 400
    drop_path: Share = 0.0
    head_dropout: Share = 0.5

    def __post_init__(self) -> None:
        if TABLE_IMAGE_SIZE % self.patch_size:
            raise EncoderError(f"patch_size={self.patch_size} does not divide {TABLE_IMAGE_SIZE} pixels")
        unknown = [block for block in self.mixed_blocks or () if block >= self.depth]
        if unknown:
            raise EncoderError(f"mixed_blocks={unknown} do not exist in a net of depth {self.depth}")

    @property
    def table_side(self) -> int:
        """Rows (and columns) of the spatial position table."""
        return TABLE_IMAGE_SIZE // self.patch_size

    @property
    def mixing(self) -> tuple[int, ...]:
        """Indices of the blocks that mix."""
        return tuple(range(self.depth)) if self.mixed_blocks is None else self.mixed_blocks


class FrameTokens(NamedTuple):
    """Normalised tokens of some frames: one class token and the patch tokens of each."""

    class_tokens: Float[Tensor, "batch time dim"]
    tokens: Float[Tensor, "batch time token dim"]


class TemporalAttention(nn.Module):
    """Ordinary transformer blocks over a learned clip token and the frames' class tokens; returns the clip token.

    It has no position table: frames may come in any order and number, and their order is known only through the
    backbone. QKV has no bias and the norms use eps 1e-5, unlike the backbone.
    """

    def __init__(self, dim: int, num_layers: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(
            Block(dim, Attention(dim, num_heads, qkv_bias=False), mlp_ratio=mlp_ratio, norm_eps=1e-5)
            for _ in range(num_layers)
        )

    def forward(self, class_tokens: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch dim"]:
        """One vector per clip. The last layer computes only the query that is used, so its cost is linear in time."""
        tokens = torch.cat([self.class_token.expand(len(class_tokens), 1, -1), class_tokens], dim=1)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return _first_token(cast(Block, self.blocks[-1]), tokens)


def _first_token(block: Block, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch dim"]:
    """The output of `block` for the first token, without computing the others."""
    attention = cast(Attention, block.attn)
    normed = block.norm1(tokens)
    query_rows, key_value_rows = attention.qkv.weight.tensor_split([tokens.shape[-1]])
    query = functional.linear(normed[:, :1], query_rows)
    key, value = functional.linear(normed, key_value_rows).chunk(2, dim=-1)
    first = tokens[:, :1] + attention.proj(attend(query, key, value, attention.num_heads))
    output: Tensor = first + block.mlp(block.norm2(first))
    return output.squeeze(1)


class XViT(Encoder):
    """The backbone, the temporal aggregation and the classifier.

    `forward` gives normalised patch tokens, per-frame class tokens and the clip vector (before the classifier);
    `classify` gives class scores. Frames: any height and width that `patch_size` divides. Under bf16 autocast outputs
    of B/16 differ from float32's by under 1 % of their norm.
    """

    def __init__(self, config: XViTConfig, *, chunk_frames: int | None = 64) -> None:
        """`chunk_frames`: longer segments are computed in chunks of this many frames (see `chunks`); None: never.

        The result does not depend on it, so it is not part of the configuration.
        """
        super().__init__()
        self.config = config
        self.chunk_frames = chunk_frames
        self.patch_embed = PatchEmbed2d(config.dim, config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(config.dim))
        self.position_table = nn.Parameter(torch.zeros(1 + config.table_side**2, config.dim))
        self.temporal_table = nn.Parameter(torch.zeros(config.temporal_rows, config.dim))
        self.blocks = nn.ModuleList(_blocks(config))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self._init_backbone()
        # built after the initialisation: temporal attention and classifier keep torch's defaults, as the authors' do
        self.aggregator = _aggregator(config)
        self.head = _head(config)

    def _init_backbone(self) -> None:
        """Truncated normal 0.02 for linear layers, class token and spatial table; the temporal table starts at zero."""
        init_transformer_(self, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.position_table, std=0.02)

    def forward(self, clips: Float[Tensor, "batch 3 time height width"]) -> EncoderOutput:
        """Tokens of each clip; raises `EncoderError` for a length or size that the model cannot take."""
        frames = self.frame_tokens(clips)
        return EncoderOutput(frames.tokens, frames.class_tokens, self.aggregate(frames.class_tokens))

    def classify(self, clips: Float[Tensor, "batch 3 time height width"]) -> Float[Tensor, "batch classes"]:
        """Raw class scores. The authors add up the scores of several views of one video."""
        scores: Tensor = self.head(self.aggregate(self.frame_tokens(clips).class_tokens))
        return scores

    def aggregate(self, class_tokens: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch dim"]:
        """The clip vector from the class tokens of any number of frames."""
        return class_tokens.mean(dim=1) if self.aggregator is None else self.aggregator(class_tokens)

    def frame_tokens(self, clips: Float[Tensor, "batch 3 time height width"]) -> FrameTokens:
        """Normalised tokens of every frame, long segments in chunks (not with summary tokens: they need all of one)."""
        time, height, width = clips.shape[2:]
        self.check_size(time, height, width)
        segment = self.config.segment_frames or time
        if self.chunk_frames is None or segment <= self.chunk_frames or self.config.summary_tokens:
            return self.segment_tokens(clips, segment_frames=segment)
        parts: list[FrameTokens] = []
        for begin in range(0, time, segment):
            for chunk in halo_chunks(segment, self.chunk_frames, self.halo_frames):
                part = clips[:, :, begin + chunk.read.start : begin + chunk.read.stop]
                tokens = self.segment_tokens(part, first_frame=begin + chunk.read.start)
                parts.append(FrameTokens(*(kind[:, chunk.keep] for kind in tokens)))
        return FrameTokens(*(torch.cat(kinds, dim=1) for kinds in zip(*parts, strict=True)))

    def check_size(self, time: int, height: int, width: int) -> None:
        """Raises `EncoderError`, naming what would fit, for clips that this model cannot take."""
        segment, patch = self.config.segment_frames or 1, self.config.patch_size
        if time < 1 or time % segment:
            near = max(segment, round(time / segment) * segment)
            raise EncoderError(
                f"clips of {time} frames: this X-ViT takes multiples of segment_frames={segment}, such as {near}"
            )
        if height % patch or width % patch:
            near_size = " x ".join(str(max(patch, round(side / patch) * patch)) for side in (height, width))
            raise EncoderError(f"frames of {height} x {width} pixels: patches of {patch} do not fit, {near_size} would")

    @property
    def halo_frames(self) -> int:
        """How far a frame sees to each side: one frame per mixing block."""
        return len(self.config.mixing)

    def segment_tokens(
        self,
        clips: Float[Tensor, "batch 3 time height width"],
        *,
        first_frame: int = 0,
        segment_frames: int | None = None,
    ) -> FrameTokens:
        """Normalised tokens in one pass; frame 0 of `clips` is frame `first_frame` of the temporal table."""
        batch, time = clips.shape[0], clips.shape[2]
        tokens = self.embed(clips, first_frame=first_frame)
        for block in self.blocks:
            context = (segment_frames or time,) if isinstance(block.attn, MixingAttention) else ()
            tokens = block(tokens, *context)
        tokens = self.norm(tokens).unflatten(0, (batch, time))
        return FrameTokens(tokens[:, :, 0], tokens[:, :, 1:])

    def embed(
        self, clips: Float[Tensor, "batch 3 time height width"], *, first_frame: int = 0
    ) -> Float[Tensor, "frames length dim"]:
        """Patch and class tokens of each frame (clip-major) with both position tables added."""
        batch, _, time, height, width = clips.shape
        tokens = self.patch_embed(clips.transpose(1, 2).flatten(0, 1))
        tokens = torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], dim=1)
        rows = torch.arange(first_frame, first_frame + time, device=clips.device) % len(self.temporal_table)
        moments = self.temporal_table[rows].repeat(batch, 1).unsqueeze(1)
        return tokens + self.places(height, width) + moments

    def places(self, height: int, width: int) -> Float[Tensor, "length dim"]:
        """The spatial position table for frames of that size, class entry first."""
        patch = self.config.patch_size
        side = self.config.table_side
        grid = resize_table(self.position_table[1:], (side, side), (height // patch, width // patch))
        return torch.cat([self.position_table[:1], grid])


def start_from_scratch(model: XViT) -> XViT:
    """Random weights for a narrow net that learns without an image model's; returns the same model.

    B/16's deviation of 0.02 is meant for sums over 768 numbers; here it grows as the square root of 768 / dim, so that
    layers pass on what they get, and the spatial table is as strong as the patches, so that attention tells places
    apart from the first step on.
    """
    std = 0.02 * (768 / model.config.dim) ** 0.5
    init_transformer_(model, std=std)
    nn.init.trunc_normal_(model.class_token, std=std)
    nn.init.trunc_normal_(model.position_table, std=SCRATCH_TABLE_STD)
    return model


def _blocks(config: XViTConfig) -> Sequence[Block]:
    """The backbone's blocks; those not in `config.mixing` attend inside their frame only."""
    blocks = []
    for index, rate in enumerate(drop_path_rates(config.drop_path, config.depth)):
        attention = (
            MixingAttention(
                config.dim,
                config.num_heads,
                qkv_bias=config.qkv_bias,
                shift_div=config.shift_div,
                summary_tokens=config.summary_tokens,
            )
            if index in config.mixing
            else Attention(config.dim, config.num_heads, qkv_bias=config.qkv_bias)
        )
        blocks.append(
            Block(config.dim, attention, mlp_ratio=config.mlp_ratio, norm_eps=config.norm_eps, drop_path=rate)
        )
    return blocks


def _aggregator(config: XViTConfig) -> TemporalAttention | None:
    if config.aggregation == "average":
        return None
    return TemporalAttention(config.dim, config.aggregator_layers, config.aggregator_heads, config.aggregator_mlp_ratio)


def _head(config: XViTConfig) -> nn.Module:
    """After temporal attention: LayerNorm, Linear, GELU, dropout, Linear; after averaging: dropout and one Linear.

    The mean of the frames' scores equals the score of the frames' mean, which averaging computes here.
    """
    if config.aggregation == "average":
        return nn.Sequential(nn.Dropout(config.head_dropout), nn.Linear(config.dim, config.num_classes))
    return nn.Sequential(
        nn.LayerNorm(config.dim, eps=1e-5),
        nn.Linear(config.dim, config.head_dim),
        nn.GELU(),
        nn.Dropout(config.head_dropout),
        nn.Linear(config.head_dim, config.num_classes),
    )
