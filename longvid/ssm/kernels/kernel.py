"""The S4 kernel as a pure function with interchangeable backends.

`s4_kernel(system, length)` is K[t] = 2 Re( c* dA^t dB ) for t < length with every backend: an output map truncated at
another length is converted, on a copy of the system. Float32 or better, even under autocast.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.errors import DecoderError
from longvid.ssm.kernels.cauchy import cauchy_kernel, even_cauchy_kernel
from longvid.ssm.kernels.choose import fastest_backend
from longvid.ssm.kernels.dense import truncate
from longvid.ssm.kernels.keops import keops_kernel
from longvid.ssm.kernels.powers import dense_power_kernel
from longvid.ssm.kernels.recurrence import recurrence_kernel
from longvid.ssm.kernels.triton import triton_kernel
from longvid.ssm.system import StateSpace


def kernel_by_cauchy(system: StateSpace, length: int) -> Tensor:
    """The kernel by its generating function in real tiles; the fastest on a CPU at most sizes."""
    wide = truncate(system.double(), length)
    return cauchy_kernel(wide, wide.truncated_at, system.step.dtype)[:, :length]


BACKENDS: dict[str, Callable[[StateSpace, int], Tensor]] = {
    "cauchy": kernel_by_cauchy,
    "dense-power": dense_power_kernel,
    "pykeops": keops_kernel,
    "recurrence": recurrence_kernel,
    "triton": triton_kernel,
}


def s4_kernel(
    system: StateSpace, length: int, *, backend: str = "auto", odd_length: str = "exact"
) -> Float[Tensor, "channel length"]:
    """Convolution kernel of every channel, `length` taps.

    `odd_length="official"` does what ViS4mer's released layer does where its internal length is odd (see
    `even_cauchy_kernel`); it needs a truncated output map, and `backend` then has no effect.
    Raises DecoderError for a length below 1 or an unknown backend.
    """
    if length < 1:
        raise DecoderError(f"length={length}: a kernel has at least one tap")
    with torch.autocast(system.step.device.type, enabled=False):
        if odd_length == "official":
            return _official_kernel(system, length)
        if backend == "auto":
            backend = fastest_backend(system, length, BACKENDS)
        if backend not in BACKENDS:
            raise DecoderError(f"no kernel backend {backend!r}; choose one of auto, {', '.join(BACKENDS)}")
        return BACKENDS[backend](system, length)


def _official_kernel(system: StateSpace, length: int) -> Tensor:
    if system.truncated_at == 0:
        raise DecoderError("odd_length='official' needs max_length: only a truncated output map has an official length")
    wide = truncate(system.double(), length)
    return even_cauchy_kernel(wide, wide.truncated_at, system.step.dtype)[:, :length]
