"""Executors run pieces, in this process or in another one.

`longvid.pipelines.extraction.dask_executor` has the one that runs them on a cluster.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from longvid.encoders import Encoder
from longvid.errors import ConfigError
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.outcomes import Outcome, PieceFailure, attempt_piece
from longvid.pipelines.extraction.piece import Piece
from longvid.pipelines.extraction.process import ProcessDied, UnpicklableWork, WorkProcess
from longvid.pipelines.extraction.suspects import KILLED, Suspect, late, run_and_try_again
from longvid.pipelines.machine.cores import available_cores
from longvid.stores import FeatureStore

PIECES_IN_FLIGHT = 2
"""Pieces per encoder: while one piece's clips are in the model, another's are decoded or its shard is written."""

MOST_DECODED_AT_ONCE = 8
"""Pieces per process with a GPU, which encodes clips faster than any core decodes them. With more, the threads of a
process wait for each other: beside an H200, 2, 8 and 16 pieces decoded 54, 121 and 104 s of 640 x 360 video per
second."""


def pieces_in_flight(device: str, cores: int) -> int:
    """Pieces that a process works on at once, with an encoder on `device` and `cores` CPU cores."""
    if not device.startswith("cuda"):
        return PIECES_IN_FLIGHT
    return max(PIECES_IN_FLIGHT, min(MOST_DECODED_AT_ONCE, cores))


@runtime_checkable
class Executor(Protocol):
    """Runs pieces in any order; every piece comes back as exactly one outcome."""

    @property
    def workers(self) -> int:
        """Number of encoders that run at once."""
        ...

    def run(self, pieces: Iterable[Piece]) -> Iterator[Outcome]:
        """Outcomes in the order of their ends; pieces are taken from the iterable only as there is room."""
        ...


@dataclass(frozen=True)
class EncoderSource:
    """Where a process gets the encoder from: the job that builds it, or a built encoder."""

    job: ExtractionJob
    built: Encoder | None = None

    def load(self) -> Encoder:
        """The encoder, in evaluation mode, on this process's device."""
        return self.job.build() if self.built is None else self.job.place(self.built)

    def describe(self) -> Encoder:
        """An encoder for its spec and the shape of its output: a new one on the CPU, or the built one where it is."""
        return replace(self.job, device="cpu").build() if self.built is None else self.built.eval()

    def __getstate__(self) -> dict[str, Any]:
        # pickled on the CPU: the other process may see another GPU, or none
        return self.__dict__ | ({} if self.built is None else {"built": deepcopy(self.built).to("cpu")})


def cannot_travel(error: UnpicklableWork) -> ConfigError:
    """The error for an encoder that cannot be sent to another process."""
    return ConfigError(
        f"the encoder cannot be sent to another process ({error}); name it as module:callable, or extract with "
        "scheduler='inline'"
    )


class InlineExecutor:
    """One encoder in this process: a hang or crash hangs or ends the run."""

    workers = 1

    def __init__(self, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob) -> None:
        self._encoder = encoder
        self._store = store
        self._job = job

    def run(self, pieces: Iterable[Piece]) -> Iterator[Outcome]:
        """Outcomes as they end, `pieces_in_flight` of them in work at a time."""
        lock = threading.Lock()
        at_once = pieces_in_flight(self._job.resolve_device(), available_cores())

        def attempt(piece: Piece) -> Outcome:
            return attempt_piece(piece, encoder=self._encoder, store=self._store, job=self._job, model_lock=lock)

        with ThreadPoolExecutor(at_once, thread_name_prefix="longvid-piece") as pool:
            running: set[Future[Outcome]] = set()
            for piece in pieces:
                running.add(pool.submit(attempt, piece))
                if len(running) >= at_once:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)


class SerialExecutor:
    """One encoder in a second process, without dask; a piece that hangs or crashes fails alone."""

    workers = 1

    def __init__(self, source: EncoderSource, store: FeatureStore, *, deadline_seconds: float) -> None:
        self._setting = (source, store)
        self._deadline_seconds = deadline_seconds
        self._at_once = pieces_in_flight(source.job.resolve_device(), available_cores())
        # twice: a piece must be late before its process takes itself for an orphan
        self._process = WorkProcess(threads=self._at_once, orphan_seconds=2 * deadline_seconds)

    def __enter__(self) -> "SerialExecutor":
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.end()

    def run(self, pieces: Iterable[Piece]) -> Iterator[Outcome]:
        """Outcomes as they end, `pieces_in_flight` of them in work at a time."""
        yield from run_and_try_again(self._slide, pieces)

    def _slide(self, pieces: Iterator[Piece], suspects: list[Suspect]) -> Iterator[Outcome]:
        running: dict[Future[Outcome], _Started] = {}
        for piece in pieces:
            running[self._submit(piece)] = _Started(piece, time.monotonic())
            if len(running) >= self._at_once:
                yield from self._ended(running, suspects)
        while running:
            yield from self._ended(running, suspects)

    def _submit(self, piece: Piece) -> "Future[Outcome]":
        if self._process.pid is None:
            try:
                self._process.submit(_hold, *self._setting).result()
            except UnpicklableWork as error:
                raise cannot_travel(error) from error
            except ProcessDied as error:
                raise ConfigError(f"the process that loads the encoder died: {error}") from error
        return self._process.submit(_attempt_held, piece)

    def _ended(self, running: "dict[Future[Outcome], _Started]", suspects: list[Suspect]) -> Iterator[Outcome]:
        """Wait until a piece ends or is late, and take what has ended out of `running`."""
        oldest = min(started.at_seconds for started in running.values())
        left = max(0.0, oldest + self._deadline_seconds - time.monotonic())
        ended, _ = wait(running, timeout=left, return_when=FIRST_COMPLETED)
        over: set[Future[Outcome]] = set()
        if not ended:
            due = time.monotonic() - self._deadline_seconds
            over = {future for future, started in running.items() if started.at_seconds <= due}
            self._process.end()  # its other pieces die with it, and are tried again as well
            ended = set(running)
        for future in ended:
            piece = running.pop(future).piece
            error = future.exception()
            if error is None:
                yield future.result()
            elif isinstance(error, ProcessDied):
                suspects.append(Suspect(piece, late(self._deadline_seconds) if future in over else KILLED))
            else:
                yield PieceFailure(piece.key, piece.shard_index, f"{piece.path}: {error}")


@dataclass(frozen=True)
class _Started:
    piece: Piece
    at_seconds: float


_held: dict[str, Any] = {}
"""The encoder and the store of the run, in the process of a `SerialExecutor`."""


def _hold(source: EncoderSource, store: FeatureStore) -> None:
    import torch

    if source.job.torch_threads is not None:
        torch.set_num_threads(source.job.torch_threads)
    _held.update(encoder=source.load(), store=store, job=replace(source.job, encoder=None), model_lock=threading.Lock())


def _attempt_held(piece: Piece) -> Outcome:
    return attempt_piece(piece, **_held)
