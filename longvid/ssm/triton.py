"""The S4 generating function by Triton: one program a channel and block of frequencies, nothing larger in memory.

The same sums as `longvid.ssm.resolvent`, but in float64 throughout: a GPU's registers hold what a CPU's cache cannot,
so the sums cost less than writing float32 tiles to memory would, and no entry needs a second look. The backward pass
computes the sums again. To torch each direction is one operator.
"""

import functools
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.errors import BackendUnavailable
from longvid.ssm.cauchy import coefficients, frequencies
from longvid.ssm.dense import truncate
from longvid.ssm.system import StateSpace

FORWARD, BACKWARD = {"BLOCK": 64, "num_warps": 2}, {"BLOCK": 256, "num_warps": 1}
"""Frequencies and warps of a program. On an H200, 1,024 channels of 11,820 steps: 0.65 and 2.4 ms, the best of 20 and
within 5 % of it (smaller blocks cost the backward pass more memory); tiles of torch's operators take 17 and 36 ms."""


def triton_kernel(system: StateSpace, length: int) -> Float[Tensor, "channel length"]:
    """K[t] for t < length. Raises BackendUnavailable where Triton does not run."""
    problem = why_no_triton(system.step.device.type)
    if problem:
        raise BackendUnavailable(f"triton does not run on this machine ({problem}); use backend='auto'")
    wide = truncate(system.double(), length)
    c, s = frequencies(wide.truncated_at, wide.step.device)
    generating: Tensor = triton_resolvent(*coefficients(wide), c, s, system.step.dtype)
    return torch.fft.irfft(generating, n=wide.truncated_at)[:, :length]


@functools.cache
def why_no_triton(device: str) -> str:
    """Empty where Triton's programs can run on this kind of device; otherwise the reason in one line."""
    if find_spec("triton") is None:
        return "the package triton is not installed"
    try:
        interpreted = _programs().forward.__class__.__name__ != "JITFunction"
    except (ImportError, OSError, RuntimeError) as error:  # a build for another driver fails in its own way
        return f"triton cannot be imported: {error}".splitlines()[0]
    if device == "cuda" or (interpreted and device == "cpu"):
        return ""
    return f"it compiles for CUDA devices, and this is a {device} one"


def _programs() -> ModuleType:
    from longvid.ssm import triton_programs

    return triton_programs


@torch.library.custom_op("longvid::triton_resolvent", mutates_args=())
def triton_resolvent(
    numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, dtype: torch.dtype
) -> Tensor:
    """k̂ (channel, frequency), complex of precision `dtype`; arguments as of `longvid.ssm.resolvent.resolvent`."""
    result = torch.empty(len(modulus), len(c), 2, dtype=dtype, device=c.device)
    grid = (len(modulus), -(-len(c) // FORWARD["BLOCK"]))
    arguments = (t.contiguous() for t in (numerators, modulus, decay, c, s))
    _programs().forward[grid](*arguments, result, len(c), HALF=modulus.shape[1], **FORWARD)
    return torch.view_as_complex(result)


@torch.library.custom_op("longvid::triton_resolvent_backward", mutates_args=())
def triton_resolvent_backward(
    numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to the first three."""
    channels, half = modulus.shape
    grid = (channels, -(-len(c) // BACKWARD["BLOCK"]))
    partial = torch.empty(*grid, 10, half, dtype=torch.float64, device=c.device)
    arguments = (t.contiguous() for t in (numerators, modulus, decay, c, s, torch.view_as_real(grad.resolve_conj())))
    _programs().backward[grid](*arguments, partial, len(c), HALF=half, **BACKWARD)
    total = partial.sum(1)
    return total[:, :8].clone(), total[:, 8].clone(), total[:, 9].clone()


@triton_resolvent.register_fake
def _(numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(len(modulus), len(c), dtype=dtype.to_complex(), device=c.device)


@triton_resolvent_backward.register_fake
def _(
    numerators: Tensor, modulus: Tensor, decay: Tensor, c: Tensor, s: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(numerators), torch.empty_like(modulus), torch.empty_like(decay)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *triton_resolvent_backward(*ctx.saved_tensors, grad), None, None, None


triton_resolvent.register_autograd(_backward, setup_context=_keep_inputs)
