"""The S4 kernel from its generating function, in real arithmetic.

At ω = exp(-2πi j/L) the truncated generating function is a sum of simple fractions in z = 2(1-ω)/(1+ω), which is
infinite at ω = -1. With θ = πj/L, c = cos θ, s = sin θ, z is 2i tan θ; multiplied by c² everything is finite, nothing
is divided by zero, no power of a rounded ω is needed, and the sums over the states are real matrix products
(`longvid.ssm.kernels.resolvent`). The kernel is the inverse FFT.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from longvid.ssm.kernels.resolvent import resolvent
from longvid.ssm.system import StateSpace


def cauchy_kernel(system: StateSpace, length: int, dtype: torch.dtype) -> Float[Tensor, "channel length"]:
    """Kernel of a system truncated at `length`, any parity; `dtype` is that of the result and the tiles."""
    kernel: Tensor = torch.fft.irfft(generating_function(system, length, dtype), n=length)
    return kernel


def even_cauchy_kernel(system: StateSpace, length: int, dtype: torch.dtype) -> Float[Tensor, "channel length"]:
    """The kernel of ViS4mer's released layer, whose inverse FFT does not get the length and assumes an even one.

    At odd `length` it has length - 1 taps, takes the last frequency for Nyquist, and its last tap is missing (zero
    here). Trained weights have adapted to it; at even lengths it is the exact kernel.
    """
    points = 2 * (length // 2)
    kernel = torch.fft.irfft(generating_function(system, length, dtype), n=points)
    return torch.nn.functional.pad(kernel, (0, length - points))


def generating_function(system: StateSpace, length: int, dtype: torch.dtype) -> Complex[Tensor, "channel frequency"]:
    """FFT of the kernel at the frequencies 0 .. length//2."""
    wide = system.double()
    cosine, sine = (t.to(wide.step) for t in frequencies(length, wide.step.device))
    generating: Tensor = resolvent(*coefficients(wide), cosine, sine, dtype)
    return generating


def frequencies(length: int, device: torch.device) -> tuple[Float[Tensor, " frequency"], Float[Tensor, " frequency"]]:
    """cos and sin of πj/L for j = 0 .. L//2, in float64; on the CPU where the device has none."""
    device = torch.device("cpu") if device.type == "mps" else device
    angle = torch.arange(length // 2 + 1, dtype=torch.float64, device=device) * (math.pi / length)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    if length % 2 == 0:
        cosine[-1] = 0.0  # cos(π/2) rounds to 6e-17; exactly 0 makes the limit at ω = -1 exact
    return cosine, sine


def coefficients(
    system: StateSpace,
) -> tuple[Float[Tensor, "channel 8 half"], Float[Tensor, "channel half"], Float[Tensor, "channel half"]]:
    """Rows (Re v, Re v w̄') of the four pairs cb, cp, qb, qp; |w'|²; Re w'."""
    step = system.step[:, None]
    w = (system.eigenvalues * step).expand_as(system.p)
    left = torch.stack([system.c, system.c, system.q, system.q], dim=1).conj()
    right = torch.stack([system.b, system.p, system.b, system.p], dim=1)
    v = left * right * step[:, None]
    numerators = torch.cat([v.real, (v * w.conj()[:, None]).real], dim=1)
    return numerators, w.real**2 + w.imag**2, w.real
