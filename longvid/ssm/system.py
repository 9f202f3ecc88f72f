"""One S4 system a channel, its discretisation, and the two ways to store its output map.

Letters: w eigenvalues, p and q the two low-rank vectors, b input and c output map, Δ the step; N real states stored as
n = N/2 complex ones, the other half being their conjugates. The state matrix of a channel is

    A = diag(w, w̄) - [p; p̄] [q; q̄]*

and the bilinear rule gives x_k = dA x_(k-1) + dB u_k, y_k = 2 Re Σ c̄ x_k, so the convolution kernel is
K[t] = 2 Re( c* dA^t dB ). A *truncated* output map is c̃ = (I - dA^L)* c: with it the kernel of length L is the inverse
FFT of a rational function, without any power of dA.

Real basis: (Re x_1, Im x_1, Re x_2, ...), N numbers, the layout of `torch.view_as_real`. There dA is a real matrix.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class StateSpace(NamedTuple):
    """Diagonal-plus-rank-one systems, one a channel; complex64 or complex128."""

    eigenvalues: Complex[Tensor, "*channel half"]
    """w: (half,) shared by all channels, or (channel, half)."""
    p: Complex[Tensor, "channel half"]
    q: Complex[Tensor, "channel half"]
    b: Complex[Tensor, "channel half"]
    c: Complex[Tensor, "channel half"]
    step: Float[Tensor, " channel"]
    """Δ, positive."""
    truncated_at: int = 0
    """0: `c` is the output map itself. Otherwise the length it is truncated at."""

    @property
    def num_channels(self) -> int:
        return self.p.shape[0]

    @property
    def state_size(self) -> int:
        return 2 * self.p.shape[1]

    def double(self) -> "StateSpace":
        """The same system in complex128 (where the device has it): every conversion is done there."""
        if self.step.device.type == "mps":
            return self
        w, p, q, b, c = (tensor.to(torch.complex128) for tensor in self[:5])
        return StateSpace(w, p, q, b, c, self.step.double(), self.truncated_at)


class DenseSystem(NamedTuple):
    """The discrete system in the real basis: x' = A x + B u, y = C x'. Real, one a channel."""

    A: Float[Tensor, "channel state state"]
    B: Float[Tensor, "channel state"]
    C: Float[Tensor, "channel state"]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """2 Re Σ ā b over the last axis: the inner product of two conjugate-symmetric vectors stored by halves."""
    return 2 * (a.conj() * b).real.sum(-1)


def advance(
    system: StateSpace, state: Complex[Tensor, "*batch channel half"], u: Float[Tensor, "*batch channel"]
) -> Complex[Tensor, "*batch channel half"]:
    """dA x + dB u in O(N): both factors of the bilinear rule are diagonal plus rank one."""
    w, p, q, b = system.eigenvalues, system.p, system.q, system.b
    rate = (2 / system.step)[:, None]
    d = 1 / (rate - w)
    forward = (rate + w) * state - p * inner(q, state)[..., None] + 2 * b * u[..., None]
    correction = inner(q, d * forward) / (1 + inner(q, d * p))
    return d * (forward - p * correction[..., None])


def discretise(system: StateSpace) -> DenseSystem:
    """Dense real matrices of the bilinear rule; `C` is the stored output map, truncated or not."""
    channels, state_size = system.num_channels, system.state_size
    real = system.step.dtype
    basis = torch.eye(state_size, dtype=real, device=system.step.device).view(state_size, 1, -1, 2)
    basis = torch.view_as_complex(basis.expand(-1, channels, -1, -1).contiguous())
    columns = advance(system, basis, system.step.new_zeros(state_size, channels))
    A = torch.view_as_real(columns).reshape(state_size, channels, state_size).permute(1, 2, 0)
    B = torch.view_as_real(advance(system, torch.zeros_like(system.p), torch.ones_like(system.step)))
    C = 2 * torch.view_as_real(system.c)
    return DenseSystem(A.contiguous(), B.reshape(channels, -1), C.reshape(channels, -1))


def truncate(system: StateSpace, length: int) -> StateSpace:
    """The same system with its output map truncated at `length` or, where it is longer, at a length that contains it.

    A map truncated at T serves every length up to T (the kernel is cut) and by doubling every longer one:
    c̃_2T = (I + dA^T)* c̃_T. Nothing is solved, so slow channels stay exact.
    """
    if system.truncated_at >= length:
        return system
    wide = system.double()
    dense = discretise(wide)
    row = dense.C[:, None, :]
    reached = system.truncated_at
    if reached == 0:
        row, reached = row - row @ torch.linalg.matrix_power(dense.A, length), length
    else:
        power = torch.linalg.matrix_power(dense.A, reached)
        while reached < length:
            row, reached = row + row @ power, 2 * reached
            if reached < length:
                power = power @ power
    return system._replace(c=_from_row(row, system.c.dtype), truncated_at=reached)


def untruncate(system: StateSpace) -> StateSpace:
    """The same system with its output map itself: one solve with I - dA^L a channel."""
    if system.truncated_at == 0:
        return system
    dense = discretise(system.double())
    row = untruncated_row(dense, system.truncated_at)
    return system._replace(c=_from_row(row[:, None, :], system.c.dtype), truncated_at=0)


def untruncated_row(dense: DenseSystem, truncated_at: int) -> Float[Tensor, "channel state"]:
    """Real output row of a dense system whose `C` is truncated."""
    if truncated_at == 0:
        return dense.C
    remaining = torch.eye(dense.A.shape[-1], dtype=dense.A.dtype, device=dense.A.device) - torch.linalg.matrix_power(
        dense.A, truncated_at
    )
    return torch.linalg.solve(remaining.mT, dense.C[..., None])[..., 0]


def _from_row(row: Float[Tensor, "channel 1 state"], dtype: torch.dtype) -> Complex[Tensor, "channel half"]:
    halves = row.reshape(row.shape[0], -1, 2) / 2
    return torch.view_as_complex(halves.contiguous()).to(dtype)
