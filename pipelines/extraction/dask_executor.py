"""Segments over a dask cluster: a sliding window of submissions, the encoder in a worker plugin.

Submitting everything at once lets one video that kills its worker take the tasks queued behind it along; with a
window only the culprit fails. What kills its worker in company is tried once more alone, so an innocent neighbour is
cleared and the culprit is named.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import cast
from uuid import uuid4

from distributed import Client, Future, KilledWorker, WorkerPlugin, as_completed, get_worker
from distributed.worker import Worker

from longvid.encoders import Encoder
from longvid.pipelines.extraction.deadlines import DeadlineWatch, watch_deadlines
from longvid.pipelines.extraction.executors import Outcome, SegmentFailure, attempt_segment
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.segment import Segment
from longvid.stores import FeatureStore

WINDOW_SECONDS = 5.0
AHEAD = 0.5
"""Segments that wait at the workers, as a share of their threads: one for each worker, so that none ever waits for the
scheduler between two segments."""

PATIENCE_SECONDS = 10.0
"""After which somebody who waits for a first worker is told so."""

TOGETHER = 32
"""Segments that go to the scheduler in one message, where there is room: alone each costs it 1.8 ms instead of 0.8. Not
more, since the workers wait while the first ones are planned."""

_log = logging.getLogger(__name__)


class SegmentPlugin(WorkerPlugin, ABC):
    """What every worker of a run holds, and how it makes an outcome out of a segment.

    Each run has a name of its own, so that two runs on one cluster never write into each other's store.
    """

    def __init__(self) -> None:
        self.name = f"longvid-{uuid4().hex}"

    @abstractmethod
    def attempt(self, segment: Segment) -> Outcome:
        """Does one segment, in the worker."""


class EncoderPlugin(SegmentPlugin):
    """Builds the encoder once a worker process and keeps it, with the open store, for every segment that comes."""

    def __init__(self, job: ExtractionJob, store: FeatureStore) -> None:
        super().__init__()
        self._job = job
        self._store = store

    def setup(self, worker: Worker) -> None:
        """Called by dask in every worker, also in those that join later or restart."""
        import torch

        if self._job.torch_threads is not None:
            torch.set_num_threads(self._job.torch_threads)
        self.encoder: Encoder = self._job.build()
        self.lock = threading.Lock()

    def attempt(self, segment: Segment) -> Outcome:
        """One segment with this worker's encoder."""
        return attempt_segment(segment, encoder=self.encoder, store=self._store, job=self._job, model_lock=self.lock)


def run_segment(segment: Segment, name: str) -> Outcome:
    """The task: the worker's plugin does the work. Only a small record comes back."""
    plugin = cast(SegmentPlugin, get_worker().plugins[name])
    return plugin.attempt(segment)


