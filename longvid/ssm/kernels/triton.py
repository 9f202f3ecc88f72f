"""The S4 generating function by Triton.

One program computes one channel and one block of frequencies; nothing larger is in memory. The sums are those of
`longvid.ssm.kernels.resolvent`, but in float64 throughout: a GPU's registers hold what a CPU's cache cannot, so this
costs less than writing float32 tiles to memory would, and no entry is computed twice. The backward pass computes the
sums again. For torch each direction is one operator, from the system to its generating function.
"""

import functools
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.errors import BackendUnavailable
from longvid.ssm.kernels.cauchy import frequencies
from longvid.ssm.kernels.dense import truncate
from longvid.ssm.system import StateSpace

FORWARD, BACKWARD = {"BLOCK": 64, "num_warps": 2}, {"BLOCK": 256, "num_warps": 1}
"""Frequencies and warps per program. On an H200, 1,024 channels of 11,820 steps take 0.65 and 2.4 ms: of 20 settings
tried, the best and one within 6 % of the best (smaller blocks cost the backward pass more memory); tiles of torch's
operators take 17 and 36 ms. Not measured: devices with slow float64 arithmetic, where `auto` can choose the tiles."""


def triton_kernel(system: StateSpace, length: int) -> Float[Tensor, "channel length"]:
    """Kernel K[t] for t < length. Raises BackendUnavailable where Triton does not run."""
    problem = why_no_triton(system.step.device.type)
    if problem:
        raise BackendUnavailable(f"triton does not run on this machine ({problem}); use backend='auto'")
    whole = system if system.truncated_at >= length else truncate(system.double(), length)
    cosine, sine = frequencies(whole.truncated_at, whole.step.device)
    generating: Tensor = triton_resolvent(*whole[:6], cosine, sine, system.step.dtype)
    kernel: Tensor = torch.fft.irfft(generating, n=whole.truncated_at)
    return kernel[:, :length]


@functools.cache
def why_no_triton(device: str) -> str:
    """Why Triton's programs cannot run on this kind of device, in one line; empty where they can."""
    if find_spec("triton") is None:
        return "the package triton is not installed"
    try:
        interpreted = _programs().forward.__class__.__name__ != "JITFunction"
    except (ImportError, OSError, RuntimeError) as error:  # a build for another driver can raise any of these
        return f"triton cannot be imported: {error}".splitlines()[0]
    if device == "cuda" or (interpreted and device == "cpu"):
        return ""
    return f"it compiles for CUDA devices, and this is a {device} one"


def _programs() -> ModuleType:
    from longvid.ssm.kernels import triton_programs

    return triton_programs


@torch.library.custom_op("longvid::triton_resolvent", mutates_args=())
def triton_resolvent(
    w: Tensor,
    p: Tensor,
    q: Tensor,
    b: Tensor,
    c: Tensor,
    step: Tensor,
    cosine: Tensor,
    sine: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """k̂ (channel, frequency) of a system, complex of precision `dtype`.

    w (half,) or (channel, half), p, q, b, c (channel, half), step (channel,) as in `StateSpace`, the output map
    truncated; cosine and sine (frequency,) in float64.
    """
    channels, half = p.shape
    num_frequencies = len(cosine)
    table = _table(w, p, q, b, c, step)
    result = torch.empty(channels, num_frequencies, 2, dtype=dtype, device=p.device)
    grid = (channels, -(-num_frequencies // FORWARD["BLOCK"]))
    _programs().forward[grid](table, cosine, sine, result, num_frequencies, HALF=half, **FORWARD)
    return torch.view_as_complex(result)


@torch.library.custom_op("longvid::triton_resolvent_backward", mutates_args=())
def triton_resolvent_backward(
    w: Tensor, p: Tensor, q: Tensor, b: Tensor, c: Tensor, step: Tensor, cosine: Tensor, sine: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to w, p, q, b, c and step."""
    channels, half = p.shape
    num_blocks = -(-len(cosine) // BACKWARD["BLOCK"])
    partial = torch.empty(channels, num_blocks, 10, half, dtype=torch.float64, device=p.device)
    table = _table(w, p, q, b, c, step)
    grid = (channels, num_blocks)
    _programs().backward[grid](table, cosine, sine, _pairs(grad), partial, len(cosine), HALF=half, **BACKWARD)
    grads = [torch.empty_like(_pairs(tensor)) for tensor in (p, p, q, b, c)]
    step_grad = torch.empty_like(step, memory_format=torch.contiguous_format)
    _programs().pull_back[(channels,)](
        *_system(w, p, q, b, c, step), partial.sum(1), *grads, step_grad, _w_stride(w), **_a_channel(half)
    )
    to_w, to_p, to_q, to_b, to_c = (torch.view_as_complex(tensor) for tensor in grads)
    return to_w.sum(0) if w.ndim == 1 else to_w, to_p, to_q, to_b, to_c, step_grad


def _table(w: Tensor, p: Tensor, q: Tensor, b: Tensor, c: Tensor, step: Tensor) -> Tensor:
    """The ten coefficients of each (channel, state): (channel, 10, half), float64."""
    channels, half = p.shape
    table = torch.empty(channels, 10, half, dtype=torch.float64, device=p.device)
    _programs().prepare[(channels,)](*_system(w, p, q, b, c, step), table, _w_stride(w), **_a_channel(half))
    return table


def _system(*tensors: Tensor) -> Iterator[Tensor]:
    return (_pairs(tensor) if tensor.is_complex() else tensor.contiguous() for tensor in tensors)


def _pairs(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj().contiguous())


def _a_channel(half: int) -> dict[str, int]:
    """Constants of the programs that take one channel each: its half-states, and the power of two above them."""
    return {"HALF": half, "PADDED": 1 << (half - 1).bit_length(), "num_warps": 1}


def _w_stride(w: Tensor) -> int:
    return w.shape[-1] if w.ndim == 2 else 0


@triton_resolvent.register_fake
def _(
    w: Tensor,
    p: Tensor,
    q: Tensor,
    b: Tensor,
    c: Tensor,
    step: Tensor,
    cosine: Tensor,
    sine: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    return torch.empty(len(p), len(cosine), dtype=dtype.to_complex(), device=p.device)


@triton_resolvent_backward.register_fake
def _(
    w: Tensor, p: Tensor, q: Tensor, b: Tensor, c: Tensor, step: Tensor, cosine: Tensor, sine: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    to_w, to_p, to_q, to_b, to_c, to_step = (
        torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (w, p, q, b, c, step)
    )
    return to_w, to_p, to_q, to_b, to_c, to_step


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:8])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *triton_resolvent_backward(*ctx.saved_tensors, grad), None, None, None


triton_resolvent.register_autograd(_backward, setup_context=_keep_inputs)
