"""Who runs the segments: this process, or the workers of a dask cluster. Both have one method, `run`."""

import threading
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from longvid.encoders import Encoder
from longvid.errors import LongvidError
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.segment import Segment, SegmentResult, extract_segment
from longvid.pipelines.machine.cores import available_cores
from longvid.stores import FeatureStore, StoreAccessError, StoreError

SEGMENTS_IN_FLIGHT = 2
"""Per encoder: one segment's clips are in the model while another's are decoded and a third one's shard is written."""

MOST_DECODED_AT_ONCE = 8
"""By one process for a GPU, which takes clips faster than any core decodes them. With more, the threads of a process
wait for each other: beside an H200, 2, 8 and 16 segments decoded 54, 121 and 104 s of 640 x 360 video a second."""


def segments_in_flight(device: str, cores: int) -> int:
    """Segments that a process with an encoder on this device and so many cores works on at once."""
    if not device.startswith("cuda"):
        return SEGMENTS_IN_FLIGHT
    return max(SEGMENTS_IN_FLIGHT, min(MOST_DECODED_AT_ONCE, cores))


@dataclass(frozen=True)
class SegmentFailure:
    """A segment that could not be made, and why."""

    key: str
    shard_index: int
    reason: str
    fatal: bool = False
    """The store cannot be written: no other segment can succeed either."""


Outcome = SegmentResult | SegmentFailure


@runtime_checkable
class Executor(Protocol):
    """Runs segments in any order; every segment comes back as exactly one outcome."""

    @property
    def workers(self) -> int:
        """Encoders that run at once."""
        ...

    def run(self, segments: Iterable[Segment]) -> Iterator[Outcome]:
        """Outcomes as they end; segments are taken from the iterable only as places become free."""
        ...


def attempt_segment(
    segment: Segment, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob, model_lock: threading.Lock
) -> Outcome:
    """`extract_segment` with what it raises made into a named failure: one bad video must not end the others."""
    try:
        return extract_segment(segment, encoder=encoder, store=store, job=job, model_lock=model_lock)
    except StoreAccessError as error:
        return SegmentFailure(segment.key, segment.shard_index, str(error), fatal=True)
    except (LongvidError, StoreError) as error:
        return SegmentFailure(segment.key, segment.shard_index, str(error))
    except Exception as error:  # noqa: BLE001 -- a decoder's or a model's own error, told in full in the report
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{segment.path}: {type(error).__name__}: {error} (at {where.filename}:{where.lineno})"
        return SegmentFailure(segment.key, segment.shard_index, reason)


class SerialExecutor:
    """One encoder in this process; needs no dask."""

    workers = 1

    def __init__(self, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob) -> None:
        self._encoder = encoder
        self._store = store
        self._job = job

    def run(self, segments: Iterable[Segment]) -> Iterator[Outcome]:
        """Outcomes as they end, `segments_in_flight` of them in work at a time."""
        lock = threading.Lock()
        at_once = segments_in_flight(self._job.resolve_device(), available_cores())

        def attempt(segment: Segment) -> Outcome:
            return attempt_segment(segment, encoder=self._encoder, store=self._store, job=self._job, model_lock=lock)

        with ThreadPoolExecutor(at_once, thread_name_prefix="longvid-segment") as pool:
            running: set[Future[Outcome]] = set()
            for segment in segments:
                running.add(pool.submit(attempt, segment))
                if len(running) >= at_once:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)
