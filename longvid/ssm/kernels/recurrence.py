"""The kernel as its definition says: step the state, read it, step again. Slow, obvious: the reference."""

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.ssm.kernels.dense import Squares, discretise, output_row
from longvid.ssm.system import StateSpace


def recurrence_kernel(system: StateSpace, length: int) -> Float[Tensor, "channel length"]:
    """K[t] = C dA^t dB for t < length, one step after the other, in float64; returned in the system's precision."""
    dense = discretise(system.double())
    state = dense.B[..., None]
    states = []
    for _ in range(length):
        states.append(state)
        state = dense.A @ state
    row = output_row(dense, Squares(dense.A), system.truncated_at)
    return torch.einsum("hn,hnl->hl", row, torch.cat(states, dim=-1)).to(system.step.dtype)
