"""Long convolution by FFT of a fast size, in slices of bounded memory."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

SLICE_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Complex numbers in the spectra of one slice of channels and items, at most; on a CPU they fit in the cache."""


def fast_fft_length(minimum: int, device: torch.device) -> int:
    """Smallest length of at least `minimum` whose FFT is fast: a product of 16 and of 2s, 3s and 5s.

    Sizes with few factors 2 take twice as long. On a CUDA device only powers of two and three times those: 24,000 takes
    1.4 times as long as 24,576 there (H200).
    """
    best = max(16, 1 << (minimum - 1).bit_length())
    if device.type == "cuda":
        three_quarters = 3 * best // 4
        return three_quarters if three_quarters >= max(minimum, 48) else best
    five = 16
    while five < best:
        three = five
        while three < best:
            best = min(best, three << (-(-minimum // three) - 1).bit_length())
            three *= 3
        five *= 5
    return best


def convolve(
    u: Float[Tensor, "batch channel length"],
    kernel: Float[Tensor, "channel taps"],
    backward_kernel: Float[Tensor, "channel taps"] | None = None,
) -> Float[Tensor, "batch channel length"]:
    """y_t = Σ_s kernel[s] u_(t-s), plus Σ_s backward_kernel[s] u_(t+1+s) with a backward kernel.

    Float32 or better. Only u and the kernel are kept for the backward pass, which computes their spectra again.
    """
    length = u.shape[-1]
    size = fast_fft_length(length + kernel.shape[-1], u.device)
    if backward_kernel is not None:
        # the tap for lag -(1 + s) sits at index size - 1 - s of the circular kernel
        kernel = torch.nn.functional.pad(kernel, (0, size - kernel.shape[-1]))
        kernel = kernel + torch.nn.functional.pad(backward_kernel.flip(-1), (size - backward_kernel.shape[-1], 0))
    if torch.compiler.is_compiling():  # a trace: no slices, whose number would fix the size of the batch
        spectrum = torch.fft.rfft(u.to(kernel.dtype), n=size) * torch.fft.rfft(kernel, n=size)
        convolved: Tensor = torch.fft.irfft(spectrum, n=size)
        return convolved[..., :length]
    with torch.autocast(u.device.type, enabled=False):
        # torch gives `apply` no types
        result: Tensor = _Convolution.apply(u.to(kernel.dtype), kernel, size)  # type: ignore[no-untyped-call]
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, kernel: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(u, kernel)
        ctx.size = size
        result = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        for channels, groups in _slices(u, size):
            spectrum = torch.fft.rfft(kernel[channels], n=size)
            for items in groups:
                result[items, channels] = _filtered(u[items, channels], spectrum, size)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        u, kernel = ctx.saved_tensors
        size, (needs_u, needs_kernel, _) = ctx.size, ctx.needs_input_grad
        u_grad = torch.empty(u.shape, dtype=u.dtype, device=u.device) if needs_u else None
        kernel_grad = torch.empty_like(kernel) if needs_kernel else None
        for channels, groups in _slices(u, size):
            conjugate = torch.fft.rfft(kernel[channels], n=size).conj_physical_()
            correlation = torch.zeros_like(conjugate)
            for items in groups:
                spectrum = torch.fft.rfft(grad[items, channels], n=size)
                if needs_kernel:
                    seen = torch.fft.rfft(u[items, channels], n=size).conj_physical_()
                    correlation += seen.mul_(spectrum).sum(0)
                if u_grad is not None:
                    u_grad[items, channels] = torch.fft.irfft(spectrum.mul_(conjugate), n=size)[..., : u.shape[-1]]
            if kernel_grad is not None:
                kernel_grad[channels] = torch.fft.irfft(correlation, n=size)[:, : kernel.shape[-1]]
        return u_grad, kernel_grad, None


def _filtered(u: Tensor, spectrum: Tensor, size: int) -> Tensor:
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(u, n=size).mul_(spectrum), n=size)
    return filtered[..., : u.shape[-1]]


def _slices(u: Tensor, size: int) -> Iterator[tuple[slice, list[slice]]]:
    """(slice of channels, slices of items for it), one pair per slice of channels."""
    batch, num_channels, _ = u.shape
    elements = SLICE_ELEMENTS.get(u.device.type, SLICE_ELEMENTS["cuda"])
    points = size // 2 + 1
    channels = max(1, min(num_channels, elements // points))
    items = max(1, elements // (points * channels))
    groups = [slice(begin, begin + items) for begin in range(0, batch, items)]
    return ((slice(begin, begin + channels), groups) for begin in range(0, num_channels, channels))
