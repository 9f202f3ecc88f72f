"""Long convolution by FFT, of a size that is fast, in slices that bound the memory."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

SLICE_ELEMENTS = 1 << 22
"""Complex numbers a spectrum of one slice of the batch may hold (32 MB in complex64)."""


def fast_fft_length(minimum: int) -> int:
    """Smallest even product of 2, 3 and 5 that is at least `minimum`."""
    best = 1 << max(1, (minimum - 1).bit_length())
    five = 1
    while five < best:
        three = five
        while three < best:
            doublings = max(1, (-(-minimum // three) - 1).bit_length())
            best = min(best, three << doublings)
            three *= 3
        five *= 5
    return best


def convolve(
    u: Float[Tensor, "batch channel length"],
    kernel: Float[Tensor, "channel taps"],
    backward_kernel: Float[Tensor, "channel taps"] | None = None,
) -> Float[Tensor, "batch channel length"]:
    """y_t = Σ_s kernel[s] u_(t-s), and with a backward kernel + Σ_s backward_kernel[s] u_(t+1+s).

    Float32 or better. Only u and the kernel are kept for the backward pass; their spectra are made again there.
    """
    length = u.shape[-1]
    size = fast_fft_length(length + kernel.shape[-1])
    if backward_kernel is not None:
        # the tap for lag -(1 + s) sits at index size - 1 - s of the circular kernel
        kernel = torch.nn.functional.pad(kernel, (0, size - kernel.shape[-1]))
        kernel = kernel + torch.nn.functional.pad(backward_kernel.flip(-1), (size - backward_kernel.shape[-1], 0))
    with torch.autocast(u.device.type, enabled=False):
        result: Tensor = _Convolution.apply(u.to(kernel.dtype), kernel, size)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, kernel: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(u, kernel)
        ctx.size = size
        spectrum = torch.fft.rfft(kernel, n=size)
        result = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        for items in _slices(u, size):
            result[items] = _filtered(u[items], spectrum, size)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        u, kernel = ctx.saved_tensors
        size, (needs_u, needs_kernel, _) = ctx.size, ctx.needs_input_grad
        spectrum = torch.fft.rfft(kernel, n=size).conj() if needs_u else None
        u_grad = torch.empty(u.shape, dtype=u.dtype, device=u.device) if needs_u else None
        correlation: Tensor | None = None
        for items in _slices(u, size):
            grad_spectrum = torch.fft.rfft(grad[items], n=size)
            if needs_kernel:
                part = (torch.fft.rfft(u[items], n=size).conj_physical_() * grad_spectrum).sum(0)
                correlation = part if correlation is None else correlation.add_(part)
            if u_grad is not None and spectrum is not None:
                u_grad[items] = torch.fft.irfft(grad_spectrum.mul_(spectrum), n=size)[..., : u.shape[-1]]
        kernel_grad = None if correlation is None else torch.fft.irfft(correlation, n=size)[:, : kernel.shape[-1]]
        return u_grad, kernel_grad, None


def _filtered(u: Tensor, spectrum: Tensor, size: int) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(u, n=size).mul_(spectrum), n=size)[..., : u.shape[-1]]


def _slices(u: Tensor, size: int) -> Iterator[slice]:
    """Batch items taken together."""
    items = max(1, SLICE_ELEMENTS // (u.shape[1] * (size // 2 + 1)))
    return (slice(begin, begin + items) for begin in range(0, len(u), items))
