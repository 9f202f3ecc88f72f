"""The S4 kernel as a product of two thin matrices of powers.

With M about √L, X = [dB, dA dB, .. dA^(M-1) dB] and Y = [C; C dA^M; C dA^2M; ..], K is Y X read row by row. Both grow
by doubling, so the cost is log L squarings of an N x N matrix per channel, for even and odd lengths alike, without FFT
nodes.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from longvid.ssm.kernels.dense import Squares, discretise, output_row
from longvid.ssm.system import StateSpace

GROUP_ELEMENTS = 1 << 19
"""Numbers in one power of dA, at most, which decides how many channels are computed together; the backward pass
computes each group again, so the powers of only one group are in memory at a time."""


def dense_power_kernel(system: StateSpace, length: int) -> Float[Tensor, "channel length"]:
    """Kernel K[t] = C dA^t dB for t < length."""
    w = system.eigenvalues.expand_as(system.p)
    group = max(1, GROUP_ELEMENTS // system.state_size**2)
    tensors = (w, system.p, system.q, system.b, system.c, system.step)
    groups = zip(*(tensor.split(group) for tensor in tensors), strict=True)
    parts = [
        checkpoint(_group_kernel, *members, system.truncated_at, length, use_reentrant=False, preserve_rng_state=False)
        for members in groups
    ]
    return torch.cat(parts)


def _group_kernel(
    w: Tensor, p: Tensor, q: Tensor, b: Tensor, c: Tensor, step: Tensor, truncated_at: int, length: int
) -> Tensor:
    dense = discretise(StateSpace(w, p, q, b, c, step, truncated_at).double())
    doublings = (max(length, 2) - 1).bit_length()
    inner = doublings // 2
    squares = Squares(dense.A)
    X = dense.B[..., None]
    for level in range(inner):
        X = torch.cat([X, squares[level] @ X], dim=-1)
    Y = output_row(dense, squares, truncated_at)[:, None, :]
    for level in range(inner, doublings):
        if Y.shape[1] * X.shape[-1] < length:
            Y = torch.cat([Y, Y @ squares[level]], dim=1)
    return (Y @ X).flatten(1)[:, :length].to(step.dtype)
