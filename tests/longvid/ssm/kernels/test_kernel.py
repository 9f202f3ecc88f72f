"""Every backend gives the kernel that the recurrence defines, at any length, with its gradients."""

from collections.abc import Callable

import pytest
import torch
from rounding import rounding
from torch import Tensor

from longvid.errors import DecoderError
from longvid.ssm import StateSpace, s4_kernel
from longvid.ssm.kernels import resolvent
from longvid.ssm.kernels.dense import truncate, untruncate

MakeSystem = Callable[..., StateSpace]
FAST = ["cauchy", "dense-power"]
CANCELLATION = 4
"""Sums after each other: the resolvents, their correction, the FFT, and what is lost where two nearly cancel."""
LENGTHS = [1, 2, 33, 2048, 2955, 11820, 65536]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest over the channels."""
    error = (found - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    return error.max().item()


def float32_bound(state_size: int) -> float:
    return rounding(torch.float32, terms=state_size, layers=CANCELLATION)


def channels_at(length: int) -> int:
    return 3 if length <= 4096 else 1


@pytest.mark.parametrize("truncated", [False, True], ids=["plain", "truncated"])
@pytest.mark.parametrize("length", LENGTHS)
def test_float32_kernels_equal_the_float64_recurrence(make_system: MakeSystem, length: int, truncated: bool) -> None:
    state_size = 64 if length <= 4096 else 16
    system = make_system(channels_at(length), state_size=state_size, truncated_at=length if truncated else 0)
    expected = s4_kernel(system.double(), length, backend="recurrence")
    for backend in FAST:
        assert relative_error(s4_kernel(system, length, backend=backend), expected) < float32_bound(state_size)


@pytest.mark.parametrize("length", [*LENGTHS[:-1], pytest.param(65536, marks=pytest.mark.slow)])
def test_float32_gradients_equal_those_of_the_float64_recurrence(make_system: MakeSystem, length: int) -> None:
    truncated_at = length if length > 2 else 0  # at length 1 a truncated kernel does not depend on the step
    system = make_system(3, state_size=16 if length > 4096 else 64, truncated_at=truncated_at)
    weight = torch.randn(length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gradients(system.double(), length, weight, "recurrence")
    for backend in FAST:
        for found, wanted in zip(gradients(system, length, weight.float(), backend), expected, strict=True):
            assert relative_error(found.reshape(1, -1), wanted.reshape(1, -1)) < float32_bound(state_size=64)


def gradients(system: StateSpace, length: int, weight: Tensor, backend: str) -> list[Tensor]:
    """Gradients of a weighted sum of the kernel to every tensor of the system."""
    leaves = [tensor.clone().requires_grad_() for tensor in system[:6]]
    kernel = s4_kernel(StateSpace(*leaves, system.truncated_at), length, backend=backend)
    return list(torch.autograd.grad((kernel * weight).sum(), leaves))


@pytest.mark.parametrize("length", [1024, 2048])
def test_entries_near_an_eigenvalue_are_as_exact_as_the_others(make_system: MakeSystem, length: int) -> None:
    system = make_system(64, state_size=64, truncated_at=length)
    exact = s4_kernel(system.double(), length, backend="dense-power")
    assert relative_error(s4_kernel(system, length, backend="cauchy"), exact) < rounding(torch.float32, terms=64)


@pytest.mark.parametrize("truncated_at", [0, 4, 5], ids=["plain", "longer", "shorter"])
@pytest.mark.parametrize("length", [1, 2, 5, 6])
@pytest.mark.parametrize("backend", FAST)
def test_numerical_gradients_agree(make_system: MakeSystem, backend: str, length: int, truncated_at: int) -> None:
    system = make_system(2, state_size=4, dtype=torch.complex128)
    leaves = [tensor.clone().requires_grad_() for tensor in system[:6]]

    def kernel(*tensors: Tensor) -> Tensor:
        return s4_kernel(StateSpace(*tensors, truncated_at), length, backend=backend)

    assert torch.autograd.gradcheck(kernel, leaves, fast_mode=True)


def test_tiles_of_any_size_give_the_same_kernel_and_gradients(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_system(5, truncated_at=100, dtype=torch.complex128)
    weight = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = gradients(system, 100, weight, "cauchy")
    monkeypatch.setattr(resolvent, "TILE_FREQUENCIES", 7)
    monkeypatch.setitem(resolvent.TILE_ELEMENTS, "cpu", 2 * 8 * 7)
    for tiled, plain in zip(gradients(system, 100, weight, "cauchy"), whole, strict=True):
        torch.testing.assert_close(tiled, plain)


@pytest.mark.parametrize("truncated_at", [7, 16, 33, 100])
def test_a_truncated_output_map_serves_every_length(make_system: MakeSystem, truncated_at: int) -> None:
    system = make_system(truncated_at=truncated_at, dtype=torch.complex128)
    true = s4_kernel(untruncate(system), 150, backend="recurrence")
    for length in (1, 16, 33, 34, 150):
        for backend in [*FAST, "recurrence"]:
            torch.testing.assert_close(s4_kernel(system, length, backend=backend), true[:, :length])


def test_truncating_and_solving_back_gives_the_same_output_map(make_system: MakeSystem) -> None:
    system = make_system(dtype=torch.complex128)
    there_and_back = untruncate(truncate(system, 37))
    torch.testing.assert_close(there_and_back.c, system.c)


def test_the_official_odd_kernel_is_another_one_and_even_lengths_are_exact(make_system: MakeSystem) -> None:
    odd, even = make_system(truncated_at=33), make_system(truncated_at=34)
    official = s4_kernel(odd, 33, odd_length="official")
    assert torch.all(official[:, -1] == 0)
    assert relative_error(official, s4_kernel(odd, 33)) > 0.05
    assert torch.equal(s4_kernel(even, 34, odd_length="official"), s4_kernel(even, 34, backend="cauchy"))


def test_the_official_odd_kernel_needs_an_official_length(make_system: MakeSystem) -> None:
    with pytest.raises(DecoderError, match="needs max_length"):
        s4_kernel(make_system(), 33, odd_length="official")


def test_eigenvalues_of_their_own_for_each_channel_equal_shared_ones(make_system: MakeSystem) -> None:
    system = make_system()
    apart = system._replace(eigenvalues=system.eigenvalues.repeat(3, 1))
    for backend in [*FAST, "recurrence"]:
        torch.testing.assert_close(s4_kernel(apart, 20, backend=backend), s4_kernel(system, 20, backend=backend))


def test_autocast_leaves_the_kernel_in_float32(make_system: MakeSystem) -> None:
    system = make_system(truncated_at=64)
    for backend in [*FAST, "recurrence"]:
        plain = s4_kernel(system, 64, backend=backend)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(s4_kernel(system, 64, backend=backend), plain)


def test_an_unknown_backend_and_an_empty_kernel_are_refused(make_system: MakeSystem) -> None:
    with pytest.raises(DecoderError, match=r"no kernel backend 'fast'; choose one of auto, cauchy"):
        s4_kernel(make_system(), 4, backend="fast")
    with pytest.raises(DecoderError, match="length=0"):
        s4_kernel(make_system(), 0)


@pytest.mark.parametrize("backend", FAST)
def test_one_system_that_is_no_number_leaves_the_others_alone(make_system: MakeSystem, backend: str) -> None:
    system = make_system(3)
    expected = s4_kernel(system, 300, backend=backend)
    step = system.step.clone()
    step[1] = torch.nan
    found = s4_kernel(system._replace(step=step), 300, backend=backend)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]])
