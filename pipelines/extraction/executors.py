"""Executors have assignments done, in this process or in another one.

`longvid.pipelines.extraction.dask_executor` has the one that has them done on a cluster.
"""

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from longvid.clips.sampling import Sampling
from longvid.encoders import Encoder
from longvid.errors import ConfigError
from longvid.pipelines.extraction.assignments import Assignment, Died, Returned
from longvid.pipelines.extraction.dealing import KILLED, Dealer, late, limit_seconds
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.measuring import Measure, MeasuringProcesses
from longvid.pipelines.extraction.process import ProcessDied, UnpicklableWork, WorkProcess
from longvid.pipelines.extraction.working import Working
from longvid.pipelines.machine.cores import available_cores
from longvid.stores import FeatureStore
from longvid.video.backends.kept_open import keep_open

PIECES_IN_FLIGHT = 2
"""Pieces per encoder: while one piece's clips are in the model, another's are decoded or its shard is written."""

MOST_DECODED_AT_ONCE = 8
"""Pieces per process with a GPU, which encodes clips faster than any core decodes them. With more, the threads of a
process wait for each other: beside an H200, 2, 8 and 16 pieces decoded 54, 121 and 104 s of 640 x 360 video per
second."""

Ended = tuple[Assignment, Returned | Died]


def pieces_in_flight(device: str, cores: int) -> int:
    """Pieces that a process works on at once, with an encoder on `device` and `cores` CPU cores."""
    if not device.startswith("cuda"):
        return PIECES_IN_FLIGHT
    return max(PIECES_IN_FLIGHT, min(MOST_DECODED_AT_ONCE, cores))


@runtime_checkable
class Executor(Protocol):
    """Has assignments done in any order; every assignment that is taken comes back exactly once."""

    @property
    def workers(self) -> int:
        """Number of encoders that run at once."""
        ...

    def run(self, dealer: Dealer) -> Iterator[Ended]:
        """What the assignments came to, in the order of their ends, until nothing is left to take.

        Whoever iterates gives each one back to the dealer. Assignments are taken only as there is room.
        """
        ...

    def load_encoder(self) -> None:
        """Have every worker build the encoder, also those that join later; assignments wait meanwhile."""
        ...

    def signs_of_life(self) -> dict[str, float]:
        """For each worker, by name, the seconds since it was last heard of."""
        ...


@dataclass(frozen=True)
class EncoderSource:
    """Where a process gets the encoder from: the job that builds it, or a built encoder."""

    job: ExtractionJob
    built: Encoder | None = None

    def load(self) -> Encoder:
        """The encoder, in evaluation mode, on this process's device."""
        if self.job.torch_threads is not None:
            import torch

            torch.set_num_threads(self.job.torch_threads)
        return self.job.build() if self.built is None else self.job.place(self.built)

    def describe(self) -> Encoder:
        """An encoder for its spec and the shape of its output: a new one on the CPU, or the built one where it is."""
        return replace(self.job, device="cpu").build() if self.built is None else self.built.eval()

    def __getstate__(self) -> dict[str, Any]:
        # pickled on the CPU: the other process may see another GPU, or none
        return self.__dict__ | ({} if self.built is None else {"built": deepcopy(self.built).to("cpu")})


@dataclass(frozen=True)
class WorkSource:
    """What a worker needs to open videos, plan them and complete them; the encoder comes when it is needed."""

    store: FeatureStore
    job: ExtractionJob
    """Without its encoder, which may not travel."""
    sampling: Sampling
    deadline_seconds: float

    def start(self, *, threads: int) -> tuple[Working, MeasuringProcesses]:
        """A worker's side of the run, with processes of its own that read files, to be ended with it."""
        processes = MeasuringProcesses(deadline_seconds=self.deadline_seconds, most=threads)
        keep_open(threads)
        return self.working(processes), processes

    def working(self, measure_one: Measure) -> Working:
        """A worker's side of the run."""
        return Working(self.store, self.job, self.sampling, measure_one)


def cannot_travel(error: UnpicklableWork) -> ConfigError:
    """The error for an encoder that cannot be sent to another process."""
    return ConfigError(
        f"the encoder cannot be sent to another process ({error}); name it as module:callable, or extract with "
        "scheduler='inline'"
    )


