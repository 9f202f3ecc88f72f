"""A run without workers says so."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 10.0
"""Time without a worker that is not told: a nanny starts one again that died."""

_log = logging.getLogger(__name__)


@contextmanager
def watch_workers(
    count: Callable[[], int],
    address: str,
    *,
    look_seconds: float = LOOK_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Iterator[None]:
    """In the block, a warning says when the last worker has gone, and another one when there are workers again.

    `count`: the number of workers; errors of it are left to whoever else asks the scheduler.
    """
    stop = threading.Event()

    def look() -> None:
        since, told = None, False
        while not stop.wait(look_seconds):
            try:
                number = count()
            except Exception as error:  # noqa: BLE001 -- the run itself meets it too
                _log.debug("workers could not be counted: %s", error)
                continue
            if number:
                if told:
                    _log.warning("%d workers work at %s again", number, address)
                since, told = None, False
                continue
            since = time.monotonic() if since is None else since
            if not told and time.monotonic() - since >= patience_seconds:
                told = True
                _log.warning("no worker is left at %s; nothing is lost, the run waits for another one", address)

    thread = threading.Thread(target=look, name="longvid-workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
