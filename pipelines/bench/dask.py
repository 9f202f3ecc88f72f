"""The cost of dask: the coordinator's time per video, and busy GPUs.

Planning is included.

A thousand GPUs are not available on one machine, so here they are dask workers that sleep and read while they would
read a video through, sleep while they would decode, and sleep holding a GPU while they would encode, a part of an
assignment at a time. Everything else is real: the manifest, which is read as a stream, the assignments and their
sizes, the scheduler, the executor with its window, two assignments in flight per GPU, the messages and their size (a
film's packed timing among them), the report. The workers run in other processes, so the work of the coordinating
process is the same as on a cluster. But they take processor time of this machine: the notes say how much, and how
busy its processors were. Where that is near 100 %, the GPUs idle because the machine cannot hold coordinator and
workers together, and only `ms each` tells of a cluster.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from distributed import Client

from longvid.pipelines.bench.measure import MEGABYTE
from longvid.pipelines.bench.simulated_gpus import (
    CLIPS_PER_SHARD,
    FILM_SECONDS,
    GPU_RATE,
    GPUS_A_WORKER,
    PART_SECONDS,
    PIECE_SECONDS,
    PROBE_SHARE,
    READ_BYTES,
    VIDEO_SECONDS,
    Nap,
    SimulatedGpu,
    film_probe,
    simulated_cluster,
)
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.extraction.assignments import Assignment, CompleteVideo
from longvid.pipelines.extraction.coordinating import Run, Silent
from longvid.pipelines.extraction.dask_executor import DaskExecutor
from longvid.pipelines.extraction.dealing import Dealer
from longvid.pipelines.extraction.events import Events
from longvid.pipelines.extraction.executors import Ended
from longvid.pipelines.extraction.inputs import ListedVideos
from longvid.pipelines.extraction.packing import pack
from longvid.pipelines.extraction.report import open_report
from longvid.pipelines.extraction.tally import Tally

ROUNDS = 6
"""Times 20 seconds of work per GPU."""


class WatchedDealer(Dealer):
    """A dealer that notes when it dealt out the last assignment that needs a GPU."""

    last_seconds = 0.0
    assignments = 0

    def take(self, room: int, *, slots: int) -> list[Assignment]:
        """As `Dealer.take`."""
        taken = super().take(room, slots=slots)
        if any(not isinstance(one, CompleteVideo) for one in taken):
            self.last_seconds = time.monotonic()
        self.assignments += len(taken)
        return taken


class WatchedExecutor(DaskExecutor):
    """An executor that keeps what the simulated assignments came to."""

    def run(self, dealer: Dealer) -> Iterator[Ended]:
        """As `DaskExecutor.run`."""
        self.naps: list[Nap] = []
        for assignment, nap in super().run(dealer):
            if not isinstance(nap, Nap):
                raise RuntimeError(f"a simulated assignment failed: {nap}")
            self.naps.append(replace(nap, ended=[], opened=[], pieces=[]))
            yield assignment, nap


@dataclass
class Round:
    """The time that one run took."""

    wall_seconds: float
    processor_seconds: float
    """Processor time of this process: manifest, report, scheduler, client and executor."""
    naps: list[Nap] = field(repr=False)
    handed_out_seconds: float
    """The time after which nothing that needs a GPU was left to hand out."""
    assignments: int
    workers_seconds: float
    """Processor time of the simulated workers."""
    machine_busy: float
    """Share of this machine's processor time in which it was not idle, whoever used it."""

    begin_seconds: float
    end_seconds: float

    def busy(self, begin_seconds: float, end_seconds: float, *, gpus: int) -> float:
        """Share of the GPUs' time between the two times in which they worked."""
        held = np.array([times for nap in self.naps for _, *times in nap.held])
        worked = np.minimum(held[:, 1], end_seconds) - np.maximum(held[:, 0], begin_seconds)
        return float(worked.clip(min=0).sum() / (gpus * max(end_seconds - begin_seconds, 1e-9)))

    def without_assignment(self, begin_seconds: float, end_seconds: float, *, gpus: int) -> float:
        """Share of the GPUs' time between the two times in which their worker had fewer assignments than GPUs."""
        changes: dict[str, list[tuple[float, int]]] = {}
        for nap in self.naps:
            changes.setdefault(nap.worker, []).extend([(nap.begin_seconds, 1), (nap.end_seconds, -1)])
        lacked = 0.0
        for listed in changes.values():
            times, steps = zip(*sorted([(begin_seconds, 0), *listed, (end_seconds, 0)]), strict=True)
            spans = np.diff(np.clip(times, begin_seconds, end_seconds))
            lacked += float(((GPUS_A_WORKER - np.cumsum(steps)[:-1]).clip(min=0) * spans).sum())
        return lacked / (gpus * max(end_seconds - begin_seconds, 1e-9))

    @property
    def num_gpus(self) -> int:
        """GPUs that had something to do."""
        return len(self._first)

    @property
    def all_work_seconds(self) -> float:
        """The time at which the last of the GPUs started to work."""
        return max(self._first.values())

    @cached_property
    def _first(self) -> dict[tuple[str, int], float]:
        """The time at which each GPU started to work."""
        first: dict[tuple[str, int], float] = {}
        for nap in self.naps:
            for number, began, _ in nap.held:
                gpu = nap.worker, number
                first[gpu] = min(began, first.get(gpu, began))
        return first


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine."""
    return measure(104, 3) if quick else measure(1000, ROUNDS, empty=200_000)


def measure(gpus: int, rounds: float, *, empty: int = 20_000) -> BenchTable:
    """Runs of `rounds` times 20 seconds of work per GPU, and one over `empty` videos that take no time."""
    table = BenchTable("Dask", ["what", "videos", "assignments", "GPUs", "wall s", "ms each", "busy", "of the whole"])
    packed = pack(film_probe())
    with TemporaryDirectory() as folder, simulated_cluster(gpus) as client:
        file = Path(folder, "video")
        file.write_bytes(bytes(READ_BYTES))

        def measured(video_seconds: float, videos: int, speed: float) -> Round:
            role = SimulatedGpu(video_seconds=video_seconds, packed=packed, file=str(file), speed=speed)
            return _measure(client, role, _manifest(Path(folder), videos), Path(folder))

        work = rounds * 20.0 * gpus * GPU_RATE
        short = measured(VIDEO_SECONDS, empty, float("inf"))
        each = 1000 * short.processor_seconds / empty
        table.rows.append(["empty videos", empty, short.assignments, gpus, short.wall_seconds, each, None, None])
        for what, seconds in (("videos of 70 s", VIDEO_SECONDS), ("films of 3 h", FILM_SECONDS)):
            videos = round(work / seconds)
            _judge(table, what, measured(seconds, videos, 1.0), videos, seconds, gpus)
    table.notes += [
        "ms each: processor time of the coordinator (manifest, report, scheduler, client) per video, or film's piece",
        f"a GPU encodes {GPU_RATE:g} s of video per second, at most {PART_SECONDS:g} s at once; probing sleeps "
        f"{1000 * PROBE_SHARE * VIDEO_SECONDS:g} ms per 70 s of video and reads {READ_BYTES // 1024} KiB; decoding "
        "sleeps half the GPU's time",
        "busy: from the time every GPU works until nothing for a GPU is left to hand out; of the whole: from start to "
        "end",
        f"a film's timing travels with its pieces: {len(packed) / MEGABYTE:.3f} MB packed",
    ]
    return table


def _judge(table: BenchTable, what: str, found: Round, videos: int, seconds: float, gpus: int) -> None:
    """The row, claims and notes of one run over videos of one length."""
    if found.num_gpus < gpus:
        raise RuntimeError(f"{gpus - found.num_gpus} of {gpus} GPUs had nothing to do")
    span = found.all_work_seconds, found.handed_out_seconds
    steady, whole = found.busy(*span, gpus=gpus), found.busy(found.begin_seconds, found.end_seconds, gpus=gpus)
    starts, stops = (time_of - found.begin_seconds for time_of in span)
    units = videos if seconds == VIDEO_SECONDS else videos * round(seconds / PIECE_SECONDS)
    unit_seconds = seconds * videos / units
    each = 1000 * found.processor_seconds / units
    table.rows.append([what, videos, found.assignments, gpus, found.wall_seconds, each, steady, whole])
    unit, goal = ("video of 70 s", 0.2) if seconds == VIDEO_SECONDS else ("piece of a film", 2.0)
    table.claim(f"milliseconds of the coordinator per {unit}, planning included", each, at_most=goal)
    table.claim(f"share of the time that {gpus:,} simulated GPUs were busy, {what}", steady, at_least=0.95)
    table.notes += [
        f"one coordinator could feed {1000 / each * unit_seconds / GPU_RATE:,.0f} GPUs with {what}: "
        f"{1000 / each:,.0f} per second of its time",
        f"{what}: every GPU worked after {starts:.1f} s; after {stops:.1f} s nothing was left to hand out; the run "
        f"ended {found.end_seconds - span[1]:.1f} s later; in between, workers had fewer assignments than GPUs for "
        f"{found.without_assignment(*span, gpus=gpus):.1%} of the GPUs' time, and waited for decoding else",
        f"{what}: the simulated workers took {1000 * found.workers_seconds / units:.3f} ms of processor time "
        f"each; this machine's {psutil.cpu_count()} processors were {found.machine_busy:.0%} busy, other "
        "programs included (near 100 %, it is the machine that lets the GPUs idle)",
    ]


def _manifest(folder: Path, videos: int) -> Path:
    path = folder / "m.jsonl"
    with path.open("w") as file:
        for number in range(videos):
            file.write(json.dumps({"key": f"part-{number // 1000}/video-{number}", "path": f"/v/{number}.mp4"}) + "\n")
    return path


def _measure(client: Client, role: SimulatedGpu, manifest: Path, folder: Path) -> Round:
    """One run of the coordinator over the manifest."""
    begin, processor, machine, workers = (
        time.perf_counter(),
        time.process_time(),
        psutil.cpu_times(),
        _workers_seconds(),
    )
    begin_seconds = time.monotonic()
    requests = ListedVideos([manifest])
    dealer = WatchedDealer(requests, clips_per_shard=CLIPS_PER_SHARD, deadline_seconds=3600.0, listed=len(requests))
    executor = WatchedExecutor(client, role)
    with executor, open_report(folder / "report.jsonl") as report:
        Run(report, Silent(), Tally(listed=len(requests)), Events()).execute(executor, dealer)
        wall, processor = time.perf_counter() - begin, time.process_time() - processor
        end_seconds = time.monotonic()
    if report.counts["done"] != len(requests):
        raise RuntimeError(f"{len(requests) - report.counts['done']} of {len(requests)} simulated videos failed")
    workers, before, now = _workers_seconds() - workers, machine, psutil.cpu_times()
    idle = (now.idle - before.idle) / max(sum(now) - sum(before), 1e-9)
    return Round(
        wall_seconds=wall,
        processor_seconds=processor,
        naps=executor.naps,
        handed_out_seconds=dealer.last_seconds,
        assignments=dealer.assignments,
        workers_seconds=workers,
        machine_busy=1 - idle,
        begin_seconds=begin_seconds,
        end_seconds=end_seconds,
    )


def _workers_seconds() -> float:
    """Processor time of the processes that hold the simulated workers."""
    return sum(sum(process.cpu_times()[:2]) for process in psutil.Process().children(recursive=True))
