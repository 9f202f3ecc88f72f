"""Runs pieces on a dask cluster, within a sliding window of submissions.

If everything were submitted at once, a video that kills its worker would take the queued tasks with it; with a window
only the culprit fails. Pieces that ran in a worker when it died are tried once more, each alone, so that the culprit
is named and its neighbours are done. The encoder lives in a worker plugin.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import cast
from uuid import uuid4

import cloudpickle
from distributed import Client, Future, KilledWorker, WorkerPlugin, as_completed, get_worker
from distributed.worker import Worker

from longvid.encoders import Encoder
from longvid.pipelines.extraction.deadlines import DeadlineWatch, watch_deadlines
from longvid.pipelines.extraction.executors import EncoderSource, cannot_travel
from longvid.pipelines.extraction.interrupts import hold_interrupts
from longvid.pipelines.extraction.outcomes import Outcome, PieceFailure, attempt_piece
from longvid.pipelines.extraction.own_modules import SentModules, Sources
from longvid.pipelines.extraction.piece import Piece
from longvid.pipelines.extraction.process import UnpicklableWork
from longvid.pipelines.extraction.suspects import KILLED, Suspect, late, run_and_try_again
from longvid.stores import FeatureStore

WINDOW_SECONDS = 5.0
AHEAD = 0.5
"""Pieces queued at the workers, as a share of their threads: one per worker, so that no worker waits for the
scheduler between two pieces."""

POLL_SECONDS = 0.1
"""Time between two looks for a first worker."""

PATIENCE_SECONDS = 10.0
"""Time after which a warning says that no worker has joined yet."""

TOGETHER = 32
"""Most pieces sent to the scheduler in one message: sent alone, each costs it 1.8 ms instead of 0.8. Not more, since
the workers wait while the first ones are planned."""

_log = logging.getLogger(__name__)


class PiecePlugin(WorkerPlugin, ABC):
    """What every worker of a run holds, and how it turns a piece into an outcome.

    Each run's plugin has its own name, so that two runs on one cluster never write into each other's store.
    """

    def __init__(self) -> None:
        self.name = f"longvid-{uuid4().hex}"

    @abstractmethod
    def attempt(self, piece: Piece) -> Outcome:
        """Do one piece, in the worker."""


class EncoderPlugin(PiecePlugin):
    """Builds the encoder once per worker process and keeps it, with the open store, for all pieces."""

    def __init__(self, source: EncoderSource, store: FeatureStore, own: Sources | None = None) -> None:
        super().__init__()
        self._source = source
        self._store = store
        self._sent = SentModules(own) if own else None

    def setup(self, worker: Worker) -> None:
        """Build the encoder; dask calls this in every worker, also in those that join later or restart."""
        import torch

        if self._source.job.torch_threads is not None:
            torch.set_num_threads(self._source.job.torch_threads)
        if self._sent is not None:
            self._sent.install()
        self.encoder: Encoder = self._source.load()
        self.lock = threading.Lock()

    def teardown(self, worker: Worker) -> None:
        """Forget the user's code, so that a worker that goes on running keeps nothing of this run."""
        if self._sent is not None:
            self._sent.remove()

    def attempt(self, piece: Piece) -> Outcome:
        """One piece with this worker's encoder."""
        return attempt_piece(piece, encoder=self.encoder, store=self._store, job=self._source.job, model_lock=self.lock)


def run_piece(piece: Piece, name: str) -> Outcome:
    """The task: the worker's plugin does the work. Only a small record comes back."""
    plugin = cast(PiecePlugin, get_worker().plugins[name])
    return plugin.attempt(piece)


