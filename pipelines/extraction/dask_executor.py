"""Has assignments done on a dask cluster, within a sliding window.

If everything were submitted at once, a video that kills its worker would take the queued tasks with it; with a window
only the culprit fails. The worker's side of the run and the encoder live in worker plugins.
"""

import logging
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4

import cloudpickle
from dask.typing import Key
from distributed import Client, Future, KilledWorker, WorkerPlugin, as_completed, get_worker
from distributed.worker import Worker

from longvid.encoders import Encoder
from longvid.pipelines.extraction.assignments import Assignment, Died, Returned
from longvid.pipelines.extraction.deadlines import DeadlineWatch, watch_deadlines
from longvid.pipelines.extraction.dealing import KILLED, Dealer, late, limit_seconds
from longvid.pipelines.extraction.executors import EncoderSource, Ended, WorkSource, cannot_travel
from longvid.pipelines.extraction.interrupts import hold_interrupts
from longvid.pipelines.extraction.own_modules import SentModules, Sources
from longvid.pipelines.extraction.process import UnpicklableWork
from longvid.pipelines.extraction.versions import compare_versions
from longvid.pipelines.extraction.worker_watch import watch_workers
from longvid.pipelines.extraction.working import Working

WINDOW_SECONDS = 5.0
AHEAD = 1.0
"""Assignments queued at the workers, as a share of their threads: as many again as they work on, so that no worker
waits for the scheduler between two of them, although it does not queue them evenly."""

POLL_SECONDS = 0.1
"""Time between two looks for a first worker."""

PATIENCE_SECONDS = 3.0
"""Time after which a warning says that no worker has joined yet."""

TOGETHER = 32
"""Most assignments sent to the scheduler in one message: sent alone, each costs it 1.8 ms instead of 0.8. Not more,
since the workers wait meanwhile."""

TOPIC = "longvid-assignments"
"""The scheduler's topic on which workers tell what assignments came to: fetched from the workers, each result would
wait for one connection more, and all of them for the slowest worker."""

MOST_TOLD_BYTES = 256 * 1024
"""Size up to which a worker tells the result of an assignment; a larger one is fetched from it. The scheduler keeps the
last thousand messages of a topic (dask's `distributed.admin.low-level-log-length`)."""

_log = logging.getLogger(__name__)


class WorkPlugin(WorkerPlugin, ABC):
    """What every worker of a run holds, and what it does with an assignment.

    Each run's plugin has its own name, so that two runs on one cluster never write into each other's store.
    """

    def __init__(self) -> None:
        self.name = f"longvid-{uuid4().hex}"

    @abstractmethod
    def do(self, assignment: Assignment) -> Returned:
        """Do one assignment, in the worker."""


class ExtractionPlugin(WorkPlugin):
    """The worker's side of an extraction, with processes beside the worker that read files."""

    def __init__(self, work: WorkSource) -> None:
        super().__init__()
        self._source = work

    @property
    def encoder_name(self) -> str:
        """The name of the plugin that holds the encoder, where it is loaded."""
        return f"{self.name}-encoder"

    def setup(self, worker: Worker) -> None:
        """Dask calls this in every worker, also in those that join later or restart."""
        self._worker = worker
        self._working, self._processes = self._source.start(threads=worker.state.nthreads)

    def teardown(self, worker: Worker) -> None:
        """End what `setup` started."""
        self._processes.end()

    def do(self, assignment: Assignment) -> Returned:
        """Do it with this worker's encoder, if it has one."""
        holder = cast("EncoderPlugin | None", self._worker.plugins.get(self.encoder_name))
        working: Working = self._working
        return working.do(assignment, None if holder is None else holder.encoder)


class EncoderPlugin(WorkerPlugin):
    """Builds the encoder once per worker process and keeps it."""

    def __init__(self, name: str, source: EncoderSource, own: Sources | None = None) -> None:
        self.name = name
        self._source = source
        self._sent = SentModules(own) if own else None

    def setup(self, worker: Worker) -> None:
        """Build the encoder; dask calls this in every worker, also in those that join later or restart."""
        if self._sent is not None:
            self._sent.install()
        self.encoder: Encoder = self._source.load()

    def teardown(self, worker: Worker) -> None:
        """Forget the user's code, so that a worker that goes on running keeps nothing of this run."""
        if self._sent is not None:
            self._sent.remove()


def do_assignment(assignment: bytes, name: str) -> bytes:
    """The task: the worker's plugin does the work. Only a small record comes back, told on `TOPIC` if it is not large.

    Both travel pickled: the scheduler would unpickle and pickle every video of an assignment again, and what comes back
    would be unpickled in the thread in which the scheduler works.
    """
    worker = get_worker()
    plugin = cast(WorkPlugin, worker.plugins[name])
    packed = pickle.dumps(plugin.do(pickle.loads(assignment)), pickle.HIGHEST_PROTOCOL)
    if len(packed) <= MOST_TOLD_BYTES:
        worker.log_event(TOPIC, (name, worker.get_current_task(), packed))
    return packed


