"""The S4 kernel from its generating function, in real arithmetic that never divides by zero.

At ω = exp(-2πi j/L) the truncated generating function is a sum of simple fractions in z = 2(1-ω)/(1+ω), which blows up
at ω = -1. With θ = πj/L, c = cos θ, s = sin θ, z = 2i tan θ and everything multiplied through by c² (v already times Δ,
w' = Δw):

    R_ab = 2 Σ_n ( 2is Re v_ab - c Re(v_ab w̄') ) / ( c²|w'|² - 4s² - 4isc Re w' ),   v_ab = ā b,  a ∈ {c̃, q}, b ∈ {b, p}
    k̂ = ( R_cb - c R_cp R_qb / (1 + c R_qp) ) (c + is)

so the sums over n are real matrix products of eight coefficient rows with the real and imaginary part of one
reciprocal. Memory beyond the result is one tile of (channels, n, frequencies); the backward pass makes the tiles again.

Two things are done in float64 though the tiles are float32: everything of size (channel, n), and the real part of the
denominator, a difference that cancels where a frequency meets an eigenvalue.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from longvid.ssm.system import StateSpace

TILE_FREQUENCIES = 512
TILE_ELEMENTS = {"cpu": 1 << 17, "cuda": 1 << 25}
"""(channel, n, frequency) cells a tile: on a CPU its three float32 arrays stay in the second-level cache."""


def cauchy_kernel(system: StateSpace, length: int, dtype: torch.dtype) -> Float[Tensor, "channel length"]:
    """Kernel of a system truncated at `length`, any parity; `dtype` is that of the result and the tiles."""
    return torch.fft.irfft(generating_function(system, length, dtype), n=length)


def even_cauchy_kernel(system: StateSpace, length: int, dtype: torch.dtype) -> Float[Tensor, "channel length"]:
    """What ViS4mer's released layer uses at odd `length`, where its inverse FFT is not told the length.

    It has length - 1 taps, reads the last frequency as Nyquist, and its last tap is missing (zero here). Trained
    weights have adapted to it; at even lengths it is the exact kernel.
    """
    points = 2 * (length // 2)
    kernel = torch.fft.irfft(generating_function(system, length, dtype), n=points)
    return torch.nn.functional.pad(kernel, (0, length - points))


def generating_function(system: StateSpace, length: int, dtype: torch.dtype) -> Complex[Tensor, "channel frequency"]:
    """FFT of the kernel at the frequencies 0 .. length//2."""
    wide = system.double()
    cosine, sine = (t.to(wide.step) for t in frequencies(length))
    generating: Tensor = resolvent(*coefficients(wide), cosine, sine, dtype)
    return generating


