"""Jobs and hosts that end before the run does are started again.

A batch system ends a job at its time limit or for somebody else's (preemption), and a host may go away. Dask's
clusters forget such a worker. Here a job whose workers had joined and are all gone is taken off the batch system's
list, if it is there still, and an equal one is submitted. A job whose workers have not joined yet waits in the queue
and is left alone.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

LOOK_SECONDS = 5.0
GRACE_SECONDS = 30.0
"""Time without any worker after which a job is replaced: a nanny starts a worker that died within a few seconds."""

_log = logging.getLogger(__name__)


class Replacing:
    """Looks for jobs whose workers are gone. All its methods run in the cluster's event loop."""

    def __init__(self, cluster: Any, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._cluster = cluster
        self._grace_seconds = grace_seconds
        self._joined: set[Any] = set()
        self._lost_seconds: dict[Any, float] = {}
        self.num_replaced = 0

    async def look_for_ever(self, every_seconds: float = LOOK_SECONDS) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            await self.look()

    async def look(self) -> None:
        """Replace the jobs that had workers and have had none for some time."""
        present = [str(worker.name) for worker in self._cluster.scheduler.workers.values()]
        now = time.monotonic()
        ended = []
        for job in list(self._cluster.workers):
            if any(name == str(job) or name.startswith(f"{job}-") for name in present):
                self._joined.add(job)
                self._lost_seconds.pop(job, None)
            elif job in self._joined and now - self._lost_seconds.setdefault(job, now) >= self._grace_seconds:
                ended.append(job)
        for job in ended:
            self._joined.discard(job)
            del self._lost_seconds[job]
            gone = self._cluster.workers.pop(job)
            with suppress(Exception):  # a job that has ended cannot be cancelled
                await gone.close()
            self.num_replaced += 1
            _log.warning("the workers of %s are gone (time limit, preemption, a lost host?); it is started again", job)
        if ended:
            self._cluster._correct_state()


@contextmanager
def replacing(
    cluster: Any, *, look_seconds: float = LOOK_SECONDS, grace_seconds: float = GRACE_SECONDS
) -> Iterator[None]:
    """In the block, jobs of the cluster that end are replaced."""
    watch = Replacing(cluster, grace_seconds=grace_seconds)
    looking = asyncio.run_coroutine_threadsafe(watch.look_for_ever(look_seconds), cluster.loop.asyncio_loop)
    try:
        yield
    finally:
        looking.cancel()
