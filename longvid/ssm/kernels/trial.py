"""A trial of kernel backends: which of them agree with the recurrence.

Kernels of a few channels are compared on several stretches of taps from start to end, for which the recurrence starts
from a power of dA. Where gradients are needed, those of a weighted sum of these taps are compared too.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from longvid.ssm.kernels.recurrence import recurrence_taps
from longvid.ssm.system import StateSpace

Backend = Callable[[StateSpace, int], Tensor]

TRIAL_CHANNELS = 16
SECTIONS, SECTION_TAPS = 4, 64
"""Number of stretches, and taps per stretch."""
CANCELLATION = 1000
"""Where a frequency is close to an eigenvalue, terms are about this many times their sum."""

_log = logging.getLogger(__name__)


def wants_grad(system: StateSpace) -> bool:
    """Whether any part of the system may need a gradient."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in system[:6])


def few_channels(system: StateSpace, grad: bool) -> StateSpace:
    """A copy of the first channels, as leaf tensors."""
    few = slice(None, TRIAL_CHANNELS)
    shared, *others = (tensor.detach() for tensor in system[:6])
    tensors = [shared if shared.ndim == 1 else shared[few], *(tensor[few] for tensor in others)]
    w, p, q, b, c, step = (tensor.clone().requires_grad_(grad) for tensor in tensors)
    return StateSpace(w, p, q, b, c, step, system.truncated_at)


class _Answer(NamedTuple):
    """A backend's kernel on some stretches of taps, and the gradients of a weighted sum of them."""

    kernel: Tensor
    gradients: list[Tensor]

    def differs_from(self, reference: "_Answer", tolerance: float) -> str:
        """What differs and by how much, relative to the reference's norm; empty if nothing does."""
        size = float(reference.kernel.norm())
        if not self._apart(self.kernel, reference.kernel, size) <= tolerance:
            return f"its kernel is off by {self._apart(self.kernel, reference.kernel, size):.1g}"
        for found, wanted in zip(self.gradients, reference.gradients, strict=True):
            apart = self._apart(found, wanted, max(size, float(wanted.norm())))
            if not apart <= tolerance:
                return f"its gradients are off by {apart:.1g}"
        return ""

    @staticmethod
    def _apart(found: Tensor, wanted: Tensor, size: float) -> float:
        return float((found.to(wanted.dtype) - wanted).norm()) / max(size, torch.finfo(torch.float32).tiny)


def right_ones(system: StateSpace, length: int, candidates: dict[str, Backend]) -> dict[str, Backend]:
    """Candidates that agree with the recurrence on the channels of the trial; the log names the others.

    A system whose own kernel is not finite proves nothing, and excludes none.
    """
    taps = min(SECTION_TAPS, length)
    starts = sorted({(length - taps) * section // (SECTIONS - 1) for section in range(SECTIONS)})

    def by_recurrence(few: StateSpace, _: int) -> Tensor:
        return torch.cat([recurrence_taps(few.double(), start, taps) for start in starts], dim=-1)

    def by(backend: Backend) -> Backend:
        def on_sections(few: StateSpace, length: int) -> Tensor:
            kernel = backend(few, length)
            return torch.cat([kernel[:, start : start + taps] for start in starts], dim=-1)

        return on_sections

    reference = _answer(by_recurrence, system, length)
    if not all(bool(part.isfinite().all()) for part in (reference.kernel, *reference.gradients)):
        return candidates
    tolerance = CANCELLATION * system.state_size * torch.finfo(system.step.dtype).eps
    right = {}
    for name, backend in candidates.items():
        problem = _answer(by(backend), system, length).differs_from(reference, tolerance)
        if problem:
            _log.warning("kernel backend %s is not used at length %d: %s", name, length, problem)
        else:
            right[name] = backend
    if not right:
        _log.warning("no fast kernel backend is correct at length %d: the slow recurrence is used", length)
    return right


def _answer(backend: Backend, system: StateSpace, length: int) -> _Answer:
    grad = wants_grad(system)
    with torch.enable_grad() if grad else torch.no_grad():
        trial = few_channels(system, grad)
        kernel = backend(trial, length)
        if not grad or length <= 2:  # the gradient to the step of a kernel truncated at 1 is zero by cancellation alone
            return _Answer(kernel.detach(), [])
        weight = torch.cos(torch.arange(kernel.shape[-1], device=kernel.device, dtype=kernel.dtype))
        gradients = torch.autograd.grad((kernel * weight).sum(), trial[:6], allow_unused=True, materialize_grads=True)
        return _Answer(kernel.detach(), list(gradients))
