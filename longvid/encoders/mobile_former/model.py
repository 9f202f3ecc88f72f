"""Mobile-Former: a light convolutional net with a few global tokens.

One net serves images and clips. An image is a clip of one frame; an image net has no temporal taps and treats the
frames of a clip as one big set of positions. A video net (`time_taps=3`) is the same net with taps along time.

The image net is Chen et al., "Mobile-Former: Bridging MobileNet and Transformer", CVPR 2022 (arXiv 2108.05895), exactly
as its first author's code computes it. The video net follows Wang et al., "Video Mobile-Former: Video Recognition with
Efficient Global Spatial-temporal Modeling" (arXiv 2208.12257, 2022), of which only the abstract was available: a light
3D convolutional branch beside a transformer, very few tokens (about six) for a whole video, 0.5 to 6 GFLOPs. What the
abstract leaves open is our choice, with its reason:

* Tokens: one set per clip reads and writes all time x height x width positions (the abstract says so).
* Temporal taps: three, depth-wise, on every depth-wise convolution of the bridged blocks, where a tap is cheapest
  (3 weights per channel, 2 to 9 % of the arithmetic); the cubic 3x3x3 kernel costs 11 to 51 % and is no faster.
* Stem and first block: frame by frame. Their maps are the largest and their channels too few to hold motion.
* Stride in time: none by default, so that every frame keeps its features; `BlockConfig.time_stride` if a variant
  should take longer clips for the same arithmetic.
* Dynamic ReLU: one pair of slopes per channel for the whole clip, from the first token.
* Position in time: no table. The order of frames enters through the taps alone, the ends of the clip through their
  zero padding; without taps the net ignores order. Clips of any length and size work.
* Head: pooled over time and place together, joined with the first token as in the image net.
* From image weights: everything is copied and the taps become the unit impulse (`inflation`), so that a still video
  gives the image net's logits. Taps trained from scratch start there too, plus noise.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvid.encoders.base import Encoder, EncoderOutput
from longvid.encoders.mobile_former.blocks import build_block
from longvid.encoders.mobile_former.bridges import to_rows
from longvid.encoders.mobile_former.config import MobileFormerConfig
from longvid.encoders.mobile_former.convolutions import ConvNorm, channel_shuffle
from longvid.errors import EncoderError
from longvid.layers.tokens import Read

HEAD_EXPANSION = 6
"""The head's map has this many times the channels of the last block."""


class HeadOutput(NamedTuple):
    """The head's map, and the vector that joins its mean with the first token."""

    features: Float[Tensor, "batch dim time height width"]
    fused: Float[Tensor, "batch fused"]


class Head(nn.Module):
    """1x1 to six times the width, ReLU6, mean over all positions, joined with token 0, one hidden layer."""

    def __init__(self, in_dim: int, config: MobileFormerConfig) -> None:
        super().__init__()
        dim = HEAD_EXPANSION * in_dim
        self.groups = config.groups
        self.project = ConvNorm(in_dim, dim, groups=config.groups)
        self.fuse = nn.Linear(dim + config.token_dim, config.fused_dim)
        self.fuse_norm = nn.BatchNorm1d(config.fused_dim)

    def forward(
        self, features: Float[Tensor, "batch dim time height width"], token: Float[Tensor, "batch token_dim"]
    ) -> HeadOutput:
        """The map after ReLU6 (values 0 to 6) and the fused vector."""
        features = functional.relu6(self.project(channel_shuffle(features, self.groups)), inplace=True)
        pooled = functional.hardswish(features.mean(dim=(2, 3, 4)))
        fused = functional.hardswish(self.fuse_norm(self.fuse(torch.cat([pooled, token], dim=1))))
        return HeadOutput(features, fused)


class MobileFormer(Encoder):
    """The net. `forward` gives the head's map as tokens, the fused vector, and the global tokens; `classify` scores.

    Clips: any number of frames, any height and width.
    """

    def __init__(self, config: MobileFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = ConvNorm(3, config.stem_dim, kernel=3, stride=2)
        self.initial_tokens = nn.Parameter(torch.empty(config.num_tokens, config.token_dim))
        widths = [config.stem_dim, *(block.dim for block in config.blocks)]
        self.blocks = nn.ModuleList(
            build_block(width, block, config) for width, block in zip(widths[:-1], config.blocks, strict=True)
        )
        self.read = Read(widths[-1], config.token_dim, heads=config.bridge_heads)
        self.head = Head(widths[-1], config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.fused_dim, config.num_classes)
        self._init_weights()

    def _init_weights(self) -> None:
        """Initialises as the image author's code; taps, which it lacks, by its convolution rule around the impulse.

        | what          | start                                        |
        |---------------|----------------------------------------------|
        | tokens        | N(0, 1)                                      |
        | linear layers | N(0, 0.01), bias 0                           |
        | convolutions  | N(0, sqrt(2 / (k^2 * channels out)))         |
        | temporal taps | impulse + N(0, sqrt(2 / (k * channels out))) |
        | norms         | 1 and 0                                      |
        """
        nn.init.normal_(self.initial_tokens)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                reach = module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=(2 / (reach * module.out_channels)) ** 0.5)
        with torch.no_grad():
            for kernel in self.temporal_taps():
                kernel[:, :, kernel.shape[2] // 2] += 1

    def temporal_taps(self) -> list[Tensor]:
        """The kernels along time, (channels, 1, taps, 1) each, in block order; none in an image net."""
        convolutions = [module for module in self.modules() if isinstance(module, ConvNorm)]
        return [module.taps.weight for module in convolutions if module.taps is not None]

    def forward(self, clips: Float[Tensor, "batch 3 time height width"]) -> EncoderOutput:
        """Tokens: the head's map, `6 * last width` channels at 1/32 of height and width; clip: the fused vector."""
        output, tokens = self._run(clips)
        features = output.features.flatten(3).permute(0, 2, 3, 1)
        return EncoderOutput(features, clip=output.fused, global_tokens=tokens)

    def classify(self, clips: Float[Tensor, "batch 3 time height width"]) -> Float[Tensor, "batch classes"]:
        """Class scores (logits) of each clip."""
        scores: Tensor = self.classifier(self.dropout(self._run(clips)[0].fused))
        return scores

    def _run(self, clips: Tensor) -> tuple[HeadOutput, Tensor]:
        if clips.ndim != 5 or clips.shape[1] != 3:
            raise EncoderError(
                f"clips of shape {tuple(clips.shape)}: Mobile-Former takes (batch, 3, time, height, width); "
                "an image is a clip of one frame"
            )
        features = functional.relu6(self.stem(clips), inplace=True)
        tokens = self.initial_tokens.expand(len(clips), -1, -1)
        for block in self.blocks:
            features, tokens = block(features, tokens)
        tokens = self.read(tokens, to_rows(features))
        return self.head(features, tokens[:, 0]), tokens
