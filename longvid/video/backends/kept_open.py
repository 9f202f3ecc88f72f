"""Files that stay open between two pieces of one film.

Opening a container reads its index: 1.6 MB for an hour of MP4, again for every piece, a quarter of such a file in all.
A process that reads piece after piece keeps what it has opened (`keep_open`) and jumps within it, as a reader does
between distant frames. Without that call nothing is kept.
"""

import os
import threading
from collections import OrderedDict
from typing import Any

from av.container import InputContainer
from av.video.stream import VideoStream

from longvid.video.source import Source

Opened = tuple[InputContainer, VideoStream]

_lock = threading.Lock()
_most = 0
_kept: "OrderedDict[int, tuple[Any, Opened]]" = OrderedDict()


def keep_open(most: int) -> None:
    """Keep up to `most` files open in this process from now on, the latest ones; 0 closes those that are open."""
    global _most
    with _lock:
        _most = most
    _close_surplus()


def taken(path: Source, stream_index: int, num_threads: int) -> Opened | None:
    """A file that was given here under this name and has not changed since; None if there is none."""
    wanted = _identity(path, stream_index, num_threads)
    with _lock:
        for number, (identity, opened) in _kept.items():
            if identity == wanted and wanted is not None:
                del _kept[number]
                return opened
    return None


def given(path: Source, num_threads: int, opened: Opened) -> None:
    """Keep the file open for the next reader, or close it."""
    container, stream = opened
    identity = _identity(path, stream.index, num_threads)
    with _lock:
        keeps = _most > 0 and identity is not None
        if keeps:
            _kept[id(opened)] = (identity, opened)
    if not keeps:
        container.close()
    _close_surplus()


def _close_surplus() -> None:
    while True:
        with _lock:
            if len(_kept) <= _most:
                return
            _, (_, (container, _)) = _kept.popitem(last=False)
        container.close()


def _identity(path: Source, stream_index: int, num_threads: int) -> Any:
    """What must be equal for a file to be the one that was opened; None where that cannot be known."""
    if _most == 0:
        return None
    try:
        status = os.stat(path)  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):  # one at a URL is opened again: its index is among the blocks at hand
        return None
    return (str(path), stream_index, num_threads, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
