"""S4D: one diagonal system per channel (arXiv 2206.11893).

Letters: A = -exp(log_decay) + i frequency, Δ the step, λ = exp(ΔA) and b̄ = (λ - 1)/A under zero-order hold,
λ = (1 + ΔA/2)/(1 - ΔA/2) and b̄ = Δ/(1 - ΔA/2) under the bilinear rule. K[t] = 2 Re Σ c b̄ λ^t; the input column of the
paper is part of c.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from longvid.ssm.cache import WeightCache
from longvid.ssm.config import S4Config
from longvid.ssm.hippo import diagonal_eigenvalues
from longvid.ssm.mixer import ConvolutionMixer
from longvid.ssm.pieces import LEVELS, DiagonalTransition, PieceTables, Transition, real_basis
from longvid.ssm.s4 import as_complex


class DiagonalMixer(ConvolutionMixer):
    """Diagonal systems, stable by construction: the real part of A is minus an exponential."""

    def __init__(self, config: S4Config) -> None:
        super().__init__(config)
        channels, directions = config.channels, 1 + config.bidirectional
        start = diagonal_eigenvalues(config.state_size, config.start)
        low, high = (math.log(bound) for bound in config.step_range)
        self.log_step = nn.Parameter(torch.rand(channels) * (high - low) + low)
        self.log_decay = nn.Parameter(torch.log(-start.real).float().repeat(channels, 1))
        self.frequency = nn.Parameter(start.imag.float().repeat(channels, 1))
        self.c = nn.Parameter(torch.randn(directions, channels, len(start), 2) * math.sqrt(0.5))
        self._recurrent = WeightCache()

    def discrete(self) -> tuple[Complex[Tensor, "channel half"], Complex[Tensor, "channel half"]]:
        """(log λ, b̄) in complex128: over long kernels float32 would lose the phase."""
        A = torch.complex(-self.log_decay.double().exp(), self.frequency.double())
        step = self.log_step.double().exp()[:, None]
        return discretise_diagonal(A, step, self.config.discretisation)

    def system_kernels(self, length: int) -> Float[Tensor, "direction channel length"]:
        """K[t] as a product of two thin matrices: λ^(iM + j) = λ^(iM) λ^j with M about √length."""
        log_transition, b = self.discrete()
        weights = as_complex(self.c) * b.to(torch.complex64 if self.c.dtype != torch.float64 else b.dtype)
        inner = 2 ** ((length - 1).bit_length() // 2)
        coarse = _powers(log_transition, inner, -(-length // inner)).to(weights.dtype)
        fine = _powers(log_transition, 1, inner).to(weights.dtype)
        rows = weights[..., None, :] * coarse.mT  # direction channel coarse half
        rows = torch.cat([rows.real, -rows.imag], dim=-1)
        columns = torch.cat([fine.real, fine.imag], dim=-2)  # channel state fine
        return 2 * (rows @ columns).flatten(-2)[..., :length]

    def tables(self) -> tuple[PieceTables, Transition]:
        """Tables for `carry`, from powers of λ."""
        log_transition, b = self.discrete()
        size = 2**LEVELS
        powers = _powers(log_transition, 1, size + 1)
        c = as_complex(self.c)[0].to(b.dtype)
        dtype = self.log_step.dtype
        control = real_basis((b[..., None] * powers[..., :size]).mT).mT
        observe = real_basis((2 * c[..., None] * powers[..., 1:]).conj().mT)
        tables = PieceTables(self.system_kernels(size)[0], observe.to(dtype), control.to(dtype))
        squares = (torch.exp(log_transition * 2**level) for level in range(LEVELS + 1))
        return tables, DiagonalTransition(tuple(square.to(as_complex(self.c).dtype) for square in squares))

    def step(
        self, u: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch channel half"]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch channel half"]]:
        """Output of one token, and the state after it."""
        self.check_causal()
        transition, b = self._recurrent.get("step", self.parameters(), self._one_step)
        state = transition * state + b * u.to(b.real.dtype)[..., None]
        y = 2 * (as_complex(self.c)[0] * state).real.sum(-1)
        return y + self.skip * u, state

    def _one_step(self) -> tuple[Tensor, Tensor]:
        log_transition, b = self.discrete()
        dtype = as_complex(self.c).dtype
        return torch.exp(log_transition).to(dtype), b.to(dtype)

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """Step and eigenvalues."""
        return [self.log_step, self.log_decay, self.frequency]


def discretise_diagonal(A: Tensor, step: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """(log λ, b̄) of diagonal systems with eigenvalues A and unit input columns."""
    if rule == "zoh":
        return step * A, torch.expm1(step * A) / A
    half = step * A / 2
    return torch.log((1 + half) / (1 - half)), step / (1 - half)


def _powers(log_transition: Complex[Tensor, "channel half"], stride: int, count: int) -> Tensor:
    """λ to the powers 0, stride, 2 stride, ..: (channel, half, count)."""
    exponent = torch.arange(count, device=log_transition.device, dtype=torch.float64) * stride
    return torch.exp(log_transition[..., None] * exponent)
