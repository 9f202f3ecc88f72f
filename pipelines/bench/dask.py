"""The cost of dask: scheduler time per piece, and busy GPUs.

A thousand GPUs are not available on one machine, so here they are dask workers that sleep while they would decode, and
sleep holding a GPU while they would encode. Everything else is real: the scheduler, the executor with its window, two
pieces in flight per GPU, the messages and their size. The workers run in other processes, so the work of the
coordinating process is the same as on a cluster.
"""

import asyncio
import logging
import multiprocessing
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import dask
import numpy as np
from distributed import Client, Scheduler, SpecCluster, Worker

from longvid.clips.sampling import Sampling
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.extraction.cluster import ANY_PORT
from longvid.pipelines.extraction.dask_executor import DaskExecutor, PiecePlugin
from longvid.pipelines.extraction.executors import PIECES_IN_FLIGHT
from longvid.pipelines.extraction.piece import Piece, PieceResult

GPU_SECONDS, DECODE_SECONDS = 20.0, 10.0
"""Assumed for a mean piece; each takes between half and one and a half times as much, so they do not all end at once.
The notes say how much shorter they could be."""

PIECES_A_GPU = 6
GPUS_A_WORKER = 8
"""A real worker has one GPU; with more, a thousand idle workers on one machine would leave no time for other work."""

HOSTS = 4
"""Number of processes that share the workers."""

CONFIGURATION = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.comm.timeouts.connect": "120s",
}


@dataclass(frozen=True)
class Nap(PieceResult):
    """A piece's record, with its GPU and the time in which it held it."""

    gpu: str
    begin_seconds: float
    end_seconds: float


class SimulatedGpu(PiecePlugin):
    """Takes the time of a piece but does no work."""

    def __init__(self, *, decode_seconds: float, gpu_seconds: float) -> None:
        super().__init__()
        self._decode_seconds = decode_seconds
        self._gpu_seconds = gpu_seconds

    def setup(self, worker: Worker) -> None:
        """Called by dask in every worker."""
        self.free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for gpu in range(GPUS_A_WORKER):
            self.free.put(f"{worker.address}/{gpu}")

    def attempt(self, piece: Piece) -> Nap:
        """Decode while others do, then hold a GPU alone."""
        length = float(np.random.default_rng(piece.shard_index).uniform(0.5, 1.5))
        time.sleep(length * self._decode_seconds)
        gpu = self.free.get()
        begin = time.monotonic()
        time.sleep(length * self._gpu_seconds)
        end = time.monotonic()
        self.free.put(gpu)
        return Nap(piece.key, piece.shard_index, len(piece.plan), 0.0, end - begin, 0.0, gpu, begin, end)


