"""Carrying a state over a sequence in pieces, with precomputed tables.

A piece has 2^level steps; any length is a sum of such pieces. States are in the real basis, (Re x_1, Im x_1, ..).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from longvid.ssm.convolution import convolve
from longvid.ssm.kernels.dense import Squares, discretise, output_row
from longvid.ssm.system import StateSpace

LEVELS = 6
"""Pieces have at most 2^6 steps: longer ones save no time, and their tables are larger."""


@dataclass(frozen=True)
class PieceTables:
    """Tables of every system for pieces of up to 2^LEVELS steps."""

    kernel: Float[Tensor, "channel size"]
    observe: Float[Tensor, "channel size state"]
    """Row t: effect of a state on the output at step t after it (C dA^(t+1))."""
    control: Float[Tensor, "channel state size"]
    """Column t: effect of an input on the state t steps later (dA^t dB)."""


@runtime_checkable
class Transition(Protocol):
    """Evolution of a state without input."""

    def evolve(self, state: Float[Tensor, "batch channel state"], level: int) -> Float[Tensor, "batch channel state"]:
        """The state 2^level steps later."""
        ...


@dataclass(frozen=True)
class DenseTransition:
    """Evolution by full matrices: dA to the powers 1, 2, 4, .."""

    powers: tuple[Float[Tensor, "channel state state"], ...]

    def evolve(self, state: Float[Tensor, "batch channel state"], level: int) -> Float[Tensor, "batch channel state"]:
        """The state 2^level steps later."""
        return (self.powers[level] @ state.permute(1, 2, 0)).permute(2, 0, 1)


@dataclass(frozen=True)
class DiagonalTransition:
    """Evolution by eigenvalues: λ to the powers 1, 2, 4, .."""

    powers: tuple[Complex[Tensor, "channel half"], ...]

    def evolve(self, state: Float[Tensor, "batch channel state"], level: int) -> Float[Tensor, "batch channel state"]:
        """The state 2^level steps later."""
        return real_basis(complex_halves(state) * self.powers[level])


def low_rank_tables(system: StateSpace) -> tuple[PieceTables, DenseTransition]:
    """Tables of diagonal-plus-low-rank systems, computed in float64 and returned in the system's precision."""
    dense = discretise(system.double())
    squares = Squares(dense.A)
    control = dense.B[..., None]
    row = output_row(dense, squares, system.truncated_at)[:, None, :]
    rows = row
    for level in range(LEVELS):
        control = torch.cat([control, squares[level] @ control], dim=-1)
        rows = torch.cat([rows, rows @ squares[level]], dim=1)
    dtype = system.step.dtype
    tables = PieceTables((row @ control)[:, 0].to(dtype), (rows @ dense.A).to(dtype), control.to(dtype))
    return tables, DenseTransition(tuple(squares[level].to(dtype) for level in range(LEVELS + 1)))


def carry(
    tables: PieceTables,
    transition: Transition,
    u: Float[Tensor, "batch channel length"],
    state: Float[Tensor, "batch channel state"],
) -> tuple[Float[Tensor, "batch channel length"], Float[Tensor, "batch channel state"]]:
    """Outputs of u from the given state, and the state after it."""
    outputs = []
    for begin, level in _pieces(u.shape[-1]):
        size = 2**level
        part = u[..., begin : begin + size]
        seen = torch.einsum("hts,bhs->bht", tables.observe[:, :size], state)
        outputs.append(convolve(part, tables.kernel[:, :size]) + seen)
        added = torch.einsum("hst,bht->bhs", tables.control[..., :size], part.flip(-1))
        state = transition.evolve(state, level) + added
    return torch.cat(outputs, dim=-1), state


def _pieces(length: int) -> Iterator[tuple[int, int]]:
    """(first step, level) of pieces that cover `length` steps, the largest first."""
    begin = 0
    while begin < length:
        level = min(LEVELS, (length - begin).bit_length() - 1)
        yield begin, level
        begin += 2**level


def real_basis(state: Complex[Tensor, "*batch half"]) -> Float[Tensor, "*batch state"]:
    """The state as (Re x_1, Im x_1, ..)."""
    return torch.view_as_real(state.contiguous()).flatten(-2)


def complex_halves(state: Float[Tensor, "*batch state"]) -> Complex[Tensor, "*batch half"]:
    """The inverse of `real_basis`."""
    return torch.view_as_complex(state.unflatten(-1, (-1, 2)).contiguous())
