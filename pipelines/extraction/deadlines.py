"""Deadlines: a late assignment is cancelled, its worker restarted."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distributed import Client, Future

LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS = 30.0, 5.0
"""Time between two checks, which ask the scheduler for all it has in hand: a sixtieth of the deadline, within these."""

_log = logging.getLogger(__name__)


class DeadlineWatch:
    """Cancels assignments that take too long and restarts their workers.

    Each one's time starts when it is first seen at a worker, so none expires while a cluster's jobs wait in a queue.
    One that is queued behind a piece that hangs expires with it; the executor then tries it again alone.
    """

    def __init__(self, client: Client, deadline_seconds: float) -> None:
        self._client = client
        self._deadline_seconds = deadline_seconds
        self._lock = threading.Lock()
        self._watched: dict[Future[Any], float | None] = {}
        """When each future's time started; None before."""
        self._limits: dict[Future[Any], float] = {}
        self._expired: set[Future[Any]] = set()

    # in quotes: distributed 2025.1 lacks `Future[...]` at run time
    def watch(self, limits: "Mapping[Future[Any], float] | Iterable[Future[Any]]") -> None:
        """Give each future its limit in seconds from now on, or the deadline of the run."""
        limits = dict(limits) if isinstance(limits, Mapping) else dict.fromkeys(limits, self._deadline_seconds)
        with self._lock:
            self._watched.update(dict.fromkeys(limits))
            self._limits.update(limits)

    def ended(self, futures: "Iterable[Future[Any]]") -> "set[Future[Any]]":
        """Forget the futures; return those that ended because they were late."""
        with self._lock:
            for future in futures:
                self._watched.pop(future, None)
                self._limits.pop(future, None)
            expired = self._expired.intersection(futures)
            self._expired -= expired
            return expired

    def check(self) -> None:
        """Cancel late pieces and restart the workers that hold them."""
        held_by = {key: address for address, keys in self._client.processing().items() for key in keys}
        now = time.monotonic()
        with self._lock:
            for future, begun in self._watched.items():
                if begun is None and future.key in held_by:
                    self._watched[future] = now
            late = [f for f, begun in self._watched.items() if begun is not None and now - begun > self._limits[f]]
            self._expired.update(late)
            for future in late:
                del self._watched[future], self._limits[future]
        if late:
            self._client.cancel(late, force=True)
            addresses = {held_by[future.key] for future in late if future.key in held_by}
            self._client.restart_workers(list(addresses), raise_for_error=False)


def _pause_seconds(deadline_seconds: float) -> float:
    pause = min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, deadline_seconds / 60))
    return min(pause, deadline_seconds / 4)


@contextmanager
def watch_deadlines(client: Client, deadline_seconds: float) -> Iterator[DeadlineWatch]:
    """A watch that checks deadlines in its own thread until the block ends.

    An error in a check (such as a scheduler that does not answer) is logged, once per kind, and the next check tries
    again: without a watch, a piece that hangs would hang for ever.
    """
    watch, stop = DeadlineWatch(client, deadline_seconds), threading.Event()
    told: set[type[Exception]] = set()

    def poll() -> None:
        while not stop.wait(_pause_seconds(deadline_seconds)):
            try:
                watch.check()
            except Exception as error:  # noqa: BLE001 -- logged, and tried again
                if type(error) not in told and not stop.is_set():
                    told.add(type(error))
                    _log.warning("deadlines could not be checked, trying again: %s: %s", type(error).__name__, error)

    thread = threading.Thread(target=poll, name="longvid-deadlines", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
