"""How benches measure: interleaved rounds, memory in own processes."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

MEGABYTE = 1e6


@dataclass
class Times:
    """Time of a candidate in its best round, by two clocks."""

    wall_seconds: float = float("inf")
    processor_seconds: float = float("inf")
    """Processor time of all threads of this process."""


def interleaved_times(candidates: dict[str, Callable[[], Any]], *, rounds: int = 5) -> dict[str, Times]:
    """Fastest round of each candidate, by each clock; rounds alternate A B A B after one warm-up of each."""
    best = {name: Times() for name in candidates}
    for round_index in range(-1, rounds):
        for name, call in candidates.items():
            wall, processor = time.perf_counter(), time.process_time()
            call()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            if round_index >= 0:
                times = best[name]
                times.wall_seconds = min(times.wall_seconds, wall)
                times.processor_seconds = min(times.processor_seconds, processor)
    return best


def interleaved_seconds(
    candidates: dict[str, Callable[[], Any]], *, rounds: int = 5, processor: bool = False
) -> dict[str, float]:
    """The same in seconds of one clock: wall time or processor time."""
    found = interleaved_times(candidates, rounds=rounds)
    return {name: times.processor_seconds if processor else times.wall_seconds for name, times in found.items()}


class PeakMemory:
    """Context manager: the peak of this process's resident memory inside it, in bytes, above the value at entry."""

    def __init__(self, interval_seconds: float = 0.005) -> None:
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self.start_bytes = 0
        self.peak_bytes = 0

    def __enter__(self) -> "PeakMemory":
        self._process = psutil.Process()
        self.start_bytes = self.peak_bytes = self._process.memory_info().rss
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)

    def __exit__(self, *exc: object) -> None:
        self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
        self._stop.set()
        self._watcher.join()

    @property
    def grown_bytes(self) -> int:
        """By how much the resident memory grew at its peak."""
        return self.peak_bytes - self.start_bytes


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a fresh spawned process, so that its memory and caches do not affect the next cell."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
