"""The choice of a backend for a file, from "auto" or a name."""

import threading

from longvid.errors import BackendUnavailable, ConfigError, UnreadableVideo
from longvid.video.backends.check import BackendStatus, check_backend
from longvid.video.backends.registry import BACKENDS
from longvid.video.metadata import VideoProbe

_ONE_AT_A_TIME = threading.Lock()


def resolve_backend(video: VideoProbe, backend: str = "auto") -> str:
    """The name of the backend that will read the file, to be recorded with the features.

    A named backend has to work on this machine (else BackendUnavailable). "auto" is the first that works here and has
    a decoder for the file's codec; UnreadableVideo with every backend's reason if none does. The choice never depends
    on whether a backend can read the file: one that PyAV refuses as damaged must not go to one that conceals damage.
    """
    require_backend(backend)
    if backend != "auto":
        return backend
    reasons = []
    for name, candidate in BACKENDS.items():
        if not candidate.in_auto:
            continue
        reason = _status(name).reason
        if not reason and candidate.decodes(video.header.codec):
            return name
        reasons.append(f"{name}: {reason or f'no decoder for {video.header.codec}'}")
    raise UnreadableVideo(f"{video.path}: no backend can decode it ({'; '.join(reasons)})")


def require_backend(backend: str) -> None:
    """Raise ConfigError for an unknown name, BackendUnavailable for a backend that does not work on this machine."""
    if backend == "auto":
        return
    if backend not in BACKENDS:
        raise ConfigError(f"backend={backend!r}: expected one of auto, {', '.join(BACKENDS)}")
    status = _status(backend)
    if not status.works:
        raise BackendUnavailable(f"backend {backend} does not run here: {status.reason}; {status.remedy}")


def _status(name: str) -> BackendStatus:
    """The backend's status; threads that ask at the same time wait for one trial."""
    with _ONE_AT_A_TIME:
        return check_backend(name)
