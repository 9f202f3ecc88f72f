"""S4, the mixer of ViS4mer: one low-rank system per channel."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from longvid.ssm.cache import WeightCache
from longvid.ssm.config import S4Config
from longvid.ssm.hippo import legs_low_rank
from longvid.ssm.kernels.dense import truncate, untruncate
from longvid.ssm.kernels.kernel import s4_kernel
from longvid.ssm.mixer import ConvolutionMixer
from longvid.ssm.pieces import PieceTables, Transition, low_rank_tables
from longvid.ssm.system import StateSpace, advance, inner


class LowRankMixer(ConvolutionMixer):
    """Diagonal-plus-low-rank systems, initialised by HiPPO-LegS; complex numbers are a last axis of two floats.

    The state matrix is diag(w) - p q*. `stable` ties q to p and keeps Re w negative: then A + A* is negative definite
    and every kernel decays. `free` trains w, p and q separately, as ViS4mer did. With `max_length` the random initial
    output map counts as the truncated one, as in ViS4mer. Two directions share everything except the output map.
    """

    def __init__(self, config: S4Config) -> None:
        super().__init__(config)
        channels, directions = config.channels, 1 + config.bidirectional
        w, p, b = (t.to(torch.complex64) for t in legs_low_rank(config.state_size))
        w = w if config.eigenvalues == "shared" else w.repeat(channels, 1)
        p, b = (torch.view_as_real(t).repeat(channels, 1, 1) for t in (p, b))
        low, high = (math.log(bound) for bound in config.step_range)
        self.log_step = nn.Parameter(torch.rand(channels) * (high - low) + low)
        if config.state_matrix == "stable":
            self.log_decay = nn.Parameter(torch.log(-w.real))
            self.frequency = nn.Parameter(w.imag.clone())
        else:
            self.eigenvalues = nn.Parameter(torch.view_as_real(w).clone())
            self.q = nn.Parameter(p.clone())
        self.p = nn.Parameter(p)
        self.b = nn.Parameter(b)
        # variance 1/2 in the real and in the imaginary part
        self.c = nn.Parameter(torch.randn(directions, channels, *p.shape[1:]) * math.sqrt(0.5))
        self._recurrent = WeightCache()

    def state_matrix(self) -> tuple[Complex[Tensor, "*channel half"], ...]:
        """w, p and q; float32 or better."""
        p = as_complex(self.p)
        if self.config.state_matrix == "free":
            return as_complex(self.eigenvalues), p, as_complex(self.q)
        decay, frequency = (wide(tensor) for tensor in (self.log_decay, self.frequency))
        return torch.complex(-decay.exp(), frequency), p, p

    def system(self) -> StateSpace:
        """The system as complex tensors, with the backward direction as additional channels; float32 or better."""
        directions = len(self.c)
        w, p, q = self.state_matrix()
        b = as_complex(self.b)
        step = self.log_step.to(w.real.dtype).exp()
        if directions > 1:
            p, q, b = (t.repeat(directions, 1) for t in (p, q, b))
            w = w if w.ndim == 1 else w.repeat(directions, 1)
            step = step.repeat(directions)
        return StateSpace(w, p, q, b, as_complex(self.c).flatten(0, 1), step, self.config.max_length)

    def system_kernels(self, length: int) -> Float[Tensor, "direction channel length"]:
        """Convolution kernel of each direction."""
        kernel = s4_kernel(self.system(), length, backend=self.config.backend, odd_length=self.config.odd_length)
        kernels: Tensor = kernel.unflatten(0, (len(self.c), -1))
        return kernels

    def tables(self) -> tuple[PieceTables, Transition]:
        """Dense powers for `carry`, always of the exact recurrence: `odd_length` has no effect."""
        return low_rank_tables(self.system())

    def step(
        self, u: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch channel half"]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch channel half"]]:
        """Output of one token in O(N), and the state after it."""
        self.check_causal()
        system: StateSpace = self._recurrent.get("system", self.parameters(), lambda: untruncate(self.system()))
        u = u.to(system.step.dtype)
        state = advance(system, state, u)
        return inner(system.c, state) + self.skip * u, state

    def rescale_time(self, factor: int | float) -> None:
        """Divide the step sizes by `factor`; an output map that is stored truncated is truncated again to match."""
        if self.config.max_length:
            with torch.no_grad():
                whole = untruncate(self.system().double())
                finer = truncate(whole._replace(step=whole.step / factor), self.config.max_length)
                self.c.copy_(torch.view_as_real(finer.c).unflatten(0, (len(self.c), -1)))
        super().rescale_time(factor)

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """Step, eigenvalues and input column, and p where it is free; c and q are ordinary weights, as in ViS4mer.

        A tied p serves as q too, and no value of it makes the system unstable: it is an ordinary weight.
        """
        if self.config.state_matrix == "free":
            return [self.log_step, self.eigenvalues, self.b, self.p]
        return [self.log_step, self.log_decay, self.frequency, self.b]


def as_complex(pairs: Tensor) -> Tensor:
    """The last axis of two as one complex number; float32 or better."""
    return torch.view_as_complex(wide(pairs).contiguous())


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32 or better."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