class DaskExecutor:
    """Has assignments done on the workers of `client`; inside the `with` block each of them holds `plugin`."""

    def __init__(
        self,
        client: Client,
        plugin: WorkPlugin,
        encoder: EncoderSource | None = None,
        *,
        own: Sources | None = None,
        deadline_seconds: float = 3600.0,
    ) -> None:
        self._client = client
        self._plugin = plugin
        self._encoder = encoder
        self._own = own
        self._encoder_name = ""
        self._deadline_seconds = deadline_seconds
        self._told: dict[Key, bytes] = {}
        """What assignments came to, by the key of their future."""

    def __enter__(self) -> "DaskExecutor":
        try:
            cloudpickle.dumps((self._plugin, self._encoder))
        except Exception as error:
            raise cannot_travel(UnpicklableWork(f"{type(error).__name__}: {error}")) from error
        self._wait_for_a_worker()
        compare_versions(self._client)
        with hold_interrupts():
            self._client.register_plugin(self._plugin)
            self._client.subscribe_topic(TOPIC, self._hear)
        return self

    def _hear(self, event: tuple[float, tuple[str, Key, bytes]]) -> None:
        """Keep what a worker of this run told: its message comes before the one that ends the future."""
        name, key, packed = event[1]
        if name == self._plugin.name:
            self._told[key] = packed

    def load_encoder(self) -> None:
        """Have every worker build the encoder, also those that join later or restart."""
        if self._encoder is None or not isinstance(self._plugin, ExtractionPlugin):
            return
        self._encoder_name = self._plugin.encoder_name
        with hold_interrupts():
            self._client.register_plugin(EncoderPlugin(self._encoder_name, self._encoder, self._own))

    def _wait_for_a_worker(self) -> None:
        """Wait without limit, because a batch queue may take hours; warn once."""
        start, told = time.monotonic(), False
        while self.workers == 0:
            if not told and time.monotonic() - start > PATIENCE_SECONDS:
                address, told = self._client.scheduler_info()["address"], True
                _log.warning("no worker has joined %s yet; waiting for the first", address)
            time.sleep(POLL_SECONDS)

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError, ValueError):
            self._client.unsubscribe_topic(TOPIC)
        # frees memory on a cluster that goes on running
        for name in filter(None, (self._encoder_name, self._plugin.name)):
            with suppress(OSError), hold_interrupts():
                self._client.unregister_worker_plugin(name)

    @property
    def workers(self) -> int:
        """Number of worker processes now."""
        with hold_interrupts():
            return len(self._client.nthreads())

    def signs_of_life(self) -> dict[str, float]:
        """For each worker, by its address, the seconds since the scheduler last heard of it."""
        with hold_interrupts():
            known = self._client.scheduler_info(n_workers=-1)["workers"]
        now = time.time()
        return {address: max(0.0, now - about["last_seen"]) for address, about in known.items()}

    def run(self, dealer: Dealer) -> Iterator[Ended]:
        """What the assignments came to; at most a window of them is with the scheduler at any time."""
        running: dict[Future[Any], Assignment] = {}
        ended = as_completed(loop=self._client.loop, raise_errors=False)
        window = _Window(self._client)
        outcomes: list[Ended] = []
        address = str(self._client.scheduler_info(n_workers=0)["address"])
        with (
            watch_deadlines(self._client, self._deadline_seconds) as deadline,
            watch_workers(lambda: len(self._client.nthreads()), address),
        ):
            while True:
                room = max(0, window.size() - len(running))
                batch = dealer.take(min(room, TOGETHER), slots=window.threads)
                if batch:
                    with hold_interrupts():
                        packed = [pickle.dumps(assignment, pickle.HIGHEST_PROTOCOL) for assignment in batch]
                        futures = self._client.map(
                            do_assignment, packed, name=self._plugin.name, pure=False, fifo_timeout="0 s"
                        )
                        running.update(zip(futures, batch, strict=True))
                        deadline.watch({f: limit_seconds(running[f], self._deadline_seconds) for f in futures})
                        ended.update(futures)
                told = bool(outcomes)
                yield from outcomes  # while the workers have enough to do
                outcomes = []
                if not running:
                    if told:
                        continue  # what was told may have brought new work
                    return
                # with work or room left the loop goes on at once; else it waits for the next one to end
                done = ended.next_batch(block=not batch and not told)
                with hold_interrupts():
                    outcomes = list(self._settle(done, running, deadline))

    # in quotes: distributed 2025.1 lacks `Future[...]` at run time
    def _settle(
        self, ended: "list[Future[Any]]", running: "dict[Future[Any], Assignment]", deadline: DeadlineWatch
    ) -> Iterator[Ended]:
        """What the ended futures came to, as told or fetched in one request; takes them out of `running`."""
        expired = deadline.ended(ended)
        finished = {f.key: f for f in ended if f.status == "finished" and f not in expired}
        told = {future.key: self._told.pop(future.key, None) for future in ended}
        found = {key: told[key] for key in finished}
        untold = {key: future for key, future in finished.items() if told[key] is None}
        # None: the result was lost with its worker, and the assignment failed when dask did it again
        found |= self._client.gather(untold, errors="skip") if untold else {}
        for future in ended:
            assignment, packed = running.pop(future), found.get(future.key)
            if packed is None:
                yield assignment, self._fault(future, expired=future in expired)
            else:
                yield assignment, pickle.loads(packed)
            future.release()

    def _fault(self, future: "Future[Any]", *, expired: bool) -> Died:
        """Why the future has no outcome."""
        if expired:
            return Died(late(self._deadline_seconds))
        error = future.exception() if future.status == "error" else None
        return Died(KILLED if isinstance(error, KilledWorker) else str(error or future.status))


class _Window:
    """How many assignments may be with the scheduler; grows and shrinks with the cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._size, self._asked = 0, float("-inf")
        self.threads = 1
        """Assignments that the workers do at once, when they were last counted."""

    def size(self) -> int:
        """One assignment per worker thread and `AHEAD` more; the scheduler is asked only every few seconds."""
        if time.monotonic() - self._asked > WINDOW_SECONDS:
            with hold_interrupts():
                self.threads = sum(self._client.nthreads().values())
            self._size, self._asked = max(1, self.threads + round(self.threads * AHEAD)), time.monotonic()
        return self._size
