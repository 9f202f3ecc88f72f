"""Segments over a dask cluster: a sliding window of submissions, the encoder in a worker plugin.

Submitting everything at once lets one video that kills its worker take the tasks queued behind it along; with a
window only the culprit fails. What kills its worker in company is tried once more alone, so an innocent neighbour is
cleared and the culprit is named.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

from distributed import Client, Future, KilledWorker, WorkerPlugin, as_completed, get_worker
from distributed.worker import Worker

from longvid.encoders import Encoder
from pipelines.extract.deadlines import watch_deadlines
from pipelines.extract.executors import Outcome, SegmentFailure, attempt_segment
from pipelines.extract.job import ExtractionJob
from pipelines.extract.segment import Segment, SegmentResult
from stores import FeatureStore

WINDOW_SECONDS = 5.0
AHEAD = 0.1
"""Share of the worker threads that have one more segment waiting at the scheduler, so that none idles in between."""


class EncoderPlugin(WorkerPlugin):
    """Builds the encoder once a worker process and keeps it, with the open store, for every segment that comes."""

    def __init__(self, job: ExtractionJob, store: FeatureStore) -> None:
        self.name = plugin_name(job)
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


def plugin_name(job: ExtractionJob) -> str:
    """The name under which a worker holds the job's encoder."""
    return f"longvid-encoder-{job.digest()}"


def run_segment(segment: Segment, name: str) -> Outcome:
    """The task: the worker's plugin does the work. Only a small record comes back."""
    plugin = cast(EncoderPlugin, get_worker().plugins[name])
    return plugin.attempt(segment)


class DaskExecutor:
    """Runs segments on the workers of `client`."""

    def __init__(
        self, client: Client, *, job: ExtractionJob, store: FeatureStore, deadline_seconds: float = 3600.0
    ) -> None:
        self._client = client
        self._name = plugin_name(job)
        self._deadline_seconds = deadline_seconds
        client.wait_for_workers(1)
        client.register_plugin(EncoderPlugin(job, store))

    @property
    def workers(self) -> int:
        """Worker processes that are there now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def _submit(self, segment: Segment) -> Future:
        return self._client.submit(run_segment, segment, self._name, pure=False)

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

        def fill() -> None:
            for segment in islice(segments, max(0, window.size() - len(running))):
                future = self._submit(segment)
                running[future] = segment
                deadline.started(future)
                ended.add(future)

        with watch_deadlines(self._client, self._deadline_seconds) as deadline:
            fill()
            for future in ended:
                segment = running.pop(future)
                outcome = self._settle(future, segment, expired=deadline.ended(future))
                future.release()
                fill()
                if isinstance(outcome, _Suspect):
                    suspects.append(outcome)
                else:
                    yield outcome

    def _settle(self, future: Future, segment: Segment, *, expired: bool) -> "Outcome | _Suspect":
        if expired:
            return _Suspect(segment, f"not done after {self._deadline_seconds:.0f} s (--deadline-seconds)")
        if future.status == "finished":
            result: SegmentResult | SegmentFailure = future.result()
            return result
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
        why = next((suspect.why for suspect in suspects if suspect.segment.key == segment.key), None)
        if why is None:
            yield segment
        else:
            suspects.append(_Suspect(segment, why))


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
