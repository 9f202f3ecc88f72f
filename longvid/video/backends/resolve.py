"""From "auto", or a name a user wrote, to a backend that reads a certain file."""

import threading

from longvid.errors import BackendUnavailable, ConfigError, UnreadableVideo
from longvid.video.backends.check import BackendStatus, check_backend
from longvid.video.backends.registry import BACKENDS
from longvid.video.metadata import VideoProbe

_ONE_AT_A_TIME = threading.Lock()


def resolve_backend(video: VideoProbe, backend: str = "auto") -> str:
    """The name of the backend that will read the file, to be recorded with what is made from it.

    A named backend has to work on this machine (else BackendUnavailable). "auto" is the first that works here and has
    a decoder for the file's codec; UnreadableVideo with every backend's reason if none does. No file is ever tried: one
    that the first decoder refuses as damaged must not come to another that paints over the damage.
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
