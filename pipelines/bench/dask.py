"""What dask costs: seconds of the scheduler a segment, and how busy a thousand workers are kept.

A thousand GPUs cannot be had on one machine, so the workers here are threads that sleep for as long as a segment
takes. The scheduler, its messages and the sliding window of submissions are the real ones.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from distributed import Client, Future, LocalCluster

from pipelines.bench.table import BenchTable
from pipelines.extract.dask_executor import DaskExecutor
from pipelines.extract.executors import Outcome, SegmentFailure
from pipelines.extract.segment import SegmentResult

WORKERS, THREADS = 20, 50
"""Twenty worker servers of fifty sleeping threads each: a thousand simulated GPUs."""


@dataclass(frozen=True)
class Nap:
    """Stands for a segment: it only takes time."""

    key: str
    path: str
    shard_index: int
    nap_seconds: float


def _sleep(nap: Nap) -> SegmentResult:
    begin = time.perf_counter()
    time.sleep(nap.nap_seconds)
    return SegmentResult(nap.key, nap.shard_index, 1, 0.0, time.perf_counter() - begin, 0.0)


class NapExecutor(DaskExecutor):
    """The real sliding window over segments that sleep."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._deadline_seconds = 3600.0

    def _submit(self, segment: Nap) -> Future:  # type: ignore[override]
        return self._client.submit(_sleep, segment, pure=False)


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine."""
    segments = 2000 if quick else 10_000
    table = BenchTable("dask", ["what", "segments", "simulated GPUs", "wall s", "ms a segment", "busy"])
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=THREADS, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        executor = NapExecutor(client)
        wall, _ = _measure(executor, segments=segments, nap_seconds=0.0)
        table.rows.append(
            ["segments that take no time", segments, WORKERS * THREADS, wall, 1000 * wall / segments, None]
        )
        table.claim("scheduler milliseconds a segment", 1000 * wall / segments, at_most=5.0)
        nap_seconds = 20.0
        naps = 3 * WORKERS * THREADS
        wall, slept = _measure(executor, segments=naps, nap_seconds=nap_seconds)
        busy = slept / (wall * WORKERS * THREADS)
        table.rows.append([f"segments of {nap_seconds:.0f} s", naps, WORKERS * THREADS, wall, None, busy])
        table.claim("share of the time that the simulated GPUs were busy", busy, at_least=0.95)
    table.notes.append("the simulated GPUs are sleeping threads; scheduler, messages and window are the real ones")
    return table


def _measure(executor: DaskExecutor, *, segments: int, nap_seconds: float) -> tuple[float, float]:
    """Wall seconds of the run, and the seconds its workers slept in all."""

    def naps() -> Iterator[Nap]:
        return (Nap(f"nap-{index}", "", 0, nap_seconds) for index in range(segments))

    begin = time.perf_counter()
    outcomes: list[Outcome] = list(executor.run(naps()))  # type: ignore[arg-type]
    wall = time.perf_counter() - begin
    failed = [outcome for outcome in outcomes if isinstance(outcome, SegmentFailure)]
    if failed or len(outcomes) != segments:
        raise RuntimeError(f"{len(failed)} of {segments} naps failed: {failed[:1]}")
    return wall, sum(outcome.encode_seconds for outcome in outcomes if isinstance(outcome, SegmentResult))
