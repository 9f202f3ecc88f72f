"""S4 systems, one per channel: parameters, O(N) step, output map.

Letters: w eigenvalues, p and q the two low-rank vectors, b input and c output map, Δ the step; N real states stored as
n = N/2 complex ones, the other half being their conjugates. The state matrix of a channel is

    A = diag(w, w̄) - [p; p̄] [q; q̄]*

and the bilinear rule gives x_k = dA x_(k-1) + dB u_k, y_k = 2 Re Σ c̄ x_k, so the convolution kernel is
K[t] = 2 Re( c* dA^t dB ). The output map can be stored as c or *truncated*, c̃ = (I - dA^L)* c: then the kernel of
length L is the inverse FFT of a rational function, without any power of dA.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class StateSpace(NamedTuple):
    """Diagonal-plus-rank-one systems, one per channel; complex64 or complex128."""

    eigenvalues: Complex[Tensor, "*channel half"]
    """w: (half,) shared by all channels, or (channel, half)."""
    p: Complex[Tensor, "channel half"]
    q: Complex[Tensor, "channel half"]
    b: Complex[Tensor, "channel half"]
    c: Complex[Tensor, "channel half"]
    step: Float[Tensor, " channel"]
    """Δ, positive."""
    truncated_at: int = 0
    """0: `c` is the output map itself. Otherwise the length at which it is truncated."""

    @property
    def num_channels(self) -> int:
        return self.p.shape[0]

    @property
    def state_size(self) -> int:
        return 2 * self.p.shape[1]

    def double(self) -> "StateSpace":
        """The same system in complex128 where the device has it; conversions are done in this precision."""
        if self.step.device.type == "mps":
            return self
        w, p, q, b, c = (tensor.to(torch.complex128) for tensor in self[:5])
        return StateSpace(w, p, q, b, c, self.step.double(), self.truncated_at)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """2 Re Σ ā b over the last axis: the inner product of two conjugate-symmetric vectors of which half is stored."""
    return 2 * (a.conj() * b).real.sum(-1)


def advance(
    system: StateSpace, state: Complex[Tensor, "*batch channel half"], u: Float[Tensor, "*batch channel"]
) -> Complex[Tensor, "*batch channel half"]:
    """The next state dA x + dB u in O(N): both factors of the bilinear rule are diagonal plus rank one."""
    w, p, q, b = system.eigenvalues, system.p, system.q, system.b
    rate = (2 / system.step)[:, None]
    d = 1 / (rate - w)
    forward = (rate + w) * state - p * inner(q, state)[..., None] + 2 * b * u[..., None]
    correction = inner(q, d * forward) / (1 + inner(q, d * p))
    return d * (forward - p * correction[..., None])
