"""Segments that never end: each has a deadline, after which its worker is restarted."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, Future


class DeadlineWatch:
    """Frees a worker whose segment never ends: the segment is cancelled, its worker restarted."""

    def __init__(self, client: Client, deadline_seconds: float) -> None:
        self._client = client
        self._deadline_seconds = deadline_seconds
        self._lock = threading.Lock()
        self._begun: dict[Future, float] = {}
        self._expired: set[Future] = set()

    def started(self, future: Future) -> None:
        """The future's time begins."""
        with self._lock:
            self._begun[future] = time.monotonic()

    def ended(self, future: Future) -> bool:
        """Whether the future ended because its time was over."""
        with self._lock:
            self._begun.pop(future, None)
            return future in self._expired

    def check(self) -> None:
        """Cancel what is late and restart the workers that hold it."""
        now = time.monotonic()
        with self._lock:
            late = [f for f, begun in self._begun.items() if now - begun > self._deadline_seconds]
            self._expired.update(late)
            for future in late:
                del self._begun[future]
        if not late:
            return
        keys = {future.key for future in late}
        held_by = [address for address, held in self._client.processing().items() if keys & set(held)]
        self._client.cancel(late, force=True)
        self._client.restart_workers(held_by, raise_for_error=False)


@contextmanager
def watch_deadlines(client: Client, deadline_seconds: float) -> Iterator[DeadlineWatch]:
    """A watch that looks at the clock in a thread of its own until the block ends."""
    watch, stop = DeadlineWatch(client, deadline_seconds), threading.Event()

    def poll() -> None:
        while not stop.wait(min(5.0, deadline_seconds / 4)):
            watch.check()

    thread = threading.Thread(target=poll, name="longvid-deadlines", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
