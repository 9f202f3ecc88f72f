"""Convolution by FFT equals the sum that defines it."""

import pytest
import torch
from torch import Tensor

from longvid.ssm import convolution
from longvid.ssm.convolution import convolve, fast_fft_length


def slow(u: Tensor, kernel: Tensor, backward_kernel: Tensor) -> Tensor:
    """y_t = Σ_s kernel[s] u_(t-s) + Σ_s backward_kernel[s] u_(t+1+s)."""
    y = torch.zeros_like(u)
    for t in range(u.shape[-1]):
        for s in range(kernel.shape[-1]):
            if t - s >= 0:
                y[..., t] += kernel[:, s] * u[..., t - s]
            if t + 1 + s < u.shape[-1]:
                y[..., t] += backward_kernel[:, s] * u[..., t + 1 + s]
    return y


@pytest.mark.parametrize("slice_elements", [1, 30, 1 << 22], ids=["one by one", "some", "at once"])
@pytest.mark.parametrize(("length", "taps"), [(1, 1), (7, 7), (7, 3), (5, 9)])
def test_convolution_equals_the_double_sum_with_its_gradients(
    length: int, taps: int, slice_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(convolution.SLICE_ELEMENTS, "cpu", slice_elements)
    generator = torch.Generator().manual_seed(length)
    u = torch.randn(3, 2, length, dtype=torch.float64, generator=generator).requires_grad_()
    kernels = torch.randn(2, 2, taps, dtype=torch.float64, generator=generator).requires_grad_().unbind(0)
    torch.testing.assert_close(convolve(u, *kernels), slow(u, *kernels))
    torch.testing.assert_close(convolve(u, kernels[0]), slow(u, kernels[0], torch.zeros_like(kernels[1])))
    assert torch.autograd.gradcheck(convolve, (u, *kernels), fast_mode=True)


def test_fft_lengths_are_the_smallest_multiples_of_16_that_are_products_of_2_3_and_5() -> None:
    def is_fast(number: int) -> bool:
        for prime in (2, 3, 5):
            while number % prime == 0:
                number //= prime
        return number == 1

    cpu = torch.device("cpu")
    for minimum in [*range(1, 300), 2955, 11821, 23639]:
        first = -(-minimum // 16) * 16
        assert fast_fft_length(minimum, cpu) == next(n for n in range(first, 2 * first + 1, 16) if is_fast(n))


def test_on_a_gpu_fft_lengths_have_no_other_odd_factor_than_one_three() -> None:
    allowed = sorted(factor << power for factor in (1, 3) for power in range(4, 20))
    for minimum in [*range(1, 300), 2955, 11821, 23639, 24577]:
        expected = next(length for length in allowed if length >= minimum)
        assert fast_fft_length(minimum, torch.device("cuda")) == expected