class DaskExecutor:
    """Runs pieces on the workers of `client`; inside the `with` block each of them holds `plugin`."""

    def __init__(self, client: Client, plugin: PiecePlugin, *, deadline_seconds: float = 3600.0) -> None:
        self._client = client
        self._plugin = plugin
        self._deadline_seconds = deadline_seconds

    def __enter__(self) -> "DaskExecutor":
        try:
            cloudpickle.dumps(self._plugin)
        except Exception as error:
            raise cannot_travel(UnpicklableWork(f"{type(error).__name__}: {error}")) from error
        self._wait_for_a_worker()
        with hold_interrupts():
            self._client.register_plugin(self._plugin)
        return self

    def _wait_for_a_worker(self) -> None:
        """Wait without limit, because a batch queue may take hours; warn once."""
        start, told = time.monotonic(), False
        while self.workers == 0:
            if not told and time.monotonic() - start > PATIENCE_SECONDS:
                address, told = self._client.scheduler_info()["address"], True
                _log.warning("no worker has joined %s yet; waiting for the first", address)
            time.sleep(POLL_SECONDS)

    def __exit__(self, *exc: object) -> None:
        # frees memory on a cluster that goes on running
        with suppress(OSError), hold_interrupts():
            self._client.unregister_worker_plugin(self._plugin.name)

    @property
    def workers(self) -> int:
        """Number of worker processes now."""
        with hold_interrupts():
            return len(self._client.nthreads())

    def run(self, pieces: Iterable[Piece]) -> Iterator[Outcome]:
        """Outcomes as they end; at most a window of pieces is with the scheduler at any time."""
        yield from run_and_try_again(self._slide, pieces)

    def _slide(self, pieces: Iterator[Piece], suspects: list[Suspect]) -> Iterator[Outcome]:
        """Outcomes of the pieces; those whose worker died or hung are added to `suspects` instead."""
        running: dict[Future, Piece] = {}
        ended = as_completed(loop=self._client.loop, raise_errors=False)
        window = _Window(self._client)
        outcomes: list[Outcome] = []
        left = True
        with watch_deadlines(self._client, self._deadline_seconds) as deadline:
            while running or left:
                room = max(0, window.size() - len(running))
                batch = list(islice(pieces, min(room, TOGETHER)))
                left = room == 0 or bool(batch)
                if batch:
                    with hold_interrupts():
                        futures = self._client.map(
                            run_piece, batch, name=self._plugin.name, pure=False, fifo_timeout="0 s"
                        )
                        running.update(zip(futures, batch, strict=True))
                        deadline.watch(futures)
                        ended.update(futures)
                yield from outcomes  # while the workers have enough to do
                outcomes = []
                # with room left the loop goes on at once; else it waits for the next piece to end
                done = ended.next_batch(block=not batch) if running else []
                with hold_interrupts():
                    settled = list(self._settle(done, running, deadline))
                suspects += [one for one in settled if isinstance(one, Suspect)]
                outcomes = [one for one in settled if not isinstance(one, Suspect)]
        yield from outcomes

    def _settle(
        self, ended: list[Future], running: dict[Future, Piece], deadline: DeadlineWatch
    ) -> Iterator[Outcome | Suspect]:
        """The outcomes of the ended futures, fetched in one request; takes the futures out of `running`."""
        expired = deadline.ended(ended)
        finished = {f.key: f for f in ended if f.status == "finished" and f not in expired}
        # None: the result was lost with its worker, and the piece failed when dask did it again
        outcomes = self._client.gather(finished, errors="skip") if finished else {}
        for future in ended:
            piece = running.pop(future)
            yield outcomes.get(future.key) or self._fault(future, piece, expired=future in expired)
            future.release()

    def _fault(self, future: Future, piece: Piece, *, expired: bool) -> PieceFailure | Suspect:
        """Why the future has no outcome."""
        if expired:
            return Suspect(piece, late(self._deadline_seconds))
        error = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            return Suspect(piece, KILLED)
        return PieceFailure(piece.key, piece.shard_index, f"{piece.path}: {error or future.status}")


class _Window:
    """How many pieces may be with the scheduler; grows and shrinks with the cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._size, self._asked = 0, float("-inf")

    def size(self) -> int:
        """One piece per worker thread and `AHEAD` more; the scheduler is asked only every few seconds."""
        if time.monotonic() - self._asked > WINDOW_SECONDS:
            with hold_interrupts():
                threads = sum(self._client.nthreads().values())
            self._size, self._asked = max(1, threads + round(threads * AHEAD)), time.monotonic()
        return self._size
