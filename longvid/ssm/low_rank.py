"""The trained diagonal-plus-low-rank system of an S4 layer (the mixer that ViS4mer uses)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.ssm.config import S4Config
from longvid.ssm.hippo import legs_low_rank
from longvid.ssm.kernel import s4_kernel
from longvid.ssm.system import StateSpace


class LowRankSystem(nn.Module):
    """Parameters of one S4 system a channel, started at HiPPO-LegS; complex numbers as a last axis of two floats.

    As in ViS4mer the eigenvalues are one copy for all channels, p and q train apart, and a random output map is
    declared to be the truncated one. Two directions share everything but the output map.
    """

    def __init__(self, config: S4Config) -> None:
        super().__init__()
        self.config = config
        channels, directions = config.channels, 1 + config.bidirectional
        w, p, b = (torch.view_as_real(t.to(torch.complex64)) for t in legs_low_rank(config.state_size))
        low, high = (math.log(bound) for bound in config.step_range)
        self.log_step = nn.Parameter(torch.rand(channels) * (high - low) + low)
        self.eigenvalues = nn.Parameter(w.clone())
        self.p = nn.Parameter(p.expand(channels, -1, -1).clone())
        self.q = nn.Parameter(p.expand(channels, -1, -1).clone())
        self.b = nn.Parameter(b.expand(channels, -1, -1).clone())
        # variance 1/2 in each of real and imaginary part
        self.c = nn.Parameter(torch.randn(directions, channels, *w.shape) * math.sqrt(0.5))

    def system(self) -> StateSpace:
        """The system as complex tensors, the backward direction as further channels; float32 or better."""
        directions = len(self.c)
        w, p, q, b = (_complex(t) for t in (self.eigenvalues, self.p, self.q, self.b))
        step = self.log_step.to(w.real.dtype).exp()
        if directions > 1:
            p, q, b = (t.repeat(directions, 1) for t in (p, q, b))
            step = step.repeat(directions)
        return StateSpace(w, p, q, b, _complex(self.c).flatten(0, 1), step, self.config.max_length)

    def kernel(self, length: int) -> Float[Tensor, "direction channel length"]:
        """Convolution kernel of each direction."""
        kernel = s4_kernel(self.system(), length, backend=self.config.backend, odd_length=self.config.odd_length)
        return kernel.unflatten(0, (len(self.c), -1))

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """Step, eigenvalues, input column and p: trained gently and never decayed; c and q are ordinary weights."""
        return [self.log_step, self.eigenvalues, self.b, self.p]


def _complex(pairs: Tensor) -> Tensor:
    wide = pairs if pairs.dtype == torch.float64 else pairs.float()
    return torch.view_as_complex(wide.contiguous())
