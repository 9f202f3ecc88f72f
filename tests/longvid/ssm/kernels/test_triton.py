"""Triton's programs give the kernel that the recurrence defines, with its gradients.

On a CUDA device they are compiled. Elsewhere Triton's interpreter runs them: it has to be asked for before the first
import, so the first test runs this file again in a process of its own, where the others are not skipped.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from rounding import rounding
from torch import Tensor

from longvid.errors import BackendUnavailable
from longvid.ssm import StateSpace, s4_kernel
from longvid.ssm.kernels import choose
from longvid.ssm.kernels.cauchy import frequencies
from longvid.ssm.kernels.triton import triton_resolvent, why_no_triton

MakeSystem = Callable[..., StateSpace]

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the package triton is missing")
runs_triton = pytest.mark.skipif(not (CUDA or INTERPRETED), reason="run by the test above, in Triton's interpreter")

SMALL = [(1, 16, 0), (2, 4, 0), (5, 12, 5), (33, 16, 40), (300, 64, 300), (600, 64, 0)]
"""(length, state size, truncated at): fewer frequencies than a program takes, as many, and more; odd and even."""
LARGE = [(length, 64, truncated) for length in (2048, 2955, 11820, 65536) for truncated in (0, length)]


@needs_triton
@pytest.mark.skipif(CUDA or INTERPRETED, reason="the tests below run themselves")
def test_the_interpreter_passes_the_tests_of_this_file() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
    assert f"{2 * len(SMALL) + 4} passed" in result.stdout


@needs_triton
@runs_triton
def test_memory_that_nothing_was_written_to_reads_as_nan_in_these_tests() -> None:
    assert torch.empty(1000, device=DEVICE).isnan().all()
    assert torch.empty_like(torch.ones(1000, device=DEVICE)).isnan().all()


def kernel_and_gradients(system: StateSpace, length: int, backend: str, device: str = DEVICE) -> list[Tensor]:
    """The kernel, and the gradients of a weighted sum of it to every tensor of the system."""
    leaves = [tensor.detach().to(device, copy=True).requires_grad_() for tensor in system[:6]]
    kernel = s4_kernel(StateSpace(*leaves, system.truncated_at), length, backend=backend)
    weight = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(kernel)
    return [kernel.detach().cpu(), *(grad.cpu() for grad in torch.autograd.grad((kernel * weight).sum(), leaves))]


@needs_triton
@runs_triton
@pytest.mark.parametrize(
    ("length", "state_size", "truncated_at"), [*SMALL, *(pytest.param(*size, marks=pytest.mark.gpu) for size in LARGE)]
)
def test_float32_kernel_and_gradients_equal_the_float64_recurrence(
    make_system: MakeSystem, length: int, state_size: int, truncated_at: int
) -> None:
    system = make_system(3, state_size=state_size, truncated_at=truncated_at)
    reference = "recurrence" if length <= 4096 else "dense-power"  # equal in float64: `test_kernel.py`
    expected = kernel_and_gradients(system.double(), length, reference, "cpu")
    for found, wanted in zip(kernel_and_gradients(system, length, "triton"), expected, strict=True):
        assert (found - wanted).norm() < rounding(torch.float32, terms=state_size) * wanted.norm()


@needs_triton
@runs_triton
@pytest.mark.parametrize(
    ("length", "state_size", "truncated_at"), [*SMALL, *(pytest.param(*size, marks=pytest.mark.gpu) for size in LARGE)]
)
def test_two_passes_forward_and_backward_are_equal_to_the_bit(
    make_system: MakeSystem, length: int, state_size: int, truncated_at: int
) -> None:
    """Each program writes its own part of the result, and partial sums are added up in one order."""
    system = make_system(3, state_size=state_size, truncated_at=truncated_at)
    first, second = (kernel_and_gradients(system, length, "triton") for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@needs_triton
@runs_triton
def test_numerical_gradients_agree(make_system: MakeSystem) -> None:
    system = make_system(2, state_size=4, dtype=torch.complex128)
    leaves = [tensor.to(DEVICE, copy=True).requires_grad_() for tensor in system[:6]]

    def kernel(*tensors: Tensor) -> Tensor:
        return s4_kernel(StateSpace(*tensors, 7), 6, backend="triton")

    assert torch.autograd.gradcheck(kernel, leaves, fast_mode=True)


@needs_triton
@runs_triton
def test_one_system_that_is_no_number_leaves_the_others_alone(make_system: MakeSystem) -> None:
    system = StateSpace(*(tensor.to(DEVICE) for tensor in make_system(3)[:6]), 0)
    step = system.step.clone()
    step[1] = torch.nan
    found = s4_kernel(system._replace(step=step), 300, backend="triton")
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], s4_kernel(system, 300, backend="triton")[[0, 2]])


@needs_triton
@runs_triton
def test_the_operator_is_one_that_torch_can_trace(make_system: MakeSystem) -> None:
    system = make_system(2, state_size=12, truncated_at=16)
    arguments = [tensor.to(DEVICE, copy=True).requires_grad_() for tensor in system[:6]]
    arguments += frequencies(16, arguments[0].device)
    found = torch.library.opcheck(triton_resolvent, (*arguments, torch.float32))
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.gpu
def test_on_a_gpu_auto_has_triton_to_choose(make_system: MakeSystem) -> None:
    system = StateSpace(*(tensor.to(DEVICE) for tensor in make_system(3)[:6]), 0)
    assert "triton" in choose._candidates(system)


@pytest.mark.skipif(CUDA or INTERPRETED, reason="Triton runs here")
def test_where_triton_does_not_run_it_is_refused_with_the_reason(make_system: MakeSystem) -> None:
    assert why_no_triton("cpu")
    with pytest.raises(BackendUnavailable, match=r"triton does not run on this machine \(.+\); use backend='auto'"):
        s4_kernel(make_system(), 8, backend="triton")
