"""Probes kept by this process: each file is read through only once."""

import threading
from functools import lru_cache
from pathlib import Path

from longvid.video import VideoProbe, probe

PROBES_KEPT = 16
"""Probes kept: more than the videos planned or under way at once. The probe of a three-hour film takes 5 MB."""


def probe_once(path: str) -> VideoProbe:
    """`longvid.video.probe`, repeated only if the file has changed. Threads that ask at once share one pass."""
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