@dataclass
class Round:
    """The time that one run of pieces took."""

    wall_seconds: float
    processor_seconds: float
    """Processor time of this process: scheduler, client and executor."""
    naps: list[Nap]
    handed_out_seconds: float
    """The time after which no piece was left to hand out."""

    def busy(self, begin_seconds: float, end_seconds: float, *, gpus: int) -> float:
        """Share of the GPUs' time between the two times in which they worked."""
        worked = sum(
            max(0.0, min(nap.end_seconds, end_seconds) - max(nap.begin_seconds, begin_seconds)) for nap in self.naps
        )
        return worked / (gpus * (end_seconds - begin_seconds))

    @property
    def all_work_seconds(self) -> float:
        """The time at which the last of the GPUs started its first piece."""
        first: dict[str, float] = {}
        for nap in self.naps:
            first[nap.gpu] = min(nap.begin_seconds, first.get(nap.gpu, nap.begin_seconds))
        return max(first.values())


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine."""
    gpus, pieces = (104, 2000) if quick else (1000, 10_000)
    shorter = 4 if quick else 1
    table = BenchTable("Dask", ["what", "pieces", "GPUs", "wall s", "ms each", "busy"])
    with _simulated_cluster(gpus) as client:
        empty = _measure(client, SimulatedGpu(decode_seconds=0.0, gpu_seconds=0.0), pieces=pieces)
        milliseconds = 1000 * empty.processor_seconds / pieces
        table.rows.append(["empty pieces", pieces, gpus, empty.wall_seconds, milliseconds, None])
        role = SimulatedGpu(decode_seconds=DECODE_SECONDS / shorter, gpu_seconds=GPU_SECONDS / shorter)
        naps = _measure(client, role, pieces=PIECES_A_GPU * gpus)
    if len({nap.gpu for nap in naps.naps}) < gpus:
        raise RuntimeError(f"{gpus - len({nap.gpu for nap in naps.naps})} of {gpus} workers had nothing to do")
    steady = naps.busy(naps.all_work_seconds, naps.handed_out_seconds, gpus=gpus)
    whole = naps.busy(min(n.begin_seconds for n in naps.naps), max(n.end_seconds for n in naps.naps), gpus=gpus)
    each = 1000 * naps.processor_seconds / len(naps.naps)
    shortest = gpus * each / 1000
    what = f"pieces of {GPU_SECONDS / shorter:g} s"
    table.rows.append([what, len(naps.naps), gpus, naps.wall_seconds, each, steady])
    table.rows.append(["with its start and end", None, None, None, None, whole])
    table.claim("milliseconds of the scheduler per piece", milliseconds, at_most=5.0)
    table.claim(f"share of the time that {gpus:,} simulated GPUs were busy", steady, at_least=0.95)
    table.notes += [
        "ms each: processor time of scheduler, client and executor; the workers run in other processes",
        f"a piece holds the GPU for {GPU_SECONDS / shorter:g} s +- half of it, after half as long to decode",
        "busy: from the time every GPU has its first piece until none is left to hand out",
        f"one scheduler could keep {gpus:,} GPUs fed with pieces of {shortest:.1f} s",
    ]
    return table


@contextmanager
def _simulated_cluster(gpus: int) -> Iterator[Client]:
    """A client of a real scheduler in this process, with one worker per GPU in other processes."""
    context = multiprocessing.get_context("spawn")
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "dashboard_address": ANY_PORT}}
    with (
        TemporaryDirectory() as folder,
        dask.config.set(CONFIGURATION),
        SpecCluster(workers={}, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        workers = gpus // GPUS_A_WORKER
        hosts = [
            context.Process(target=host_workers, args=(cluster.scheduler_address, len(share), folder))
            for share in np.array_split(np.arange(workers), HOSTS)
        ]
        for host in hosts:
            host.start()
        try:
            client.wait_for_workers(workers, timeout=600)
            yield client
        finally:
            for host in hosts:
                host.terminate()
                host.join()


def host_workers(address: str, workers: int, folder: str) -> None:
    """Runs many workers in this process until it is ended."""

    threads = PIECES_IN_FLIGHT * GPUS_A_WORKER

    async def serve() -> None:
        here = [
            await Worker(address, nthreads=threads, memory_limit=0, dashboard=False, local_directory=folder)
            for _ in range(workers)
        ]
        await asyncio.gather(*(worker.finished() for worker in here))

    with dask.config.set(CONFIGURATION):
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        asyncio.run(serve())


def _measure(client: Client, role: SimulatedGpu, *, pieces: int) -> Round:
    """One run of the executor over that many pieces, none of which may fail."""
    handed_out = [0.0]
    with DaskExecutor(client, role) as executor:
        begin, processor = time.perf_counter(), time.process_time()
        outcomes = list(executor.run(_pieces(pieces, lambda: handed_out.append(time.monotonic()))))
        wall, processor = time.perf_counter() - begin, time.process_time() - processor
    naps = [outcome for outcome in outcomes if isinstance(outcome, Nap)]
    if len(naps) != pieces:
        raise RuntimeError(f"{pieces - len(naps)} of {pieces} simulated pieces failed")
    return Round(wall, processor, naps, handed_out[1])


def _pieces(number: int, at_end: Callable[[], None]) -> Iterator[Piece]:
    """Pieces as large as real ones: 64 clips of 16 frames each, a hundred per video."""
    plan = Sampling(frames=16, fps=8.0, stride_seconds=2.0).plan(0.0, 200.0)[:64]
    for index in range(number):
        yield Piece(f"video-{index // 100}", f"video-{index // 100}.mp4", index, plan, "pyav", "0" * 64)
    at_end()
