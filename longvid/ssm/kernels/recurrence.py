"""The S4 kernel by its definition, step by step: slow, the reference."""

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.ssm.kernels.dense import Squares, discretise, output_row
from longvid.ssm.system import StateSpace


def recurrence_kernel(system: StateSpace, length: int) -> Float[Tensor, "channel length"]:
    """Kernel K[t] = C dA^t dB for t < length, step by step in float64; returned in the system's precision."""
    return recurrence_taps(system, 0, length)


def recurrence_taps(system: StateSpace, first: int, count: int) -> Float[Tensor, "channel count"]:
    """Kernel K[t] for first <= t < first + count; the state before the first comes from a power of dA."""
    dense = discretise(system.double())
    squares = Squares(dense.A)
    state = dense.B[..., None] if first == 0 else squares.power(first) @ dense.B[..., None]
    states = []
    for _ in range(count):
        states.append(state)
        state = dense.A @ state
    row = output_row(dense, squares, system.truncated_at)
    return torch.einsum("hn,hnl->hl", row, torch.cat(states, dim=-1)).to(system.step.dtype)
