"""The sizes of DualFormer: stages, released variants and kernels.

Liang, Zhou, Zimmermann, Yan, "DualFormer: Local-Global Stratified Transformer for Efficient Video Recognition",
ECCV 2022. Sizes are (time, height, width) triples. The released code's defaults differ from its released
configurations; this file holds the configurations.
"""

from dataclasses import dataclass

from longvid.errors import EncoderError
from longvid.validation import Count, Number, Positive, Share, settings

Size = tuple[int, int, int]
PositiveSize = tuple[Count, Count, Count]

SPATIAL_STRIDE = 2
"""Spatial stride of the patch embeddings between stages."""
COARSE_FIRST_KERNEL: Size = (1, 7, 7)
"""The coarse level is one 4x14x14 pooling in the paper, but two smaller ones in the released code and weights."""


@settings(EncoderError)
class StageConfig:
    """One stage: its width, its blocks, and what they attend to."""

    dim: Count
    heads: Count
    blocks: Count
    """Alternating: block 0, 2, ... attends inside windows, block 1, 3, ... to the pyramid of the whole clip."""
    window: PositiveSize = (8, 7, 7)
    """Tokens of a local window; (1, 1, 1) makes every block of the stage a pyramid block."""
    fine: PositiveSize = (8, 7, 7)
    """Tokens the fine pyramid level has for the configured clip."""
    coarse: PositiveSize | None = None
    """Tokens of the coarse level, or None for a pyramid of one level."""
    mlp_ratio: Positive = 4.0
    temporal_stride: Count = 1
    """By which the stage's embedding reduces time; not used in the first stage, whose embedding is the patch's."""

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise EncoderError(f"a stage of dim={self.dim} cannot be cut into heads={self.heads} equal heads")

    @property
    def all_global(self) -> bool:
        """Whether all blocks of the stage attend to the whole clip, none inside windows."""
        return self.window == (1, 1, 1)

    @property
    def has_pyramid(self) -> bool:
        """Whether some block of the stage attends to the pyramid."""
        return self.all_global or self.blocks > 1


@dataclass(frozen=True)
class PyramidKernels:
    """Kernel = stride of the depth-wise convolutions that pool a stage's grid."""

    fine: Size
    coarse: Size | None
    """The second coarse convolution; the first is `COARSE_FIRST_KERNEL`. None: no coarse level."""


@settings(EncoderError)
class DualFormerConfig:
    """Everything that decides the parameters of a DualFormer.

    `video_size` is the clip size from which the pyramid's kernels are derived, not a limit on the input: official
    weights need (32, 224, 224) whatever the clips' length, since nine kernels of the tiny model change with it. If it
    is so small that a fine kernel has a zero, that stage's pyramid becomes full attention.
    """

    stages: tuple[StageConfig, ...]
    video_size: PositiveSize = (32, 224, 224)
    patch: PositiveSize = (2, 4, 4)
    in_channels: Count = 3
    qkv_bias: bool = True
    attention_scale: Number | None = None
    """Scale of the attention logits; None is head_dim ** -0.5."""
    drop_path: Share = 0.0
    """Rate of the last block; rates rise linearly from 0 at the first. It acts in training only."""
    num_classes: Count | None = None
    """Outputs of the classifier; None for a model without one."""
    token_label: bool = False
    """A second classifier, at every final position, for training with token labels."""
    head_dropout: Share = 0.5

    def __post_init__(self) -> None:
        if not self.stages:
            raise EncoderError("a DualFormer needs at least one stage")
        if self.token_label and self.num_classes is None:
            raise EncoderError("token_label=True needs the number of classes: set num_classes=...")
        smallest = min(min(grid) for grid in self.grids(self.video_size))
        if smallest < 1:
            raise EncoderError(f"video_size={self.video_size} is too small for {len(self.stages)} stages")
        for index in range(len(self.stages)):
            kernels = self.pyramid(index)
            if kernels and kernels.coarse and min(kernels.coarse) < 1:
                raise EncoderError(
                    f"video_size={self.video_size} gives stage {index} the coarse kernel {kernels.coarse}, which has a "
                    "zero; configure the size the weights were trained at, (32, 224, 224), or set coarse=None there"
                )

    def stride(self, index: int) -> Size:
        """Kernel = stride of the patch embedding of a stage."""
        return self.patch if index == 0 else (self.stages[index].temporal_stride, SPATIAL_STRIDE, SPATIAL_STRIDE)

    def grids(self, video_size: Size) -> list[Size]:
        """Token grid of each stage for a clip of (time, height, width); remainders of the strides are dropped."""
        grids, grid = [], video_size
        for index in range(len(self.stages)):
            grid = divide(grid, self.stride(index))
            grids.append(grid)
        return grids

    def pyramid(self, index: int) -> PyramidKernels | None:
        """Pooling kernels of a stage; None if keys and values are the tokens themselves (full attention).

        That is the case if the fine kernel would be 1x1x1 and, as in the released code, if it has a zero. None also for
        a stage without pyramid blocks.
        """
        stage, grid = self.stages[index], self.grids(self.video_size)[index]
        fine = divide(grid, stage.fine)
        if not stage.has_pyramid or fine[0] * fine[1] * fine[2] <= 1:
            return None
        coarse = divide(divide(grid, stage.coarse), COARSE_FIRST_KERNEL) if stage.coarse else None
        return PyramidKernels(fine=fine, coarse=coarse)


def divide(size: Size, by: Size) -> Size:
    """Element-wise floor division."""
    return size[0] // by[0], size[1] // by[1], size[2] // by[2]


def _released(dim: int, blocks: tuple[int, int, int, int], drop_path: float) -> DualFormerConfig:
    """A released configuration: widths dim, 2 dim, 4 dim, 8 dim; 32 channels per head."""
    stages = tuple(
        StageConfig(
            dim=dim << index,
            heads=(dim << index) // 32,
            blocks=blocks[index],
            fine=(16, 7, 7) if index == 3 else (8, 7, 7),
            coarse=(4, 4, 4) if index < 2 else None,
        )
        for index in range(4)
    )
    return DualFormerConfig(stages=stages, drop_path=drop_path)


_NANO = DualFormerConfig(
    stages=(
        StageConfig(dim=48, heads=2, blocks=2, window=(2, 4, 4), fine=(2, 4, 4)),
        StageConfig(dim=96, heads=4, blocks=2, window=(2, 4, 4), fine=(2, 4, 4)),
    ),
    video_size=(8, 32, 32),
)

VARIANTS: dict[str, DualFormerConfig] = {
    "dualformer-tiny": _released(64, (2, 2, 10, 4), drop_path=0.1),
    "dualformer-small": _released(96, (2, 2, 18, 2), drop_path=0.2),
    "dualformer-base": _released(128, (2, 2, 18, 2), drop_path=0.3),
    "dualformer-nano": _NANO,
}
"""The released ones, and `nano`, which is ours, for a laptop."""
