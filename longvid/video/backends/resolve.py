"""From "auto", or a name a user wrote, to a backend that reads a certain file."""

import threading

import numpy as np

from longvid.errors import BackendUnavailable, ConfigError, UnreadableVideo
from longvid.video.backends.check import BackendStatus, check_backend
from longvid.video.backends.registry import BACKENDS
from longvid.video.metadata import VideoProbe

_ONE_AT_A_TIME = threading.Lock()


def resolve_backend(video: VideoProbe, backend: str = "auto") -> str:
    """The name of the backend that will read the file, to be recorded with what is made from it.

    A named backend has to work on this machine (else BackendUnavailable). "auto" is the first that works and gives
    this file's first frame; UnreadableVideo with every backend's reason if none does.
    """
    require_backend(backend)
    if backend != "auto":
        return backend
    reasons = []
    for name in BACKENDS:
        reason = _status(name).reason or _first_frame_error(video, name)
        if not reason:
            return name
        reasons.append(f"{name}: {reason}")
    raise UnreadableVideo(f"{video.path}: no backend can decode it ({'; '.join(reasons)})")


def require_backend(backend: str) -> None:
    """Raise ConfigError for a name that is none, BackendUnavailable for one that does not work on this machine."""
    if backend == "auto":
        return
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r}: expected one of auto, {', '.join(BACKENDS)}")
    status = _status(backend)
    if not status.works:
        raise BackendUnavailable(f"backend {backend} does not run here: {status.reason}; {status.cure}")


def _status(name: str) -> BackendStatus:
    """The backend's status; threads that ask at once wait for one trial."""
    with _ONE_AT_A_TIME:
        return check_backend(name)


def _first_frame_error(video: VideoProbe, name: str) -> str:
    """Why the backend cannot read the file's first frame; empty if it can."""
    frames = BACKENDS[name].read_frames(
        video, np.array([0]), height=16, width=16, interpolation="bilinear", num_threads=1
    )
    try:
        next(frames)
    except UnreadableVideo as error:
        return str(error).removeprefix(f"{video.path}: ")
    return ""
