"""S5-style mixing: one system for all channels (arXiv 2208.04933).

x_k = λ x_(k-1) + B̄ u_k, y_k = 2 Re(C x_k) + D u_k, where u_k holds all channels. Every state is a scalar recurrence
with a constant factor, so the states of the whole sequence are a convolution of B̄ u with the powers of λ.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from longvid.ssm.cache import WeightCache
from longvid.ssm.config import S4Config
from longvid.ssm.convolution import fast_fft_length
from longvid.ssm.hippo import diagonal_eigenvalues
from longvid.ssm.mixer import Mixer
from longvid.ssm.s4 import as_complex
from longvid.ssm.s4d import discretise_diagonal


class ManyInputsMixer(Mixer):
    """`state_size` states shared by all channels; stable by construction."""

    def __init__(self, config: S4Config) -> None:
        super().__init__(config)
        channels, directions = config.channels, 1 + config.bidirectional
        start = diagonal_eigenvalues(config.state_size, config.start)
        low, high = (math.log(bound) for bound in config.step_range)
        half = len(start)
        self.log_step = nn.Parameter(torch.rand(half) * (high - low) + low)
        self.log_decay = nn.Parameter(torch.log(-start.real).float())
        self.frequency = nn.Parameter(start.imag.float())
        self.b = nn.Parameter(torch.randn(half, channels, 2) * math.sqrt(0.5 / channels))
        self.c = nn.Parameter(torch.randn(directions, channels, half, 2) * math.sqrt(0.5 / half))
        self._recurrent = WeightCache()

    def discrete(self) -> tuple[Complex[Tensor, " half"], Complex[Tensor, "half channel"]]:
        """(log λ, B̄) in complex128."""
        A = torch.complex(-self.log_decay.double().exp(), self.frequency.double())
        log_transition, scale = discretise_diagonal(A, self.log_step.double().exp(), self.config.discretisation)
        return log_transition, scale[:, None] * as_complex(self.b)

    def forward(self, u: Float[Tensor, "batch channel length"]) -> Float[Tensor, "batch channel length"]:
        """Outputs of the whole sequence from a zero state."""
        u = self._wide(u)
        log_transition, B = self.discrete()
        length = u.shape[-1]
        size = fast_fft_length(2 * length, u.device)
        inputs = torch.fft.fft(B.to(self._complex_dtype) @ u.to(self._complex_dtype), n=size)
        powers = self._powers(log_transition, length)
        y = self.skip[:, None] * u
        for direction, C in enumerate(as_complex(self.c)):
            if direction:  # the power for lag -(1 + s) sits at index size - 1 - s
                powers = nn.functional.pad(powers.flip(-1), (size - length, 0))
            states = torch.fft.ifft(inputs * torch.fft.fft(powers, n=size))[..., :length]
            y = y + 2 * (C @ states).real
        return y

    def initial_state(self, batch: int) -> Complex[Tensor, "batch half"]:
        """Zeros."""
        return torch.zeros(batch, len(self.log_step), dtype=self._complex_dtype, device=self.skip.device)

    def step(
        self, u: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch half"]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch half"]]:
        """Output of one token, and the state after it."""
        self.check_causal()
        transition, B = self._recurrent.get("step", self.parameters(), self._one_step)
        u = self._wide(u)
        state = transition * state + u.to(self._complex_dtype) @ B.mT
        return 2 * (state @ as_complex(self.c)[0].mT).real + self.skip * u, state

    def _one_step(self) -> tuple[Tensor, Tensor]:
        log_transition, B = self.discrete()
        return torch.exp(log_transition).to(self._complex_dtype), B.to(self._complex_dtype)

    def carry(
        self, u: Float[Tensor, "batch channel length"], state: Complex[Tensor, "batch half"]
    ) -> tuple[Float[Tensor, "batch channel length"], Complex[Tensor, "batch half"]]:
        """Outputs of the next tokens, and the state after them."""
        self.check_causal()
        u = self._wide(u)
        log_transition, B = self.discrete()
        length = u.shape[-1]
        size = fast_fft_length(2 * length, u.device)
        powers = self._powers(log_transition, length + 1)
        inputs = torch.fft.fft(B.to(self._complex_dtype) @ u.to(self._complex_dtype), n=size)
        states = torch.fft.ifft(inputs * torch.fft.fft(powers[:, :length], n=size))[..., :length]
        states = states + powers[:, 1:] * state[..., None]
        y = 2 * (as_complex(self.c)[0] @ states).real + self.skip[:, None] * u
        return y, states[..., -1]

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """Step, eigenvalues and input matrix, as in S5."""
        return [self.log_step, self.log_decay, self.frequency, self.b]

    @property
    def _complex_dtype(self) -> torch.dtype:
        return torch.complex128 if self.skip.dtype == torch.float64 else torch.complex64

    def _wide(self, u: Tensor) -> Tensor:
        return u.to(torch.float64 if self.skip.dtype == torch.float64 else torch.float32)

    def _powers(self, log_transition: Tensor, count: int) -> Tensor:
        exponent = torch.arange(count, device=log_transition.device, dtype=torch.float64)
        return torch.exp(log_transition[:, None] * exponent).to(self._complex_dtype)
