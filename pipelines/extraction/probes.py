"""What this process knows of its files: each is read through once, however many of its segments come here."""

import threading
from functools import lru_cache
from pathlib import Path

from longvid.video import VideoProbe, probe

PROBES_KEPT = 16
"""More than are planned ahead and under way at once; the probe of a film of three hours takes 5 MB."""


def probe_once(path: str) -> VideoProbe:
    """`longvid.video.probe`, made again only where the file has changed. Threads that ask at once wait for one pass."""
    status = Path(path).stat() if Path(path).exists() else None
    return _known(path, (status.st_size, status.st_mtime_ns) if status else None).get()


class _Known:
    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._video: VideoProbe | None = None

    def get(self) -> VideoProbe:
        with self._lock:
            if self._video is None:
                self._video = probe(self._path)
            return self._video


@lru_cache(maxsize=PROBES_KEPT)
def _known(path: str, version: tuple[int, int] | None) -> _Known:
    return _Known(path)
