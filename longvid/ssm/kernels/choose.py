"""The choice of the fastest correct kernel backend on this machine.

The backends are checked and timed once per kind of machine and size, on the first call of that size (three passes of
each over a few channels), never at import. The result is kept in longvid's cache folder; where that folder does not
exist, or cannot be read or written, each process measures for itself. A backend whose kernel or gradients differ from
the recurrence's is never used, however fast, and the log says so.
"""

import logging
import math
import os
import platform
import time
from pathlib import Path

import torch
from platformdirs import user_cache_path

from longvid.files import read_json, write_json
from longvid.ssm.kernels.keops import why_no_keops
from longvid.ssm.kernels.trial import Backend, few_channels, right_ones, wants_grad
from longvid.ssm.kernels.triton import why_no_triton
from longvid.ssm.system import StateSpace

FILE_NAME = "checked-kernel-backends.json"
ROUNDS = 2

_log = logging.getLogger(__name__)
_remembered: dict[str, str] = {}


def cache_folder() -> Path | None:
    """The cache folder: `LONGVID_CACHE_DIR`, or `longvid` in the platform's cache folder.

    None where the user has no home folder: neither HOME nor an entry in the user database, as in many containers.
    """
    asked = os.environ.get("LONGVID_CACHE_DIR")
    if asked:
        return Path(asked)
    try:
        folder = user_cache_path("longvid", appauthor=False)
    except RuntimeError:  # platformdirs raises this where there is no home; older versions return "~/.cache" unexpanded
        return None
    return folder if folder.is_absolute() else None


def fastest_backend(system: StateSpace, length: int, backends: dict[str, Backend]) -> str:
    """Name of the backend to use for this system and length on this machine."""
    key = _key(system, length)
    if key not in _remembered:
        _remembered.update({k: name for k, name in _read().items() if name in backends})
    if key not in _remembered:
        right = right_ones(system, length, {name: backends[name] for name in _candidates(system)})
        _remembered[key] = _measure(system, length, right) if right else "recurrence"
        if right:
            _write(key, _remembered[key])
    return _remembered[key]


def _candidates(system: StateSpace) -> list[str]:
    """Backends worth a trial: PyKeOps was never fastest on a CPU or next to Triton, so it is not compiled there."""
    names = ["cauchy", "dense-power"]
    device = system.step.device.type
    if device == "cpu":
        return names
    if not why_no_triton(device):
        return [*names, "triton"]
    return names if why_no_keops(device) else [*names, "pykeops"]


def _key(system: StateSpace, length: int) -> str:
    """Key of a machine and size, with sizes rounded to the nearest power of two."""
    device = system.step.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    sizes = [f"{word}{_octave(size)}" for word, size in (("h", system.num_channels), ("l", length))]
    truncated = f"t{_octave(system.truncated_at)}" if system.truncated_at else "t-"
    grad = "grad" if wants_grad(system) else "plain"
    where = f"{device.type} {name} {os.cpu_count()}x{torch.get_num_threads()} torch{torch.__version__}"
    return f"{where} {system.step.dtype} n{system.state_size} {' '.join(sizes)} {truncated} {grad}"


def _octave(size: int) -> int:
    return round(math.log2(size))


def _measure(system: StateSpace, length: int, candidates: dict[str, Backend]) -> str:
    """Name of the fastest candidate on a few channels of the system itself, timed in alternating rounds."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(ROUNDS):
        for name, backend in candidates.items():
            best[name] = min(best[name], _seconds(backend, system, length))
    _log.info("kernel backends at length %d: %s", length, best)
    return min(best, key=lambda name: best[name])


def _seconds(backend: Backend, system: StateSpace, length: int) -> float:
    grad = wants_grad(system)
    with torch.enable_grad() if grad else torch.no_grad():
        trial = few_channels(system, grad)
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
    """Choices in the cache file; empty if it does not exist or is damaged."""
    folder = cache_folder()
    if folder is None:
        return {}
    try:
        held = read_json(folder / FILE_NAME)
    except (OSError, ValueError, RecursionError) as error:
        _log.debug("no remembered kernel backends: %s", error)
        return {}
    if not isinstance(held, dict):
        return {}
    return {key: name for key, name in held.items() if isinstance(name, str)}


def _write(key: str, name: str) -> None:
    """Add one choice to the cache file, which is replaced as a whole, so a reader never sees half of it."""
    folder = cache_folder()
    if folder is None:
        _log.info("the choice of kernel backend is not remembered: this user has no home folder")
        return
    try:
        write_json(folder / FILE_NAME, _read() | {key: name}, sort_keys=True)
    except OSError as error:
        _log.info("the choice of kernel backend is not remembered: %s", error)
