"""The S4 layer: state-space mixing along time, then a point-wise mixing of channels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longvid.ssm.cache import WeightCache
from longvid.ssm.config import S4Config
from longvid.ssm.convolution import convolve
from longvid.ssm.low_rank import LowRankSystem
from longvid.ssm.masks import zero_beyond


class S4Layer(nn.Module):
    """(batch, length, dim) -> the same: convolution with the S4 kernel, skip, GELU, channel dropout, linear.

    Any length. Where `lengths` is given, what lies beyond an item's length cannot reach its outputs.
    In evaluation without gradients the kernel is computed once and kept until a weight changes.
    """

    def __init__(self, config: S4Config) -> None:
        super().__init__()
        self.config = config
        self.mixer = LowRankSystem(config)
        self.skip = nn.Parameter(torch.randn(config.channels))
        self.activation = nn.GELU()
        self.dropout = ChannelDropout(config.dropout)
        self.output = nn.Linear(config.channels, config.channels * (2 if config.gated else 1))
        self._cache = WeightCache()

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """Outputs of the whole sequence from a zero state."""
        if lengths is not None and self.config.bidirectional:
            x = zero_beyond(x, lengths)  # a causal layer cannot see beyond anyway
        kernels = self.kernel(x.shape[1])
        y = convolve(x.transpose(1, 2), *kernels.unbind(0))
        return self._mix_channels(y.transpose(1, 2).to(x.dtype))

    def kernel(self, length: int) -> Float[Tensor, "direction channel length"]:
        """Convolution kernels with the skip added to the first forward tap; do not write into them."""

        def make() -> Tensor:
            kernels = self.mixer.kernel(length)
            tap = torch.nn.functional.pad(self.skip.to(kernels)[:, None], (0, length - 1))
            return torch.cat([kernels[:1] + tap, kernels[1:]])

        if self.training:
            self._cache.drop()
            return make()
        kernels: Tensor = self._cache.get(length, [*self.mixer.parameters(), self.skip], make)
        return kernels

    def _mix_channels(self, y: Float[Tensor, "batch *length dim"]) -> Float[Tensor, "batch *length dim"]:
        y = self.output(self.dropout(self.activation(y)))
        return nn.functional.glu(y, dim=-1) if self.config.gated else y


class ChannelDropout(nn.Module):
    """Drops whole channels of (batch, length, dim) for all time steps of an item."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Float[Tensor, "batch *length dim"]) -> Float[Tensor, "batch *length dim"]:
        """x times one mask (batch, 1, dim); x itself in evaluation."""
        if not self.training or self.probability == 0:
            return x
        mask = x.new_ones(len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        return x * nn.functional.dropout(mask, self.probability)