class DaskExecutor:
    """Runs segments on the workers of `client`; inside the `with` block each of them holds `plugin`."""

    def __init__(self, client: Client, plugin: SegmentPlugin, *, deadline_seconds: float = 3600.0) -> None:
        self._client = client
        self._plugin = plugin
        self._deadline_seconds = deadline_seconds

    def __enter__(self) -> "DaskExecutor":
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        except TimeoutError:
            # a queue may take hours, so this is no error; but whoever waits should know for what
            address = self._client.scheduler_info()["address"]
            _log.warning("no worker has joined %s yet; waiting for the first", address)
            self._client.wait_for_workers(1)
        self._client.register_plugin(self._plugin)
        return self

    def __exit__(self, *exc: object) -> None:
        # a cluster that goes on running gets its memory back
        with suppress(OSError):
            self._client.unregister_worker_plugin(self._plugin.name)

    @property
    def workers(self) -> int:
        """Worker processes that are there now."""
        return len(self._client.nthreads())

    def run(self, segments: Iterable[Segment]) -> Iterator[Outcome]:
        """Outcomes as they end; at most a window of segments is with the scheduler at any time."""
        suspects: list[_Suspect] = []
        yield from self._slide(_set_aside(segments, suspects), suspects)
        guilty: dict[str, str] = {}
        for suspect in suspects:
            segment = suspect.segment
            if segment.key not in guilty:
                again: list[_Suspect] = []
                yield from self._slide(iter([segment]), again)
                guilty |= {one.segment.key: one.why for one in again}
            if segment.key in guilty:
                reason = f"{segment.path}: {guilty[segment.key]}, also when it ran alone"
                yield SegmentFailure(segment.key, segment.shard_index, reason)

    def _slide(self, segments: Iterator[Segment], suspects: list["_Suspect"]) -> Iterator[Outcome]:
        """Outcomes of the segments, but of those that took their worker along: they join the suspects."""
        running: dict[Future, Segment] = {}
        ended = as_completed(loop=self._client.loop, raise_errors=False)
        window = _Window(self._client)
        outcomes: list[Outcome] = []
        left = True
        with watch_deadlines(self._client, self._deadline_seconds) as deadline:
            while running or left:
                room = max(0, window.size() - len(running))
                batch = list(islice(segments, min(room, TOGETHER)))
                left = room == 0 or bool(batch)
                if batch:
                    futures = self._client.map(
                        run_segment, batch, name=self._plugin.name, pure=False, fifo_timeout="0 s"
                    )
                    running.update(zip(futures, batch, strict=True))
                    deadline.watch(futures)
                    ended.update(futures)
                yield from outcomes  # while the workers have enough to do
                outcomes = []
                # with room left the loop goes on at once; else it waits for the next segment to end
                for settled in self._settle(ended.next_batch(block=not batch) if running else [], running, deadline):
                    if isinstance(settled, _Suspect):
                        suspects.append(settled)
                    else:
                        outcomes.append(settled)
        yield from outcomes

    def _settle(
        self, ended: list[Future], running: dict[Future, Segment], deadline: DeadlineWatch
    ) -> Iterator["Outcome | _Suspect"]:
        """What became of the futures, which leave `running`. Their outcomes come over the network all at once."""
        expired = deadline.ended(ended)
        finished = {f.key: f for f in ended if f.status == "finished" and f not in expired}
        # None for one that was lost with its worker after all, and whose segment then failed when it was done again
        outcomes = self._client.gather(finished, errors="skip") if finished else {}
        for future in ended:
            segment = running.pop(future)
            yield outcomes.get(future.key) or self._fault(future, segment, expired=future in expired)
            future.release()

    def _fault(self, future: Future, segment: Segment, *, expired: bool) -> "SegmentFailure | _Suspect":
        """Why the future has no outcome."""
        if expired:
            return _Suspect(segment, f"not done after {self._deadline_seconds:.0f} s (--deadline-seconds)")
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            return _Suspect(segment, "its decoder or encoder killed the worker process")
        return SegmentFailure(segment.key, segment.shard_index, f"{segment.path}: {error or future.status}")


@dataclass(frozen=True)
class _Suspect:
    """A segment whose worker died or hung with it; a neighbour in the same process may have been the cause."""

    segment: Segment
    why: str


def _set_aside(segments: Iterable[Segment], suspects: list[_Suspect]) -> Iterator[Segment]:
    """The segments but those of a video that is suspected by then: they join the suspects, and take no worker along."""
    for segment in segments:
        suspected = next((suspect for suspect in suspects if suspect.segment.key == segment.key), None)
        if suspected is None:
            yield segment
        else:
            suspects.append(_Suspect(segment, suspected.why))


class _Window:
    """How many segments may be with the scheduler; grows and shrinks with the cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._size, self._asked = 0, float("-inf")

    def size(self) -> int:
        """A segment a worker thread, and `AHEAD` more. The scheduler is asked again every few seconds only."""
        if time.monotonic() - self._asked > WINDOW_SECONDS:
            threads = sum(self._client.nthreads().values())
            self._size, self._asked = max(1, threads + round(threads * AHEAD)), time.monotonic()
        return self._size
