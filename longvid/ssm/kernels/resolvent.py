"""The sums of the S4 generating function and their gradients, in tiles.

For each channel and frequency (c = cos θ, s = sin θ) eight rows of numerators are summed over the n half-states, by
real matrix products,

    D = c²|w'|² - 4s² - 4isc Re w',   R_ab = 2 Σ_n ( 2is Re v_ab - c Re(v_ab w̄') ) / D,   a ∈ {c̃, q}, b ∈ {b, p}
    k̂ = ( R_cb - c R_cp R_qb / (1 + c R_qp) ) (c + is)

Memory beyond the result is one tile (channel, n, frequency); the backward pass computes the tiles again. Tiles are
float32. But where a frequency is close to an eigenvalue, the two terms of k̂ are a thousand times their difference: so
the real part of D, itself a difference, is rounded only once, and the entries with |c R_qp| above about `NEAR`, one in
a hundred, are computed in float64. Without this the worst channel of 64 has an error of 2e-5, with it of 2e-6.

For torch all of this is one operator, forward and backward: it is traced, compiled and counted as one.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

TILE_FREQUENCIES = 512
TILE_ELEMENTS = {"cpu": 1 << 17, "cuda": 1 << 25}
"""(channel, n, frequency) cells per tile: on a CPU its three float32 arrays fit in the second-level cache."""

NEAR = 32.0
NEAR_ENTRIES = 4096
"""Entries computed in float64 at once."""

Tile = tuple[slice, slice]


@torch.library.custom_op("longvid::resolvent", mutates_args=())
def resolvent(numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, dtype: torch.dtype) -> Tensor:
    """k̂ (channel, frequency), complex of precision `dtype`.

    Inputs are float64: numerators (channel, 8, n): Re v of cb, cp, qb, qp, then Re(v w̄') of the same; modulus |w'|² and
    decay Re w' (channel, n); c and s (frequency,).
    """
    whole = Coefficients(numerators, modulus, decay, c, s)
    result = _empty_result(modulus, c, dtype)
    for tile in whole.tiles():
        part = whole.part(tile)
        result[tile] = woodbury(part.sums(part.reciprocals(dtype)), part.c.to(dtype), part.s.to(dtype))
    if dtype != torch.float64:
        for rows, columns in whole.near():
            entries = whole.entries(rows, columns)
            exact = woodbury(entries.sums(entries.reciprocals(torch.float64)), entries.c, entries.s)
            result[rows, columns] = exact[:, 0].to(result.dtype)
    return result


@torch.library.custom_op("longvid::resolvent_backward", mutates_args=())
def resolvent_backward(
    numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, grad: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to numerators, modulus and decay."""
    whole = Coefficients(numerators, modulus, decay, c, s)
    totals = torch.zeros_like(numerators), torch.zeros_like(modulus), torch.zeros_like(decay)
    if dtype != torch.float64:
        grad = grad.clone()
        for rows, columns in whole.near():
            entries = whole.entries(rows, columns)
            wanted = grad[rows, columns].to(torch.complex128)[:, None]
            grad[rows, columns] = 0
            for total, addend in zip(totals, entries.gradients(wanted, torch.float64), strict=True):
                total.index_add_(0, rows, addend)
    for tile in whole.tiles():
        for total, addend in zip(totals, whole.part(tile).gradients(grad[tile], dtype), strict=True):
            total[tile[0]] += addend
    return totals


class Coefficients:
    """Coefficients of channels, and frequencies: one row for all channels, or one frequency per row (`entries`)."""

    def __init__(self, numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor) -> None:
        self.numerators, self.modulus, self.decay, self.c, self.s = numerators, modulus, decay, c, s

    def tiles(self) -> Iterator[Tile]:
        """(channels, frequencies) of each tile."""
        channels, half = self.modulus.shape
        elements = TILE_ELEMENTS.get(self.c.device.type, TILE_ELEMENTS["cuda"])
        num_columns = min(len(self.c), max(TILE_FREQUENCIES, elements // (channels * half)))
        num_rows = max(1, elements // (half * num_columns))
        for row in range(0, channels, num_rows):
            for column in range(0, len(self.c), num_columns):
                yield slice(row, row + num_rows), slice(column, column + num_columns)

    def part(self, tile: Tile) -> "Coefficients":
        """The coefficients of one tile."""
        rows, columns = tile
        return Coefficients(
            self.numerators[rows], self.modulus[rows], self.decay[rows], self.c[columns], self.s[columns]
        )

    def entries(self, rows: Tensor, columns: Tensor) -> "Coefficients":
        """The coefficients of single (channel, frequency) pairs."""
        c, s = self.c[columns].view(-1, 1, 1), self.s[columns].view(-1, 1, 1)
        return Coefficients(self.numerators[rows], self.modulus[rows], self.decay[rows], c, s)

    def near(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows, columns) of the entries that need float64, at most `NEAR_ENTRIES` at a time.

        |c R_qp| is about |v_qp| / |z - w'| near an eigenvalue and z runs along the imaginary axis, so for each channel
        and n these entries are an interval of frequencies.
        """
        channels, frequencies = len(self.modulus), len(self.c)
        imaginary = (self.modulus - self.decay**2).clamp(min=1e-30).sqrt()
        v_real, vw_real = self.numerators[:, 3], self.numerators[:, 7]
        v_squared = v_real**2 + ((vw_real - v_real * self.decay) / imaginary) ** 2
        reach = (v_squared / NEAR**2 - self.decay**2).clamp(min=0).sqrt()
        spacing = torch.atan2(self.s[1], self.c[1]) if frequencies > 1 else 1.0
        # a system with NaN has no near entries, and its kernel is NaN too
        first, last = (torch.atan(z / 2).nan_to_num(0) / spacing for z in (imaginary - reach, imaginary + reach))
        first, last = first.ceil().clamp(0, frequencies).long(), (last.floor() + 1).clamp(0, frequencies).long()
        inside = torch.maximum(last, first)
        steps = self.modulus.new_zeros(channels, frequencies + 1, dtype=torch.int32)
        steps.scatter_add_(1, first, torch.ones_like(first, dtype=torch.int32))
        steps.scatter_add_(1, inside, -torch.ones_like(inside, dtype=torch.int32))
        rows, columns = (steps.cumsum(1)[:, :-1] > 0).nonzero(as_tuple=True)
        return zip(rows.split(NEAR_ENTRIES), columns.split(NEAR_ENTRIES), strict=True)

    def reciprocals(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts of 1 / D: (channel, n, frequency) each."""
        c, s = self.c, self.s
        real = torch.addcmul(-4 * s * s, self.modulus[..., None], c * c).to(dtype)
        imaginary = self.decay.to(dtype)[..., None] * (4 * s * c).to(dtype)
        scale = (real * real).addcmul_(imaginary, imaginary).reciprocal_()
        return real.mul_(scale), imaginary.mul_(scale)

    def sums(self, reciprocals: tuple[Tensor, Tensor]) -> Tensor:
        """Real and imaginary parts of the sums of numerator / D: (2, channel, 8, frequency)."""
        numerators = self.numerators.to(reciprocals[0].dtype)
        return torch.stack([numerators @ part for part in reciprocals])

    def gradients(self, grad: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients to numerators, modulus and decay: with P = 1/D, dP = -P² dD, and D is linear in |w'|² and Re w'."""
        real, imaginary = self.reciprocals(dtype)
        c, s, numerators = (tensor.to(dtype) for tensor in (self.c, self.s, self.numerators))
        sums_grad = _woodbury_gradient(self.sums((real, imaginary)), c, s, grad)
        numerators_grad = sums_grad[0] @ real.mT + sums_grad[1] @ imaginary.mT
        real_grad, imaginary_grad = numerators.mT @ sums_grad[0], numerators.mT @ sums_grad[1]
        square_real = (real * real).addcmul_(imaginary, imaginary, value=-1)
        square_imaginary = real.mul_(imaginary).mul_(2)
        to_real = (square_real * real_grad).addcmul_(square_imaginary, imaginary_grad)
        to_imaginary = square_real.mul_(imaginary_grad).addcmul_(square_imaginary, real_grad, value=-1)
        modulus_grad = -(to_real @ _column(c * c))[..., 0]
        return numerators_grad, modulus_grad, (to_imaginary @ _column(4 * s * c))[..., 0]


def _column(row: Tensor) -> Tensor:
    return row[:, None] if row.ndim == 1 else row


def woodbury(sums: Tensor, c: Tensor, s: Tensor) -> Tensor:
    """k̂ (channel, frequency) from the sums (2, channel, 8, frequency)."""
    cb, cp, qb, qp = _resolvents(sums, c, s)
    return ((cb - c * cp * qb / (1 + c * qp)) * torch.complex(c, s))[:, 0]


def _resolvents(sums: Tensor, c: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    """R_cb, R_cp, R_qb, R_qp: (channel, 1, frequency) each."""
    (v_real, vw_real), (v_imaginary, vw_imaginary) = (part.split(4, dim=1) for part in sums)
    R = 2 * torch.complex(-2 * s * v_imaginary - c * vw_real, 2 * s * v_real - c * vw_imaginary)
    resolvents: tuple[Tensor, ...] = R.split(1, dim=1)
    return resolvents


def _woodbury_gradient(sums: Tensor, c: Tensor, s: Tensor, grad: Tensor) -> Tensor:
    """Gradient of `woodbury` to the sums."""
    _, cp, qb, qp = _resolvents(sums, c, s)
    inverse = 1 / (1 + c * qp)
    to_cp, to_qb = -c * qb * inverse, -c * cp * inverse
    each = torch.cat([torch.ones_like(cp), to_cp, to_qb, to_cp * to_qb], dim=1).conj()
    each = each * (grad[:, None] * torch.complex(c, -s))
    real = torch.cat([4 * s * each.imag, -2 * c * each.real], dim=1)
    imaginary = torch.cat([-4 * s * each.real, -2 * c * each.imag], dim=1)
    return torch.stack([real, imaginary])


def _empty_result(modulus: Tensor, c: Tensor, dtype: torch.dtype) -> Tensor:
    complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
    return torch.empty(len(modulus), len(c), dtype=complex_dtype, device=c.device)


@resolvent.register_fake
def _(numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, dtype: torch.dtype) -> Tensor:
    return _empty_result(modulus, c, dtype)


@resolvent_backward.register_fake
def _(
    numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, grad: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(numerators), torch.empty_like(modulus), torch.empty_like(decay)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.dtype = inputs[5]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *resolvent_backward(*ctx.saved_tensors, grad, ctx.dtype), None, None, None


resolvent.register_autograd(_backward, setup_context=_keep_inputs)


@register_flop_formula(torch.ops.longvid.resolvent)
def _operations(numerators: Any, modulus: Any, decay: Any, c: Any, *_: Any, **__: Any) -> int:
    """Count for `torch.utils.flop_counter`: two products with eight rows, and eight operations per reciprocal."""
    cells: int = modulus[0] * modulus[1] * c[0]
    return cells * (2 * 2 * 8 + 8)


@register_flop_formula(torch.ops.longvid.resolvent_backward)
def _backward_operations(numerators: Any, modulus: Any, decay: Any, c: Any, *_: Any, **__: Any) -> int:
    """Count of the sums again, two products for each gradient, and the chain rule through the reciprocal."""
    cells: int = modulus[0] * modulus[1] * c[0]
    return cells * (3 * 2 * 2 * 8 + 8 + 14)
