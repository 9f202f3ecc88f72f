"""The starting points of state-space layers."""

import pytest
import torch
from rounding import rounding

from longvid.errors import DecoderError
from longvid.ssm.hippo import diagonal_eigenvalues, legs_low_rank, legs_matrices
from longvid.ssm.kernels.recurrence import recurrence_kernel
from longvid.ssm.system import StateSpace


@pytest.mark.parametrize("state_size", [2, 16, 64])
def test_the_low_rank_form_has_the_kernel_of_the_matrices_it_came_from(state_size: int) -> None:
    A, B = legs_matrices(state_size)
    step, length = 0.05, 40
    left = torch.eye(state_size, dtype=torch.float64) - step / 2 * A
    dA = torch.linalg.solve(left, torch.eye(state_size, dtype=torch.float64) + step / 2 * A)
    state = torch.linalg.solve(left, step * B)
    w, p, b = legs_low_rank(state_size)
    # the output map B^T in the eigenbasis is V* B: the kernel is then the same number in both bases
    system = StateSpace(w, p[None], p[None], b[None], b[None], torch.tensor([step], dtype=torch.float64))
    expected = []
    for _ in range(length):
        expected.append(B @ state)
        state = dA @ state
    torch.testing.assert_close(recurrence_kernel(system, length)[0], torch.stack(expected))


def test_the_low_rank_start_is_stable_ordered_and_has_no_free_phase() -> None:
    w, p, b = legs_low_rank(64)
    torch.testing.assert_close(w.real, torch.full_like(w.real, -0.5))
    assert torch.all(w.imag.diff() > 0)
    assert torch.all(p.real > 0)
    assert p.imag.abs().max() < rounding(torch.float64, terms=64 * 64)
    torch.testing.assert_close(b, 2**0.5 * p)


def test_diagonal_starts_are_named() -> None:
    torch.testing.assert_close(diagonal_eigenvalues(8, "lin").imag, torch.pi * torch.arange(4, dtype=torch.float64))
    assert diagonal_eigenvalues(8, "inv").imag[0] == pytest.approx(8 / torch.pi * 7)
    with pytest.raises(DecoderError, match="start='random' is not a diagonal start"):
        diagonal_eigenvalues(8, "random")


def test_an_odd_state_size_is_refused() -> None:
    with pytest.raises(DecoderError, match="state_size=7 must be even"):
        legs_low_rank(7)
