"""The sizes of Mobile-Former: published image nets, and video nets.

A net is a stem, a row of blocks and a head; `BlockConfig` is one block, `MobileFormerConfig` the net. The image
variants are those of the paper (Chen et al., "Mobile-Former", CVPR 2022) and of its first author's code, named by their
published multiply-adds. A video net is an image net with temporal taps: `for_video`.
"""

from dataclasses import replace
from typing import Any, Literal

from longvid.errors import EncoderError
from longvid.validation import Count, NonNegative, Share, settings

BlockKind = Literal["lite", "standard", "down"]


@settings(EncoderError)
class BlockConfig:
    """One block.

    `lite`: depth-wise, point-wise, no tokens. `standard`: inverted bottleneck with both bridges, stride 1.
    `down`: two depth-wise/point-wise pairs with both bridges, the first pair strided.
    """

    kind: BlockKind
    dim: Count
    """Channels after the block."""
    expansion: Count
    """Width of the (first) depth-wise convolution: `expansion` x the channels before the block."""
    stride: Count = 1
    """Stride of height and width."""
    second_expansion: NonNegative = 0
    """`down` only: width of the second depth-wise convolution, in units of `dim`."""
    time_stride: Count = 1
    """`down` only: of time, in the first depth-wise convolution's temporal taps."""

    def __post_init__(self) -> None:
        if (self.kind == "down") != (self.second_expansion > 0):
            raise EncoderError(f"{self}: a down block, and only a down block, has a second expansion")
        if self.kind == "standard" and self.stride != 1:
            raise EncoderError(f"{self}: a standard block has stride 1; a down block changes the resolution")
        if self.kind != "down" and self.time_stride != 1:
            raise EncoderError(f"{self}: only a down block has a stride in time")


@settings(EncoderError)
class MobileFormerConfig:
    """A Mobile-Former for images (`time_taps=1`) or for clips (`time_taps=3`)."""

    stem_dim: Count
    blocks: tuple[BlockConfig, ...]
    num_tokens: Count
    token_dim: Count
    fused_dim: Count
    """Width of the head's hidden layer, where pooled map and first token meet: the clip vector."""
    num_classes: Count = 1000
    groups: Count = 1
    """Groups of every 1x1 convolution; more than one brings channel shuffles (the 26m variant)."""
    time_taps: Count = 1
    """Frames a depth-wise convolution of a bridged block reaches over; 1: an image net, blind to the frames' order."""
    bridge_heads: Count = 2
    former_heads: Count = 4
    dropout: Share = 0.0
    """Before the class layer, in training."""

    def __post_init__(self) -> None:
        if self.time_taps % 2 == 0:
            raise EncoderError(f"time_taps={self.time_taps}: must be odd, so that a tap is centred on its own frame")
        if self.time_taps == 1 and any(block.time_stride > 1 for block in self.blocks):
            raise EncoderError("a stride in time needs temporal taps to stride: set time_taps=3")
        if self.token_dim % self.former_heads:
            raise EncoderError(f"token_dim={self.token_dim} is not divisible by former_heads={self.former_heads}")
        for before, block in zip((self.stem_dim, *(b.dim for b in self.blocks)), self.blocks, strict=False):
            self._check_block(before, block)

    def _check_block(self, before: int, block: BlockConfig) -> None:
        if block.kind != "lite" and (before % self.bridge_heads or block.dim % self.bridge_heads):
            raise EncoderError(f"{block} after {before} channels: bridge_heads={self.bridge_heads} must divide both")
        if block.kind == "down" and block.stride == 1 and before == block.dim:
            raise EncoderError(f"{block}: a down block must change resolution or width; use a standard block")
        if before * block.expansion % self.groups or block.dim % self.groups:
            raise EncoderError(f"{block} after {before} channels: groups={self.groups} must divide all its widths")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MobileFormerConfig":
        """The configuration of plain JSON values."""
        return cls(**values)


def _lite(dim: int, expansion: int, stride: int) -> BlockConfig:
    return BlockConfig("lite", dim, expansion, stride)


def _down(dim: int) -> BlockConfig:
    return BlockConfig("down", dim, expansion=6, stride=2, second_expansion=4)


def _same(dim: int, expansion: int) -> BlockConfig:
    return BlockConfig("standard", dim, expansion)


def _deep(first: int, *widths: int) -> tuple[BlockConfig, ...]:
    """The last two resolutions of the four largest nets: a down block, three blocks; a down block, two blocks."""
    down, wide, last = widths
    return _down(down), _same(down, 4), _same(wide, 6), _same(wide, 6), _down(last), _same(last, 6), _same(last, 6)


_SMALLEST = (
    _lite(12, 3, 2), _same(12, 3), _down(24), _same(24, 3), _down(48), _same(48, 4), _same(64, 6), _down(96),
    _same(96, 6),
)  # fmt: skip

IMAGE_CONFIGS: dict[str, MobileFormerConfig] = {
    "26m": MobileFormerConfig(8, _SMALLEST, 3, 128, 1024, groups=4, dropout=0.1),
    "52m": MobileFormerConfig(8, _SMALLEST, 3, 128, 1024, dropout=0.2),
    "96m": MobileFormerConfig(
        12,
        (_lite(12, 2, 1), _down(16), _down(32), _same(32, 3), _down(64), _same(64, 4), _same(88, 6), _down(128),
         _same(128, 6)),
        4, 128, 1280, dropout=0.2,
    ),
    "151m": MobileFormerConfig(
        12,
        (_lite(12, 2, 1), _down(16), _same(16, 3), _down(32), _same(32, 3), *_deep(32, 64, 88, 128)),
        6, 192, 1280, dropout=0.2,
    ),
    "214m": MobileFormerConfig(
        12,
        (_lite(12, 2, 1), _down(20), _same(20, 3), _down(40), _same(40, 4), *_deep(40, 80, 112, 160)),
        6, 192, 1600, dropout=0.2,
    ),
    "294m": MobileFormerConfig(
        16,
        (_lite(16, 2, 1), _down(24), _same(24, 4), _down(48), _same(48, 4), *_deep(48, 96, 128, 192)),
        6, 192, 1920, dropout=0.3,
    ),
    "508m": MobileFormerConfig(
        24,
        (_lite(24, 2, 1), _down(40), _same(40, 3), _down(72), _same(72, 3), *_deep(72, 128, 176, 240)),
        6, 192, 1920, dropout=0.3,
    ),
}  # fmt: skip
"""The seven published image nets, 1000 classes, by their published multiply-adds at 224x224."""
NANO_CONFIG = MobileFormerConfig(8, (_lite(8, 2, 2), _down(16), _same(16, 3)), 2, 64, 128)
"""Ours, for training on a laptop on 32 x 32 pixels, of which its last map is an eighth: 4 x 4."""


def for_video(
    image: MobileFormerConfig, *, time_strides: tuple[int, ...] = (), num_classes: int = 400, time_taps: int = 3
) -> MobileFormerConfig:
    """The video net with an image net's widths.

    `time_strides`: one per down block, in order; empty: the number of frames is kept to the end.
    """
    downs = [index for index, block in enumerate(image.blocks) if block.kind == "down"]
    strides = dict(zip(downs, time_strides or (1,) * len(downs), strict=False))
    if time_strides and len(time_strides) != len(downs):
        raise EncoderError(f"time_strides={time_strides}: this net has {len(downs)} down blocks; give one for each")
    blocks = tuple(replace(block, time_stride=strides.get(index, 1)) for index, block in enumerate(image.blocks))
    return replace(image, blocks=blocks, num_classes=num_classes, time_taps=time_taps)
