"""One line for a scheduler that goes away, whatever dask raises and logs."""

import asyncio
import concurrent.futures
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client
from distributed.comm.core import CommClosedError

from longvid.errors import SchedulerLost

_DASK_RAISES = (OSError, RuntimeError, ValueError, asyncio.CancelledError, concurrent.futures.CancelledError)
"""What a call on a client comes to whose connection is gone: a closed stream, a loop or client that is closed, a
time-out, a cancelled future."""

_CLIENT_LOG = "distributed.client"


@contextmanager
def named_if_lost(client: Client, address: str) -> Iterator[None]:
    """In the block, whatever a client raises that has lost its scheduler is `SchedulerLost`."""
    try:
        yield
    except SchedulerLost:
        raise
    except _DASK_RAISES as error:
        # the first call that meets a closed connection does so before the client knows
        if client.status == "running" and not isinstance(error, CommClosedError):
            raise
        raise SchedulerLost(
            f"the scheduler at {address} does not answer any more; what is complete is kept: give the same command "
            "again when one runs there"
        ) from error


@contextmanager
def without_tracebacks() -> Iterator[None]:
    """In the block, dask's client does not log its attempts to connect again, each with a traceback."""
    log = logging.getLogger(_CLIENT_LOG)
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
