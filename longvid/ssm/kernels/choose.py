"""Which kernel backend is the fastest here: measured once for each kind of machine and size, then remembered.

The measurement runs on the first call of a size (a few tens of milliseconds with at most `TRIAL_CHANNELS` channels),
never at import, and is kept in `kernel-backends.json` in longvid's cache folder. A file that cannot be read or written
costs one more measurement a process and nothing else.
"""

import json
import logging
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from longvid.ssm.kernels.keops import why_no_keops
from longvid.ssm.kernels.triton import why_no_triton
from longvid.ssm.system import StateSpace

Backend = Callable[[StateSpace, int], Tensor]

FILE_NAME = "kernel-backends.json"
TRIAL_CHANNELS = 16
ROUNDS = 2

_log = logging.getLogger(__name__)
_remembered: dict[str, str] = {}


def cache_folder() -> Path:
    """Longvid's folder for what can be made again: `LONGVID_CACHE_DIR`, or `longvid` in the platform's cache folder."""
    asked = os.environ.get("LONGVID_CACHE_DIR")
    if asked:
        return Path(asked)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "longvid"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "longvid"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longvid"


def fastest_backend(system: StateSpace, length: int, backends: dict[str, Backend]) -> str:
    """Name of the backend to use for this system and length on this machine."""
    key = _key(system, length)
    if key not in _remembered:
        _remembered.update({k: name for k, name in _read().items() if name in backends})
    if key not in _remembered:
        _remembered[key] = _measure(system, length, {name: backends[name] for name in _candidates(system)})
        _write(key, _remembered[key])
    return _remembered[key]


def _candidates(system: StateSpace) -> list[str]:
    """Backends worth a trial: PyKeOps never won on a CPU or beside Triton, so it is not compiled there unless asked."""
    names = ["cauchy", "dense-power"]
    device = system.step.device.type
    if device == "cpu":
        return names
    if not why_no_triton(device):
        return [*names, "triton"]
    return names if why_no_keops(device) else [*names, "pykeops"]


def _key(system: StateSpace, length: int) -> str:
    """Machine and size; sizes to the nearest power of two."""
    device = system.step.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    sizes = [f"{word}{_octave(size)}" for word, size in (("h", system.num_channels), ("l", length))]
    truncated = f"t{_octave(system.truncated_at)}" if system.truncated_at else "t-"
    grad = "grad" if _wants_grad(system) else "plain"
    where = f"{device.type} {name} {os.cpu_count()}x{torch.get_num_threads()} torch{torch.__version__}"
    return f"{where} {system.step.dtype} n{system.state_size} {' '.join(sizes)} {truncated} {grad}"


def _octave(size: int) -> int:
    return round(math.log2(size))


def _wants_grad(system: StateSpace) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in system[:6])


def _measure(system: StateSpace, length: int, candidates: dict[str, Backend]) -> str:
    """Fastest of the candidates on a few channels of the system itself; alternating rounds."""
    grad = _wants_grad(system)
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(ROUNDS):
        for name, backend in candidates.items():
            best[name] = min(best[name], _seconds(backend, system, length, grad))
    _log.info("kernel backends at length %d: %s", length, best)
    return min(best, key=lambda name: best[name])


def _seconds(backend: Backend, system: StateSpace, length: int, grad: bool) -> float:
    few = slice(None, TRIAL_CHANNELS)
    shared, *others = (tensor.detach() for tensor in system[:6])
    tensors = [shared if shared.ndim == 1 else shared[few], *(tensor[few] for tensor in others)]
    w, p, q, b, c, step = (tensor.clone().requires_grad_(grad) for tensor in tensors)
    with torch.enable_grad() if grad else torch.no_grad():
        trial = StateSpace(w, p, q, b, c, step, system.truncated_at)
        _wait(trial)
        begin = time.perf_counter()
        kernel = backend(trial, length)
        if grad:
            kernel.sum().backward()
        _wait(trial)
        return time.perf_counter() - begin


def _wait(system: StateSpace) -> None:
    if system.step.device.type == "cuda":
        torch.cuda.synchronize(system.step.device)


def _read() -> dict[str, str]:
    """What the file remembers; nothing if it is not there or damaged."""
    try:
        held = json.loads((cache_folder() / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        _log.debug("no remembered kernel backends: %s", error)
        return {}
    if not isinstance(held, dict):
        return {}
    return {key: name for key, name in held.items() if isinstance(name, str)}


def _write(key: str, name: str) -> None:
    """Add one line to the file; it is replaced whole, so a reader never sees half of it."""
    folder = cache_folder()
    partial = folder / f"{FILE_NAME}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(_read() | {key: name}, indent=1, sort_keys=True), encoding="utf-8")
        partial.replace(folder / FILE_NAME)
    except OSError as error:
        _log.info("the choice of kernel backend is not remembered: %s", error)
