"""Measures a video file for planning: its probe, clips and decoder.

Files come from anywhere, and reading one may hang or crash, so it is done in processes that can be ended. This module
does not load torch, so such a process starts in half a second.
"""

import os
import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longvid.clips.sampling import ClipPlan, Sampling
from longvid.errors import LongvidError, TruncatedVideo
from longvid.pipelines.extraction.bytes_read import counting_bytes
from longvid.pipelines.extraction.probes import probe_once
from longvid.pipelines.extraction.process import ProcessDied, WorkProcess
from longvid.pipelines.extraction.unchanged import Remembered
from longvid.pipelines.machine.cores import available_cores
from longvid.video import VideoProbe
from longvid.video.backends import resolve_backend
from longvid.video.checksum import require_sha256
from longvid.video.content import checks, modified
from longvid.video.source import source_of
from longvid.video.storage import Storage, is_url
from longvid.video.traffic import counted_traffic

MEASURED_AHEAD = 8
"""Videos that are read ahead of the pieces: enough that workers never wait for one."""

PATIENCE_SECONDS = 120.0
SLOWEST_BYTES_A_SECOND = 2e6
"""A read that takes longer than `PATIENCE_SECONDS` and its size at this rate together is given up as endless."""


@dataclass(frozen=True)
class Wanted:
    """A file, and what to measure."""

    path: str
    part_seconds: tuple[float | None, float | None]
    sampling: Sampling
    backend: str
    allow_truncated: bool
    full_hash: bool = False
    sha256: str | None = None
    """sha256 of the file, if the manifest gives it."""
    remembered: Remembered | None = None
    """The record in a store that holds the file's features; if the file is unchanged, nothing is planned."""
    storage: Storage = field(default_factory=Storage, repr=False)


@dataclass(frozen=True, eq=False)
class Measured:
    """A probed video and its clips."""

    video: VideoProbe
    clips: ClipPlan
    backend: str
    checks: dict[str, str]
    """Checksums of the whole file's content; see `longvid.video.content`."""
    modified: dict[str, Any]
    """When the file was last written, asked before it was read."""
    read_bytes: int = 0
    """Bytes of the file that were read, where the system counts them."""
    requests: int = 0
    retries: int = 0
    """Requests to a place elsewhere, and how many of them were repeated."""


@dataclass(frozen=True)
class Unchanged:
    """A file that matches the store's record, and was not read through."""

    remembered: Remembered
    read_bytes: int = 0
    requests: int = 0
    retries: int = 0


class Unusable(Exception):
    """A file that cannot be planned; its message is the reason, on one line."""


def measure(wanted: Wanted) -> Measured | Unchanged:
    """Probe one file and choose its clips and its decoder. Raises `Unusable` for any error.

    A file that matches the store's record is only fingerprinted, unless all its bytes are to be compared.
    """
    with counting_bytes() as read, counted_traffic() as traffic:
        found = _measure(wanted)
    read_bytes = traffic.read_bytes if is_url(wanted.path) else read.number
    return replace(found, read_bytes=read_bytes, requests=traffic.requests, retries=traffic.retries)


def _measure(wanted: Wanted) -> Measured | Unchanged:
    known, all_of_it = wanted.remembered, wanted.full_hash or wanted.sha256 is not None
    if known is not None and not all_of_it and known.is_still(wanted.path, wanted.storage):
        return Unchanged(known)
    try:
        source = source_of(wanted.path, wanted.storage)
        written = {} if isinstance(source, Path) and not source.exists() else modified(source)
        if wanted.sha256 is not None:
            require_sha256(source, wanted.sha256)
        video = probe_once(wanted.path, wanted.storage)
        if video.truncated and not wanted.allow_truncated:
            raise TruncatedVideo(
                f"{wanted.path}: {'; '.join(video.problems)}; use --allow-truncated to extract the part that is there"
            )
        clips = wanted.sampling.plan_video(video, wanted.part_seconds)
        content = checks(video.packets_crc32c, path=video.path if wanted.full_hash else None)
        return Measured(video, clips, resolve_backend(video, wanted.backend), content, written)
    except (LongvidError, OSError) as error:
        raise Unusable(str(error)) from error
    except Exception as error:
        raise Unusable(f"{wanted.path}: {_told(error)}") from error


def _told(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return " ".join(f"{type(error).__name__}: {error} (at {where.filename}:{where.lineno})".split())


Measure = Callable[[Wanted], Measured | Unchanged]
"""`measure`, in this process or another; several threads call it at once."""


class MeasuringProcesses:
    """`measure` in separate processes, at most `most` or one per core; each is started when it is first needed."""

    def __init__(self, *, deadline_seconds: float, most: int = MEASURED_AHEAD) -> None:
        self._deadline_seconds = deadline_seconds
        number = min(most, MEASURED_AHEAD, available_cores())
        self._all = [WorkProcess(orphan_seconds=2 * deadline_seconds) for _ in range(number)]
        # last in, first out: a process that runs is used before another is started
        self._free: queue.LifoQueue[WorkProcess] = queue.LifoQueue()
        for process in reversed(self._all):
            self._free.put(process)
        self._closed = threading.Event()

    def __enter__(self) -> "MeasuringProcesses":
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def end(self) -> None:
        """End the processes; what is asked from now on is refused."""
        self._closed.set()
        for process in self._all:
            process.end()

    def __call__(self, wanted: Wanted) -> Measured | Unchanged:
        """Run `measure`; a file that crashes its process is tried a second time, one that hangs is not."""
        process = self._free.get()
        try:
            try:
                return self._ask(process, wanted)
            except ProcessDied:
                return self._ask(process, wanted)
        except ProcessDied as error:
            raise Unusable(f"{wanted.path}: reading it crashed its process twice ({error})") from error
        finally:
            self._free.put(process)

    def _ask(self, process: WorkProcess, wanted: Wanted) -> Measured | Unchanged:
        if self._closed.is_set():
            raise Unusable(f"{wanted.path}: not read because the run has ended")
        answer: Future[Measured | Unchanged] = process.submit(measure, wanted)
        seconds = self._patience_seconds(wanted.path)
        try:
            return answer.result(timeout=seconds)
        except TimeoutError as error:
            process.end()
            raise Unusable(
                f"{wanted.path}: reading it did not end in {seconds:.0f} s (an endless stream, or a disk that does not "
                "answer?); copy it to an ordinary file on a disk that works"
            ) from error

    def _patience_seconds(self, path: str) -> float:
        """Seconds that reading the file may take, from its size; never more than a piece may take.

        A place that brings nothing is given up by `Storage.stall_seconds`, so at a URL it is all that a piece may take.
        """
        if is_url(path):
            return self._deadline_seconds
        try:
            size_bytes = os.stat(path).st_size
        except OSError:
            size_bytes = 0
        return min(self._deadline_seconds, PATIENCE_SECONDS + size_bytes / SLOWEST_BYTES_A_SECOND)


def measure_ahead(wanted: Iterable[Wanted], measure_one: Measure) -> Iterator["Future[Measured | Unchanged]"]:
    """One future per file, in order, while the next files are measured in threads."""
    with ThreadPoolExecutor(MEASURED_AHEAD, thread_name_prefix="longvid-measure") as pool:
        waiting: deque[Future[Measured | Unchanged]] = deque()
        try:
            for one in wanted:
                waiting.append(pool.submit(measure_one, one))
                if len(waiting) >= MEASURED_AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()
