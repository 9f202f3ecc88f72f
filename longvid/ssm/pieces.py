"""Carrying a state over a sequence piece by piece, with tables that are made once.

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
"""Pieces of at most 2^6 steps: longer ones save no time and their tables grow."""


@dataclass(frozen=True)
class PieceTables:
    """What every system needs for pieces of up to 2^LEVELS steps."""

    kernel: Float[Tensor, "channel size"]
    observe: Float[Tensor, "channel size state"]
    """Row t: what a state adds to the output t steps after it (C dA^(t+1))."""
    control: Float[Tensor, "channel state size"]
    """Column t: what an input has become t steps later (dA^t dB)."""


@runtime_checkable
class Transition(Protocol):
    """How a state moves on without input."""

    def evolve(self, state: Float[Tensor, "batch channel state"], level: int) -> Float[Tensor, "batch channel state"]:
        """The state 2^level steps later."""
        ...


@dataclass(frozen=True)
class DenseTransition:
    """By full matrices: dA to the 1, 2, 4, .."""

    powers: tuple[Float[Tensor, "channel state state"], ...]

    def evolve(self, state: Float[Tensor, "batch channel state"], level: int) -> Float[Tensor, "batch channel state"]:
        """The state 2^level steps later."""
        return (self.powers[level] @ state.permute(1, 2, 0)).permute(2, 0, 1)


@dataclass(frozen=True)
class DiagonalTransition:
    """By eigenvalues: λ to the 1, 2, 4, .."""

    powers: tuple[Complex[Tensor, "channel half"], ...]

    def evolve(self, state: Float[Tensor, "batch channel state"], level: int) -> Float[Tensor, "batch channel state"]:
        """The state 2^level steps later."""
        return real_basis(complex_halves(state) * self.powers[level])


def low_rank_tables(system: StateSpace) -> tuple[PieceTables, DenseTransition]:
    """Tables of diagonal-plus-low-rank systems, made in float64, kept in the system's precision."""
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
    """(Re x_1, Im x_1, ..)."""
    return torch.view_as_real(state.contiguous()).flatten(-2)


def complex_halves(state: Float[Tensor, "*batch state"]) -> Complex[Tensor, "*batch half"]:
    """The other way."""
    return torch.view_as_complex(state.unflatten(-1, (-1, 2)).contiguous())
