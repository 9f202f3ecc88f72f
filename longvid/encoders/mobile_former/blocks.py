"""The blocks of Mobile-Former, which join a feature map and tokens.

    features, tokens ─► Read ─► Former ─► tokens' ─┐ token 0 sets the slopes
    features ───────────────────► Mobile (convolutions with dynamic ReLU) ─► Write(tokens') ─► features'

The order inside a block is that of the author's code: the activations of the convolutions use the updated tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvid.encoders.mobile_former.bridges import to_map, to_rows
from longvid.encoders.mobile_former.config import BlockConfig, MobileFormerConfig
from longvid.encoders.mobile_former.convolutions import ConvNorm
from longvid.layers.tokens import Former, Read, SlopeGenerator, Write

CACHED_VALUES = 2**16
"""Values of a map that are activated at once on a CPU: a quarter of a MiB in float32, which fits a core's L2 cache."""


class DynamicReLU(nn.Module):
    """max(2 theta_a x, (2 theta_b - 1) x), with a pair of slopes per channel and clip, the same at every position.

    Zero pre-activations of the generator give slopes 1 and 0: training starts as (almost) a plain ReLU.
    The slopes hold for all frames of a clip: they come from a token that has seen the whole clip. On a CPU without
    gradients the given map is overwritten, a few frames at a time, so that the products stay in the cache and no map is
    allocated: the whole net then takes 0.65 of the time.
    """

    def __init__(self, token_dim: int, dim: int) -> None:
        super().__init__()
        self.generator = SlopeGenerator(token_dim, dim)

    def forward(
        self, features: Float[Tensor, "batch dim time height width"], token: Float[Tensor, "batch token_dim"]
    ) -> Float[Tensor, "batch dim time height width"]:
        """The activated map."""
        theta = self.generator(token)[:, :, None, None, None].to(features.dtype)
        first, second = theta.chunk(2, 1)
        first, second = 2 * first, 2 * second - 1
        recorded = torch.is_grad_enabled() and (features.requires_grad or theta.requires_grad)
        if recorded or torch.compiler.is_compiling() or features.device.type != "cpu":
            return torch.maximum(features * first, features * second)
        for part in features.split(max(1, CACHED_VALUES // features[:, :, 0].numel()), dim=2):
            torch.maximum(part * first, part * second, out=part)
        return features


class Bottleneck(nn.Module):
    """The Mobile part of a standard block: 1x1 out, depth-wise 3x3, 1x1 back; a residual if the width is kept."""

    def __init__(self, in_dim: int, block: BlockConfig, config: MobileFormerConfig) -> None:
        super().__init__()
        hidden, groups = in_dim * block.expansion, config.groups
        self.residual = in_dim == block.dim
        self.expand = ConvNorm(in_dim, hidden, groups=groups, shuffle=groups)
        self.expand_relu = DynamicReLU(config.token_dim, hidden)
        self.depthwise = ConvNorm(hidden, hidden, kernel=3, groups=hidden, time_taps=config.time_taps)
        self.depthwise_relu = DynamicReLU(config.token_dim, hidden)
        self.project = ConvNorm(hidden, block.dim, groups=groups, shuffle=groups)

    def forward(
        self, features: Float[Tensor, "batch dim time height width"], token: Float[Tensor, "batch token_dim"]
    ) -> Float[Tensor, "batch outdim time height width"]:
        """The map after the residual."""
        hidden = self.expand_relu(self.expand(features), token)
        hidden = self.depthwise_relu(self.depthwise(hidden), token)
        projected: Tensor = self.project(hidden)
        return features + projected if self.residual else projected


class DownSampling(nn.Module):
    """The Mobile part of a down block: two pairs of an expanding depth-wise 3x3 and a linear 1x1, the first strided,
    the second with a residual."""

    def __init__(self, in_dim: int, block: BlockConfig, config: MobileFormerConfig) -> None:
        super().__init__()
        first, second = in_dim * block.expansion, block.dim * block.second_expansion
        taps, groups = config.time_taps, config.groups
        # an expanding depth-wise convolution lays the copies of a channel side by side; with grouped 1x1
        # convolutions after it, a shuffle by the number of inputs deals them out over the groups
        self.first_depthwise = ConvNorm(
            in_dim,
            first,
            kernel=3,
            stride=block.stride,
            groups=in_dim,
            time_taps=taps,
            time_stride=block.time_stride,
            shuffle=in_dim if groups > 1 else 1,
        )
        self.first_relu = DynamicReLU(config.token_dim, first)
        self.first_project = ConvNorm(first, block.dim, groups=groups)
        self.second_depthwise = ConvNorm(
            block.dim, second, kernel=3, groups=block.dim, time_taps=taps, shuffle=block.dim if groups > 1 else 1
        )
        self.second_relu = DynamicReLU(config.token_dim, second)
        self.second_project = ConvNorm(second, block.dim, groups=groups)

    def forward(
        self, features: Float[Tensor, "batch dim time height width"], token: Float[Tensor, "batch token_dim"]
    ) -> Float[Tensor, "batch outdim outtime outheight outwidth"]:
        """The smaller map."""
        smaller: Tensor = self.first_project(self.first_relu(self.first_depthwise(features), token))
        added: Tensor = self.second_project(self.second_relu(self.second_depthwise(smaller), token))
        return smaller + added


class BridgedBlock(nn.Module):
    """Read, Former, Mobile, Write."""

    def __init__(self, in_dim: int, block: BlockConfig, config: MobileFormerConfig) -> None:
        super().__init__()
        mobile = {"standard": Bottleneck, "down": DownSampling}[block.kind]
        self.read = Read(in_dim, config.token_dim, heads=config.bridge_heads)
        self.former = Former(config.token_dim, heads=config.former_heads)
        self.mobile = mobile(in_dim, block, config)
        self.write = Write(block.dim, config.token_dim, heads=config.bridge_heads)

    def forward(
        self,
        features: Float[Tensor, "batch dim time height width"],
        tokens: Float[Tensor, "batch num_tokens token_dim"],
    ) -> tuple[Float[Tensor, "batch outdim outtime outheight outwidth"], Float[Tensor, "batch num_tokens token_dim"]]:
        """The map and the tokens after the block."""
        tokens = self.former(self.read(tokens, to_rows(features)))
        features = self.mobile(features, tokens[:, 0])
        return to_map(self.write(to_rows(features), tokens), features.shape[2:]), tokens


class LiteBlock(nn.Module):
    """The first block: an expanding depth-wise 3x3, ReLU6, 1x1; the tokens are not changed."""

    def __init__(self, in_dim: int, block: BlockConfig, config: MobileFormerConfig) -> None:
        super().__init__()
        hidden, groups = in_dim * block.expansion, config.groups
        self.residual = block.stride == 1 and in_dim == block.dim
        self.depthwise = ConvNorm(
            in_dim, hidden, kernel=3, stride=block.stride, groups=in_dim, shuffle=in_dim if groups > 1 else 1
        )
        self.project = ConvNorm(hidden, block.dim, groups=groups)

    def forward(
        self,
        features: Float[Tensor, "batch dim time height width"],
        tokens: Float[Tensor, "batch num_tokens token_dim"],
    ) -> tuple[Float[Tensor, "batch outdim time outheight outwidth"], Float[Tensor, "batch num_tokens token_dim"]]:
        """The map after the block, and the unchanged tokens."""
        projected = self.project(functional.relu6(self.depthwise(features), inplace=True))
        return (features + projected if self.residual else projected), tokens


def build_block(in_dim: int, block: BlockConfig, config: MobileFormerConfig) -> LiteBlock | BridgedBlock:
    """The block of that configuration, for maps of `in_dim` channels."""
    return (LiteBlock if block.kind == "lite" else BridgedBlock)(in_dim, block, config)
