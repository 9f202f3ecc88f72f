"""Requests and bytes that reading videos from URLs costs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Traffic:
    """What was asked of places, failed requests included."""

    requests: int = 0
    read_bytes: int = 0
    retries: int = 0

    def add(self, *, requests: int = 0, read_bytes: int = 0, retries: int = 0) -> None:
        """Count more; threads may do so at once."""
        with _COUNTING:
            self.requests += requests
            self.read_bytes += read_bytes
            self.retries += retries


_COUNTING = threading.Lock()
_current: ContextVar[Traffic | None] = ContextVar("longvid_traffic", default=None)


@contextmanager
def counted_traffic() -> Iterator[Traffic]:
    """The traffic of files that are looked at or opened in the block, also of what is read from them later."""
    traffic = Traffic()
    token = _current.set(traffic)
    try:
        yield traffic
    finally:
        _current.reset(token)


def current_traffic() -> Traffic | None:
    """The count of the innermost block; None outside of any."""
    return _current.get()