class InlineExecutor:
    """One encoder in this process: a hang or crash hangs or ends the run."""

    workers = 1

    def __init__(self, working: Working, encoder: Encoder, job: ExtractionJob) -> None:
        self._working = working
        self._encoder = encoder
        self._at_once = pieces_in_flight(job.resolve_device(), available_cores())

    def load_encoder(self) -> None:
        """Nothing is left to do."""

    def signs_of_life(self) -> dict[str, float]:
        """Empty: the worker is this process."""
        return {}

    def run(self, dealer: Dealer) -> Iterator[Ended]:
        """What the assignments came to, `pieces_in_flight` of them in work at a time."""
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="longvid-worker") as pool:
            running: dict[Future[Returned], Assignment] = {}
            while True:
                for assignment in dealer.take(self._at_once - len(running), slots=self._at_once):
                    running[pool.submit(self._working.do, assignment, self._encoder)] = assignment
                if not running:
                    return
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield running.pop(future), future.result()


class SerialExecutor:
    """One encoder in a second process, without dask; a piece that hangs or crashes fails alone."""

    workers = 1

    def __init__(self, encoder: EncoderSource, work: WorkSource) -> None:
        self._encoder = encoder
        self._work = work
        self._deadline_seconds = work.deadline_seconds
        self._at_once = pieces_in_flight(encoder.job.resolve_device(), available_cores())
        self._loads = False
        self._heard_seconds = time.monotonic()
        # more than twice: an assignment must be late before its process takes itself for an orphan
        self._process = WorkProcess(threads=self._at_once, orphan_seconds=3 * work.deadline_seconds)

    def __enter__(self) -> "SerialExecutor":
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.end()

    def load_encoder(self) -> None:
        """Build the encoder in the process, and in those that take its place."""
        self._loads = True
        if self._process.pid is not None:
            self._ask(_load, self._encoder)

    def signs_of_life(self) -> dict[str, float]:
        """The process, and when it last gave something back."""
        pid = self._process.pid
        return {} if pid is None else {f"process {pid}": time.monotonic() - self._heard_seconds}

    def run(self, dealer: Dealer) -> Iterator[Ended]:
        """What the assignments came to, `pieces_in_flight` of them in work at a time."""
        running: dict[Future[Returned], _Started] = {}
        while True:
            for assignment in dealer.take(self._at_once - len(running), slots=self._at_once):
                future = self._submit(assignment)
                limit = limit_seconds(assignment, self._deadline_seconds)
                running[future] = _Started(assignment, time.monotonic() + limit)
            if not running:
                return
            yield from self._ended(running)

    def _submit(self, assignment: Assignment) -> "Future[Returned]":
        if self._process.pid is None:
            self._ask(_hold, self._work, self._at_once)
            if self._loads:
                self._ask(_load, self._encoder)
        return self._process.submit(_do_held, assignment)

    def _ask(self, function: Any, *arguments: Any) -> None:
        try:
            self._process.submit(function, *arguments).result()
        except UnpicklableWork as error:
            raise cannot_travel(error) from error
        except ProcessDied as error:
            raise ConfigError(f"the process that loads the encoder died: {error}") from error

    def _ended(self, running: "dict[Future[Returned], _Started]") -> Iterator[Ended]:
        """Wait until an assignment ends or is late, and take what has ended out of `running`."""
        left = max(0.0, min(started.due_seconds for started in running.values()) - time.monotonic())
        ended, _ = wait(running, timeout=left, return_when=FIRST_COMPLETED)
        over: set[Future[Returned]] = set()
        if not ended:
            now = time.monotonic()
            over = {future for future, started in running.items() if started.due_seconds <= now}
            self._process.end()  # its other assignments die with it, and are tried again as well
            ended = set(running)
        self._heard_seconds = time.monotonic()
        for future in ended:
            assignment = running.pop(future).assignment
            error = future.exception()
            if error is None:
                yield assignment, future.result()
            elif isinstance(error, ProcessDied):
                yield assignment, Died(late(self._deadline_seconds) if future in over else KILLED)
            else:
                yield assignment, Died(f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class _Started:
    assignment: Assignment
    due_seconds: float


_held: dict[str, Any] = {}
"""The worker's side of the run and the encoder, in the process of a `SerialExecutor`."""


def _hold(work: WorkSource, threads: int) -> None:
    _held["working"], _held["processes"] = work.start(threads=threads)
    _held["encoder"] = None


def _load(encoder: EncoderSource) -> None:
    _held["encoder"] = encoder.load()


def _do_held(assignment: Assignment) -> Returned:
    working: Working = _held["working"]
    return working.do(assignment, _held["encoder"])
