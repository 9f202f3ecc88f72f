"""Initial state matrices: HiPPO-LegS and S4D's, all in float64.

Letters (S4, arXiv 2111.00396): A the state matrix, B its input column, p the low-rank correction with A + p p^T normal,
w the eigenvalues of that normal matrix, V its eigenvectors. Conjugate pairs are stored once, the half with positive
imaginary part.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from longvid.errors import DecoderError


def legs_matrices(state_size: int) -> tuple[Float[Tensor, "state state"], Float[Tensor, " state"]]:
    """HiPPO-LegS A and B in float64: the state holds the Legendre coefficients of the input's whole past."""
    index = torch.arange(state_size, dtype=torch.float64)
    root = torch.sqrt(2 * index + 1)
    A = -torch.tril(root[:, None] * root[None, :], diagonal=-1) - torch.diag(index + 1)
    return A, root


def legs_low_rank(
    state_size: int,
) -> tuple[Complex[Tensor, " half"], Complex[Tensor, " half"], Complex[Tensor, " half"]]:
    """LegS as diagonal plus rank one: (w, V* p, V* B) in complex128, ordered by rising imaginary part of w.

    A + p p^T is -1/2 plus a skew matrix; -i times the latter is Hermitian, so its solver is exact up to rounding. The
    free phase of each eigenvector is chosen to make V* p positive: the same initial values on every machine.
    """
    _require_even(state_size)
    if torch.get_default_device().type == "meta":  # only shapes are asked for, and a solver has none to give
        w, p_rotated, B_rotated = torch.empty(3, state_size // 2, dtype=torch.complex128)
        return w, p_rotated, B_rotated
    A, B = legs_matrices(state_size)
    p = torch.sqrt(torch.arange(state_size, dtype=torch.float64) + 0.5)
    skew = A + p[:, None] * p[None, :] + 0.5 * torch.eye(state_size, dtype=torch.float64)
    frequency, V = torch.linalg.eigh(-1j * skew)
    positive = frequency > 0
    frequency, V = frequency[positive], V[:, positive]
    p_rotated = V.conj().T @ p.to(V.dtype)
    phase = p_rotated / p_rotated.abs()
    w = torch.complex(torch.full_like(frequency, -0.5), frequency)
    return w, p_rotated / phase, (V.conj().T @ B.to(V.dtype)) / phase


def diagonal_eigenvalues(state_size: int, start: str) -> Complex[Tensor, " half"]:
    """Initial eigenvalues of S4D (arXiv 2206.11893): `legs` (LegS without its correction), `lin` or `inv`."""
    _require_even(state_size)
    half = torch.arange(state_size // 2, dtype=torch.float64)
    if start == "legs":
        return legs_low_rank(state_size)[0]
    if start == "lin":
        frequency = math.pi * half
    elif start == "inv":
        frequency = state_size / math.pi * (state_size / (2 * half + 1) - 1)
    else:
        raise DecoderError(f"start={start!r} is not a diagonal start; choose 'legs', 'lin' or 'inv'")
    return torch.complex(torch.full_like(frequency, -0.5), frequency)


def _require_even(state_size: int) -> None:
    if state_size < 2 or state_size % 2:
        raise DecoderError(f"state_size={state_size} must be even and at least 2: states come in conjugate pairs")