def frequencies(length: int) -> tuple[Float[Tensor, " frequency"], Float[Tensor, " frequency"]]:
    """cos and sin of πj/L for j = 0 .. L//2, in float64."""
    angle = torch.arange(length // 2 + 1, dtype=torch.float64) * (math.pi / length)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    if length % 2 == 0:
        cosine[-1] = 0.0  # cos(π/2) rounds to 6e-17; exactly 0 makes the limit at ω = -1 exact
    return cosine, sine


def coefficients(
    system: StateSpace,
) -> tuple[Float[Tensor, "channel 8 half"], Float[Tensor, "channel half"], Float[Tensor, "channel half"]]:
    """(Re v, Re v w̄') of the four pairs cb, cp, qb, qp as rows; |w'|²; Re w'."""
    step = system.step[:, None]
    w = (system.eigenvalues * step).expand_as(system.p)
    left = torch.stack([system.c, system.c, system.q, system.q], dim=1).conj()
    right = torch.stack([system.b, system.p, system.b, system.p], dim=1)
    v = left * right * step[:, None]
    numerators = torch.cat([v.real, (v * w.conj()[:, None]).real], dim=1)
    return numerators, w.real**2 + w.imag**2, w.real


@torch.library.custom_op("longvid::resolvent", mutates_args=())
def resolvent(numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, dtype: torch.dtype) -> Tensor:
    """k̂ (channel, frequency), tile by tile. One operator to torch: it is compiled, counted and traced as one."""
    result = _empty_result(modulus, c, dtype)
    rounded = numerators.to(dtype)
    for rows, columns in _tiles(modulus, c):
        real, imaginary = _reciprocals(modulus[rows], decay[rows], c[columns], s[columns], dtype)
        sums = torch.stack([rounded[rows] @ real, rounded[rows] @ imaginary])
        result[rows, columns] = woodbury(sums, c[columns].to(dtype), s[columns].to(dtype))
    return result


@torch.library.custom_op("longvid::resolvent_backward", mutates_args=())
def resolvent_backward(
    numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, grad: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to the first three; every tile is made again, so nothing of size (channel, n, frequency) is kept."""
    grads = torch.zeros_like(numerators), torch.zeros_like(modulus), torch.zeros_like(decay)
    rounded = numerators.to(dtype)
    for rows, columns in _tiles(modulus, c):
        reciprocals = _reciprocals(modulus[rows], decay[rows], c[columns], s[columns], dtype)
        cosine, sine = c[columns].to(dtype), s[columns].to(dtype)
        tile = _tile_gradients(rounded[rows], reciprocals, cosine, sine, grad[rows, columns])
        for total, part in zip(grads, tile, strict=True):
            total[rows] += part
    return grads


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
    """Of `torch.utils.flop_counter`: the two products with eight rows, and eight operations for the reciprocal."""
    cells = modulus[0] * modulus[1] * c[0]
    return cells * (2 * 2 * 8 + 8)


@register_flop_formula(torch.ops.longvid.resolvent_backward)
def _backward_operations(numerators: Any, modulus: Any, decay: Any, c: Any, *_: Any, **__: Any) -> int:
    """The same again, two products each way, and the chain through the reciprocal."""
    cells = modulus[0] * modulus[1] * c[0]
    return cells * (3 * 2 * 2 * 8 + 8 + 14)


def _tiles(modulus: Tensor, c: Tensor) -> Iterator[tuple[slice, slice]]:
    """(channels, frequencies) of each tile."""
    channels, half = modulus.shape
    elements = TILE_ELEMENTS.get(c.device.type, TILE_ELEMENTS["cuda"])
    num_columns = min(len(c), max(TILE_FREQUENCIES, elements // (channels * half)))
    num_rows = max(1, elements // (half * num_columns))
    for row in range(0, channels, num_rows):
        for column in range(0, len(c), num_columns):
            yield slice(row, row + num_rows), slice(column, column + num_columns)


def _reciprocals(modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of 1 / ( c²|w'|² - 4s² - 4isc Re w' ): (channel, half, frequency) each."""
    real = torch.addcmul(-4 * s * s, modulus[..., None], c * c).to(dtype)
    imaginary = decay.to(dtype)[..., None] * (4 * s * c).to(dtype)
    scale = (real * real).addcmul_(imaginary, imaginary).reciprocal_()
    return real.mul_(scale), imaginary.mul_(scale)


def woodbury(sums: Tensor, c: Tensor, s: Tensor) -> Tensor:
    """k̂ from the sums (2, channel, 8, frequency): real and imaginary part, four Σ Re v/D, then four Σ Re(v w̄')/D."""
    cb, cp, qb, qp = _resolvents(sums, c, s)
    return (cb - c * cp * qb / (1 + c * qp)) * torch.complex(c, s)


def _resolvents(sums: Tensor, c: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    (v_real, vw_real), (v_imaginary, vw_imaginary) = (part.split(4, dim=1) for part in sums)
    return (2 * torch.complex(-2 * s * v_imaginary - c * vw_real, 2 * s * v_real - c * vw_imaginary)).unbind(1)


def _woodbury_gradient(sums: Tensor, c: Tensor, s: Tensor, grad: Tensor) -> Tensor:
    """Gradient of `woodbury` to the sums."""
    _, cp, qb, qp = _resolvents(sums, c, s)
    inverse = 1 / (1 + c * qp)
    outer = grad * torch.complex(c, -s)
    to_cp, to_qb = -c * qb * inverse, -c * cp * inverse
    to_each = torch.stack([torch.ones_like(cp), to_cp, to_qb, to_cp * to_qb], dim=1).conj() * outer[:, None]
    real = torch.cat([4 * s * to_each.imag, -2 * c * to_each.real], dim=1)
    imaginary = torch.cat([-4 * s * to_each.real, -2 * c * to_each.imag], dim=1)
    return torch.stack([real, imaginary])


def _tile_gradients(
    numerators: Tensor, reciprocals: tuple[Tensor, Tensor], c: Tensor, s: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of one tile. With P = 1/D, dP = -P² dD, and D is linear in |w'|² and Re w'. Overwrites P."""
    real, imaginary = reciprocals
    sums = torch.stack([numerators @ real, numerators @ imaginary])
    sums_grad = _woodbury_gradient(sums, c, s, grad)
    numerators_grad = sums_grad[0] @ real.mT + sums_grad[1] @ imaginary.mT
    real_grad, imaginary_grad = numerators.mT @ sums_grad[0], numerators.mT @ sums_grad[1]
    square_real = (real * real).addcmul_(imaginary, imaginary, value=-1)
    square_imaginary = real.mul_(imaginary).mul_(2)
    denominator_real = (square_real * real_grad).addcmul_(square_imaginary, imaginary_grad)
    denominator_imaginary = square_real.mul_(imaginary_grad).addcmul_(square_imaginary, real_grad, value=-1)
    return numerators_grad, -(denominator_real @ (c * c)), denominator_imaginary @ (4 * s * c)
