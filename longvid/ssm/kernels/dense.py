"""Discrete S4 systems as dense real matrices, and their powers.

Real basis: (Re x_1, Im x_1, Re x_2, ...), N numbers, the layout of `torch.view_as_real`. There dA is a real matrix,
whose products cost a quarter of complex ones. Each squaring doubles the rounding error, so powers are computed in
float64.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from longvid.ssm.system import StateSpace, advance


class DenseSystem(NamedTuple):
    """Discrete systems in the real basis, one per channel: x' = A x + B u, y = C x'."""

    A: Float[Tensor, "channel state state"]
    B: Float[Tensor, "channel state"]
    C: Float[Tensor, "channel state"]


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


class Squares:
    """A, A², A⁴, ... each computed once, on first use."""

    def __init__(self, A: Float[Tensor, "channel state state"]) -> None:
        self._powers = [A]

    def __getitem__(self, level: int) -> Float[Tensor, "channel state state"]:
        """A to the power 2^level."""
        while len(self._powers) <= level:
            self._powers.append(self._powers[-1] @ self._powers[-1])
        return self._powers[level]

    def power(self, exponent: int) -> Float[Tensor, "channel state state"]:
        """A to the power `exponent`, at least 1."""
        factors = [self[level] for level in range(exponent.bit_length()) if exponent >> level & 1]
        product = factors[0]
        for factor in factors[1:]:
            product = product @ factor
        return product


def truncate(system: StateSpace, length: int) -> StateSpace:
    """The same system with its output map truncated at `length`, or at a greater length that serves for it.

    A map truncated at T serves every length up to T (the kernel is cut), and by doubling every longer one:
    c̃_2T = (I + dA^T)* c̃_T. No equation is solved, so slow channels stay exact.
    """
    if system.truncated_at >= length:
        return system
    wide = system.double()
    dense = discretise(wide)
    squares = Squares(dense.A)
    row = dense.C[:, None, :]
    reached = system.truncated_at
    if reached == 0:
        row, reached = row - row @ squares.power(length), length
    else:
        doublings = Squares(squares.power(reached))
        for level in range((-(-length // reached) - 1).bit_length()):
            row, reached = row + row @ doublings[level], 2 * reached
    return system._replace(c=_from_row(row, system.c.dtype), truncated_at=reached)


def untruncate(system: StateSpace) -> StateSpace:
    """The same system with its output map not truncated: one solve with I - dA^L per channel."""
    if system.truncated_at == 0:
        return system
    dense = discretise(system.double())
    row = output_row(dense, Squares(dense.A), system.truncated_at)
    return system._replace(c=_from_row(row[:, None, :], system.c.dtype), truncated_at=0)


def output_row(dense: DenseSystem, squares: Squares, truncated_at: int) -> Float[Tensor, "channel state"]:
    """The output map, not truncated, of a dense system whose `C` may be truncated, as a real row."""
    if truncated_at == 0:
        return dense.C
    identity = torch.eye(dense.A.shape[-1], dtype=dense.A.dtype, device=dense.A.device)
    solved: Tensor = torch.linalg.solve((identity - squares.power(truncated_at)).mT, dense.C[..., None])
    return solved[..., 0]


def _from_row(row: Float[Tensor, "channel 1 state"], dtype: torch.dtype) -> Complex[Tensor, "channel half"]:
    halves = row.reshape(row.shape[0], -1, 2) / 2
    return torch.view_as_complex(halves.contiguous()).to(dtype)
