"""Probes kept by this process: each file is read through only once."""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from longvid.video import VideoProbe, probe
from longvid.video.source import source_of
from longvid.video.storage import Storage

PROBES_KEPT = 16
"""Probes kept: more than the videos planned or under way at once. The probe of a three-hour film takes 5 MB."""


def probe_once(path: str, storage: Storage | None = None) -> VideoProbe:
    """`longvid.video.probe`, repeated only if the file has changed. Threads that ask at once share one pass."""
    storage = storage or Storage()
    return _known(path, storage, _version(path, storage)).get()


def _version(path: str, storage: Storage) -> tuple[Any, ...]:
    """What changes with the file, as far as its place says."""
    source = source_of(path, storage)
    if not isinstance(source, Path):
        facts = source.look()
        return (facts.size_bytes, *facts.modified.values())
    if not source.exists():
        return ()
    status = source.stat()
    return status.st_size, status.st_mtime_ns


class _Known:
    def __init__(self, path: str, storage: Storage) -> None:
        self._path, self._storage = path, storage
        self._lock = threading.Lock()
        self._video: VideoProbe | None = None

    def get(self) -> VideoProbe:
        with self._lock:
            if self._video is None:
                self._video = probe(self._path, storage=self._storage)
            return self._video


@lru_cache(maxsize=PROBES_KEPT)
def _known(path: str, storage: Storage, version: tuple[Any, ...]) -> _Known:
    return _Known(path, storage)
