"""DualFormer, a video transformer of four stages.

    clip -> [ patch embedding -> norm -> window block -> + position convolution -> pyramid block -> ... ] x 4 -> norm

There is no position table, class token, mask or window shift. Time shrinks once, by 2; space by 32.
"""

from collections.abc import Iterator
from itertools import islice

from jaxtyping import Float
from torch import Tensor, nn

from longvid.encoders.base import Encoder, EncoderOutput
from longvid.encoders.dualformer.attention import LocalWindowAttention, PyramidAttention, to_grid, to_tokens
from longvid.encoders.dualformer.config import DualFormerConfig, Size
from longvid.encoders.dualformer.sizes import fitted_size
from longvid.errors import EncoderError
from longvid.layers.transformer import Block, PatchEmbed3d, drop_path_rates, init_transformer_

NORM_EPS = 1e-5


class Stage(nn.Module):
    """Patch embedding, then blocks; the position convolution follows the first block."""

    def __init__(self, config: DualFormerConfig, index: int, drop_paths: list[float]) -> None:
        super().__init__()
        stage = config.stages[index]
        in_channels = config.stages[index - 1].dim if index else config.in_channels
        self.embed = PatchEmbed3d(stage.dim, config.stride(index), in_channels=in_channels)
        self.norm = nn.LayerNorm(stage.dim, eps=NORM_EPS)
        self.blocks = nn.ModuleList(
            Block(
                stage.dim,
                self._attention(config, index, block),
                mlp_ratio=stage.mlp_ratio,
                norm_eps=NORM_EPS,
                drop_path=drop_path,
            )
            for block, drop_path in enumerate(drop_paths)
        )
        self.position = nn.Conv3d(stage.dim, stage.dim, kernel_size=3, padding=1, groups=stage.dim)

    @staticmethod
    def _attention(config: DualFormerConfig, index: int, block: int) -> nn.Module:
        stage, bias, scale = config.stages[index], config.qkv_bias, config.attention_scale
        if block % 2 or stage.all_global:
            return PyramidAttention(stage.dim, stage.heads, config.pyramid(index), qkv_bias=bias, scale=scale)
        return LocalWindowAttention(stage.dim, stage.heads, stage.window, qkv_bias=bias, scale=scale)

    def forward(
        self, clips: Float[Tensor, "batch channel time height width"]
    ) -> Float[Tensor, "batch dim steps rows columns"]:
        """The stage's token grid, without a norm of its own."""
        embedded = self.embed(clips)
        grid = _size(embedded)
        tokens = self.norm(to_tokens(embedded))
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, grid)
            if index == 0:
                tokens = tokens + self.position_code(tokens, grid)
        return to_grid(tokens, grid)

    def position_code(self, tokens: Float[Tensor, "batch length dim"], grid: Size) -> Float[Tensor, "batch length dim"]:
        """A convolution over each token's neighbourhood; the zeros beyond the borders make places distinguishable."""
        return to_tokens(self.position(to_grid(tokens, grid)))


class DualFormer(Encoder):
    """The model, with its classifier if the configuration has one.

    `odd_sizes` says how clips whose strides and windows do not divide are handled: see `sizes.py`.
    """

    def __init__(self, config: DualFormerConfig, *, odd_sizes: str = "refuse") -> None:
        super().__init__()
        self.config = config
        self.odd_sizes = odd_sizes
        rates = iter(drop_path_rates(config.drop_path, sum(stage.blocks for stage in config.stages)))
        self.stages = nn.ModuleList(
            Stage(config, index, list(islice(rates, stage.blocks))) for index, stage in enumerate(config.stages)
        )
        dim = config.stages[-1].dim
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        init_transformer_(self)
        self.classifier: nn.Sequential | None = None
        self.token_classifier: nn.Sequential | None = None
        if config.num_classes is not None:
            self.classifier = _classifier(dim, config.num_classes, config.head_dropout)
            if config.token_label:
                self.token_classifier = _token_classifier(dim, config.num_classes, config.head_dropout)

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """Tokens after the last norm (channels last), and their mean over the clip as its vector."""
        grid = self.features(clips)
        return EncoderOutput(tokens=grid.flatten(3).movedim(1, -1), clip=grid.mean(dim=(2, 3, 4)))

    def stage_grids(self, clips: Float[Tensor, "batch channel time height width"]) -> Iterator[Tensor]:
        """Token grid at the end of each stage, `batch dim time height width`, before the last norm."""
        time, height, width = fitted_size(self.config, _size(clips), self.odd_sizes)
        grid = clips[:, :, :time, :height, :width]
        for stage in self.stages:
            grid = stage(grid)
            yield grid

    def features(
        self, clips: Float[Tensor, "batch channel time height width"]
    ) -> Float[Tensor, "batch dim steps rows columns"]:
        """The last stage's grid after the last norm; step t covers input frames 2t and 2t + 1."""
        *_, grid = self.stage_grids(clips)
        normed: Tensor = self.norm(grid.movedim(1, -1))
        return normed.movedim(-1, 1)

    def classify(self, clips: Float[Tensor, "batch channel time height width"]) -> Float[Tensor, "batch classes"]:
        """Raw class scores. `views.mean_probabilities` combines the views of a video."""
        return self.clip_scores(self.features(clips))

    def clip_scores(self, features: Float[Tensor, "batch dim steps rows columns"]) -> Float[Tensor, "batch classes"]:
        """Raw class scores of each clip from its `features`."""
        if self.classifier is None:
            raise EncoderError("this DualFormer has no classifier; build it with num_classes=<number of classes>")
        scores: Tensor = self.classifier(features.mean(dim=(2, 3, 4)))
        return scores

    def token_scores(
        self, features: Float[Tensor, "batch dim steps rows columns"]
    ) -> Float[Tensor, "batch steps rows columns classes"]:
        """Raw class scores at every final position, for training with token labels; unused at test time."""
        if self.token_classifier is None:
            raise EncoderError("this DualFormer has no token classifier; build it with token_label=True")
        scores: Tensor = self.token_classifier(features.movedim(1, -1))
        return scores


def _size(clips: Tensor) -> Size:
    time, height, width = clips.shape[2:]
    return time, height, width


def _classifier(dim: int, num_classes: int, dropout: float) -> nn.Sequential:
    linear = nn.Linear(dim, num_classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Dropout(dropout), linear)


def _token_classifier(dim: int, num_classes: int, dropout: float) -> nn.Sequential:
    """dim -> 2 dim -> 4 dim -> classes; dropout before each ReLU, as released."""
    return nn.Sequential(
        nn.Linear(dim, 2 * dim),
        nn.Dropout(dropout),
        nn.ReLU(),
        nn.Linear(2 * dim, 4 * dim),
        nn.Dropout(dropout),
        nn.ReLU(),
        nn.Linear(4 * dim, num_classes),
    )
