"""The part of a state-space layer that mixes time."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from longvid.errors import DecoderError
from longvid.ssm.cache import WeightCache
from longvid.ssm.config import S4Config
from longvid.ssm.convolution import convolve
from longvid.ssm.pieces import PieceTables, Transition, carry, complex_halves, real_basis


class Mixer(nn.Module, ABC):
    """A linear, time-invariant map (batch, channel, length) -> the same.

    It is computed by convolution (`forward`), token by token (`step`) or chunk by chunk with a carried state (`carry`);
    the three agree. The skip, y += D u with one number per channel, is part of it.
    """

    log_step: nn.Parameter
    """Logarithm of the step Δ of each channel or state."""

    def __init__(self, config: S4Config) -> None:
        super().__init__()
        self.config = config
        self.skip = nn.Parameter(torch.randn(config.channels))

    @abstractmethod
    def forward(self, u: Float[Tensor, "batch channel length"]) -> Float[Tensor, "batch channel length"]:
        """Outputs of the whole sequence from a zero state."""

    @abstractmethod
    def initial_state(self, batch: int) -> Complex[Tensor, "batch ..."]:
        """The state before the first token."""

    @abstractmethod
    def step(
        self, u: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch ..."]]:
        """Output of one token, and the state after it."""

    @abstractmethod
    def carry(
        self, u: Float[Tensor, "batch channel length"], state: Complex[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch channel length"], Complex[Tensor, "batch ..."]]:
        """Outputs of the next tokens, and the state after them."""

    def drop_caches(self) -> None:
        """Drop everything computed from the weights; see `WeightCache` for when this is needed."""
        for part in vars(self).values():
            if isinstance(part, WeightCache):
                part.drop()

    def train(self, mode: bool = True) -> "Mixer":
        """Switch between training and evaluation, as every module does, and drop the caches."""
        self.drop_caches()
        super().train(mode)
        return self

    def rescale_time(self, factor: int | float) -> None:
        """Adapt to `factor` times as many tokens per second: step sizes are divided by `factor`."""
        with torch.no_grad():
            self.log_step.sub_(math.log(factor))

    @abstractmethod
    def dynamics_parameters(self) -> list[nn.Parameter]:
        """Parameters that set time scales: trained with a low learning rate and without weight decay."""

    def check_causal(self) -> None:
        """Raises DecoderError for a bidirectional layer, which cannot stream."""
        if self.config.bidirectional:
            raise DecoderError(
                "a bidirectional layer cannot stream: it needs the future; build it with bidirectional=False"
            )


class ConvolutionMixer(Mixer):
    """One single-input system per channel: the outputs are a convolution with the system's kernel.

    In evaluation without gradients, kernels and tables are computed once and kept until a weight changes; see
    `WeightCache`.
    """

    def __init__(self, config: S4Config) -> None:
        super().__init__(config)
        self._kernels = WeightCache()
        self._tables = WeightCache()

    @abstractmethod
    def system_kernels(self, length: int) -> Float[Tensor, "direction channel length"]:
        """Kernels without the skip."""

    @abstractmethod
    def tables(self) -> tuple[PieceTables, Transition]:
        """Tables for `carry`, without the skip."""

    def kernels(self, length: int) -> Float[Tensor, "direction channel length"]:
        """Kernels with the skip in the first forward tap; do not modify them."""
        if self.training:
            self._kernels.drop()
            return self._with_skip(length)
        kernels: Tensor = self._kernels.get(length, self.parameters(), lambda: self._with_skip(length))
        return kernels

    def _with_skip(self, length: int) -> Tensor:
        kernels = self.system_kernels(length)
        tap = nn.functional.pad(self.skip.to(kernels)[:, None], (0, length - 1))
        return torch.cat([kernels[:1] + tap, kernels[1:]])

    def forward(self, u: Float[Tensor, "batch channel length"]) -> Float[Tensor, "batch channel length"]:
        """Outputs of the whole sequence from a zero state; float32 or better."""
        return convolve(u, *self.kernels(u.shape[-1]).unbind(0))

    def initial_state(self, batch: int) -> Complex[Tensor, "batch channel half"]:
        """Zeros."""
        dtype = torch.complex128 if self.skip.dtype == torch.float64 else torch.complex64
        half = self.config.state_size // 2
        return torch.zeros(batch, self.config.channels, half, dtype=dtype, device=self.skip.device)

    def carry(
        self, u: Float[Tensor, "batch channel length"], state: Complex[Tensor, "batch channel half"]
    ) -> tuple[Float[Tensor, "batch channel length"], Complex[Tensor, "batch channel half"]]:
        """Outputs of the next tokens, and the state after them."""
        self.check_causal()
        tables, transition = self._tables.get("tables", self.parameters(), self.tables)
        u = u.to(tables.kernel.dtype)
        y, after = carry(tables, transition, u, real_basis(state))
        return y + self.skip[:, None] * u, complex_halves(after)
