"""The cost of dask: the coordinator's time per video, and busy GPUs.

Planning is included.

A thousand GPUs are not available on one machine, so here they are dask workers that sleep and read while they would
read a video through, sleep while they would decode, and sleep holding a GPU while they would encode. Everything else is
real: the manifest, which is read as a stream, the assignments and their sizes, the scheduler, the executor with its
window, two assignments in flight per GPU, the messages and their size (a film's packed timing among them), the report.
The workers run in other processes, so the work of the coordinating process is the same as on a cluster. But they take
processor time of this machine: the notes say how much, and how busy its processors were. Where that is near 100 %, the
GPUs idle because the machine cannot hold coordinator and workers together, and only `ms each` tells of a cluster.
"""

import asyncio
import json
import logging
import multiprocessing
import queue
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import numpy as np
import psutil
from distributed import Client, Scheduler, SpecCluster, Worker

from longvid.pipelines.bench.measure import MEGABYTE
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.extraction.assignments import (
    Assignment,
    CompleteVideo,
    Film,
    Opened,
    OpenVideos,
    Returned,
)
from longvid.pipelines.extraction.cluster import ANY_PORT
from longvid.pipelines.extraction.dask_executor import DaskExecutor, WorkPlugin
from longvid.pipelines.extraction.dealing import Dealer
from longvid.pipelines.extraction.events import Events
from longvid.pipelines.extraction.executors import PIECES_IN_FLIGHT, Ended
from longvid.pipelines.extraction.inputs import ListedVideos
from longvid.pipelines.extraction.outcomes import Outcome
from longvid.pipelines.extraction.packing import pack
from longvid.pipelines.extraction.piece import PieceResult
from longvid.pipelines.extraction.report import VideoRow, open_report
from longvid.pipelines.extraction.run import Run, Silent
from longvid.pipelines.extraction.tally import Tally
from longvid.video import HeaderMetadata, MeasuredTiming, VideoProbe

VIDEO_SECONDS, FILM_SECONDS = 70.0, 3 * 3600.0
GPU_RATE = 300.0
"""Seconds of video that a GPU encodes per second (ViT-L on an H200)."""
PROBE_SHARE = 0.04 / 70
"""Seconds of reading through per second of video, measured."""
DECODE_SHARE = 0.5
"""Time of decoding, as a share of the GPU's."""
READ_BYTES = 64 * 1024
"""Bytes that are really read per simulated probe; a simulated GPU must not keep this machine's disk busy."""

CLIPS_PER_SHARD = 64
CLIP_SECONDS = 2.0
PIECE_SECONDS = CLIPS_PER_SHARD * CLIP_SECONDS

ROUNDS = 6
"""Times 20 seconds of work per GPU."""
GPUS_A_WORKER = 8
"""A real worker has one GPU; with more, a thousand idle workers on one machine would leave no time for other work."""

HOSTS = 2
"""Number of processes that share the workers."""

SHORTEST, LONGEST = 0.5, 1.5
"""Bounds of the length of a video, as a share of the mean."""

CONFIGURATION = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.comm.timeouts.connect": "120s",
}


@dataclass
class Nap(Returned):
    """What a simulated assignment came to, with its GPU and the time in which it held it."""

    gpu: str = ""
    begin_seconds: float = 0.0
    end_seconds: float = 0.0


class SimulatedGpu(WorkPlugin):
    """Takes the time of an assignment but does no work."""

    def __init__(self, *, video_seconds: float, packed: bytes, file: str, speed: float) -> None:
        super().__init__()
        self._video_seconds = video_seconds
        self._num_pieces = max(1, round(video_seconds / PIECE_SECONDS))
        self._packed = packed
        self._file = file
        self._speed = speed
        """How much faster than a GPU it is; infinite: no time passes."""

    def setup(self, worker: Worker) -> None:
        """Called by dask in every worker."""
        self.address = worker.address
        self.free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for gpu in range(GPUS_A_WORKER):
            self.free.put(f"{worker.address}/{gpu}")

    def do(self, assignment: Assignment) -> Nap:
        """Probe, decode while others do, then hold a GPU alone."""
        started = time.perf_counter()
        nap = Nap(worker=self.address)
        if isinstance(assignment, OpenVideos):
            seconds = self._opened(assignment, nap)
        elif isinstance(assignment, CompleteVideo):
            seconds = 0.0
            nap.ended.append(assignment.row)
        else:
            seconds = len(assignment.shards) * PIECE_SECONDS
            nap.pieces = [self._piece(assignment.film.key, shard) for shard in assignment.shards]
        work = seconds / GPU_RATE / self._speed
        time.sleep(DECODE_SHARE * work)
        gpu = self.free.get()
        nap.gpu, nap.begin_seconds = gpu, time.monotonic()
        time.sleep(work)
        nap.end_seconds = time.monotonic()
        self.free.put(gpu)
        nap.seconds = time.perf_counter() - started
        return nap

    def _opened(self, assignment: OpenVideos, nap: Nap) -> float:
        """Open the videos; return the seconds of them that are encoded at once.

        It sleeps once for all of them: a thousand GPUs that wake for every video would take more of this machine's
        processors than the coordinator, which is what is measured.
        """
        seconds, clips = 0.0, round(self._video_seconds / CLIP_SECONDS)
        with open(self._file, "rb", buffering=0) as file:
            for request in assignment.requests:
                file.seek(0)
                file.read(READ_BYTES)
                seconds += random.uniform(SHORTEST, LONGEST) * self._video_seconds
                row = VideoRow(
                    request.key, request.path, num_clips=clips, video_seconds=self._video_seconds, backend="pyav"
                )
                if self._num_pieces == 1:
                    nap.ended.append(row)
                    continue
                row.num_clips = CLIPS_PER_SHARD
                film = Film(request, self._packed, "pyav", {"mtime_ns": 1})
                shards = tuple(range(1, self._num_pieces))
                nap.opened.append(Opened(film, row, shards, CLIPS_PER_SHARD * len(shards)))
        time.sleep(PROBE_SHARE * seconds / self._speed)
        return seconds if self._num_pieces == 1 else PIECE_SECONDS * len(assignment.requests)

    def _piece(self, key: str, shard: int) -> Outcome:
        return PieceResult(key, shard, CLIPS_PER_SHARD, 1.0, 1.0, 0.1, 1_000_000)


class WatchedDealer(Dealer):
    """A dealer that notes when it dealt out the last assignment."""

    last_seconds = 0.0
    assignments = 0

    def take(self, room: int, *, slots: int) -> list[Assignment]:
        """As `Dealer.take`."""
        taken = super().take(room, slots=slots)
        if taken:
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
    """The time after which nothing was left to hand out."""
    assignments: int
    workers_seconds: float
    """Processor time of the simulated workers."""
    machine_busy: float
    """Share of this machine's processor time in which it was not idle, whoever used it."""

    def busy(self, begin_seconds: float, end_seconds: float, *, gpus: int) -> float:
        """Share of the GPUs' time between the two times in which they worked."""
        worked = sum(
            max(0.0, min(nap.end_seconds, end_seconds) - max(nap.begin_seconds, begin_seconds)) for nap in self.naps
        )
        return worked / (gpus * max(end_seconds - begin_seconds, 1e-9))

    @property
    def all_work_seconds(self) -> float:
        """The time at which the last of the GPUs started to work."""
        first: dict[str, float] = {}
        for nap in self.naps:
            first[nap.gpu] = min(nap.begin_seconds, first.get(nap.gpu, nap.begin_seconds))
        return max(first.values())


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine."""
    gpus, rounds, empty = (104, 3, 20_000) if quick else (1000, ROUNDS, 200_000)
    table = BenchTable("Dask", ["what", "videos", "assignments", "GPUs", "wall s", "ms each", "busy"])
    packed = pack(film_probe())
    with TemporaryDirectory() as folder, _simulated_cluster(gpus) as client:
        file = Path(folder, "video")
        file.write_bytes(bytes(READ_BYTES))

        def measured(video_seconds: float, videos: int, speed: float) -> Round:
            role = SimulatedGpu(video_seconds=video_seconds, packed=packed, file=str(file), speed=speed)
            return _measure(client, role, _manifest(Path(folder), videos), Path(folder))

        work = rounds * 20.0 * gpus * GPU_RATE
        short = measured(VIDEO_SECONDS, empty, float("inf"))
        each = 1000 * short.processor_seconds / empty
        table.rows.append(["empty videos", empty, short.assignments, gpus, short.wall_seconds, each, None])
        for what, seconds in (("videos of 70 s", VIDEO_SECONDS), ("films of 3 h", FILM_SECONDS)):
            videos = round(work / seconds)
            found = measured(seconds, videos, 1.0)
            seen = len({nap.gpu for nap in found.naps})
            if seen < gpus:
                raise RuntimeError(f"{gpus - seen} of {gpus} GPUs had nothing to do")
            steady = found.busy(found.all_work_seconds, found.handed_out_seconds, gpus=gpus)
            units = videos if seconds == VIDEO_SECONDS else videos * round(seconds / PIECE_SECONDS)
            unit_seconds = seconds * videos / units
            each = 1000 * found.processor_seconds / units
            table.rows.append([what, videos, found.assignments, gpus, found.wall_seconds, each, steady])
            unit, goal = ("video of 70 s", 0.2) if seconds == VIDEO_SECONDS else ("piece of a film", 2.0)
            table.claim(f"milliseconds of the coordinator per {unit}, planning included", each, at_most=goal)
            table.claim(f"share of the time that {gpus:,} simulated GPUs were busy, {what}", steady, at_least=0.95)
            table.notes.append(
                f"one coordinator could feed {1000 / each * unit_seconds / GPU_RATE:,.0f} GPUs with {what}: "
                f"{1000 / each:,.0f} per second of its time"
            )
            table.notes.append(
                f"{what}: the simulated workers took {1000 * found.workers_seconds / units:.3f} ms of processor time "
                f"each; this machine's {psutil.cpu_count()} processors were {found.machine_busy:.0%} busy, other "
                "programs included (near 100 %, it is the machine that lets the GPUs idle)"
            )
    table.notes += [
        "ms each: processor time of the coordinator (manifest, report, scheduler, client) per video, or film's piece",
        f"a GPU encodes {GPU_RATE:g} s of video per second; probing sleeps {1000 * PROBE_SHARE * VIDEO_SECONDS:g} ms "
        f"per 70 s of video and reads {READ_BYTES // 1024} KiB; decoding sleeps half the GPU's time",
        "busy: from the time every GPU works until nothing is left to hand out",
        f"a film's timing travels with its pieces: {len(packed) / MEGABYTE:.3f} MB packed",
    ]
    return table


def film_probe() -> VideoProbe:
    """The probe of a film of three hours at 25 frames per second, with keyframes at irregular distances."""
    num_frames = int(FILM_SECONDS * 25)
    steps = np.random.default_rng(0).integers(12, 250, num_frames // 100)
    keyframes = np.concatenate([[0], np.cumsum(steps)])
    header = HeaderMetadata(
        container="mov,mp4,m4a,3gp,3g2,mj2",
        codec="h264",
        pixel_format="yuv420p",
        coded_height=360,
        coded_width=640,
        rotation_degrees=0,
        sample_aspect_ratio=None,
        num_frames=num_frames,
        average_fps=25.0,
        begin_seconds=0.0,
        stream_duration_seconds=FILM_SECONDS,
        container_duration_seconds=FILM_SECONDS,
        num_video_streams=1,
    )
    timing = MeasuredTiming(
        frame_pts=np.arange(num_frames, dtype=np.int64) * 512,
        time_base=Fraction(1, 12_800),
        end_pts=num_frames * 512,
        keyframe_indices=keyframes[keyframes < num_frames].astype(np.int64),
        has_presentation_times=True,
    )
    return VideoProbe(
        path=Path("/films/film.mp4"),
        stream_index=0,
        size_bytes=2**31,
        fingerprint="0" * 64,
        header=header,
        measured=timing,
        problems=(),
        truncated=False,
    )


def _manifest(folder: Path, videos: int) -> Path:
    path = folder / "m.jsonl"
    with path.open("w") as file:
        for number in range(videos):
            file.write(json.dumps({"key": f"part-{number // 1000}/video-{number}", "path": f"/v/{number}.mp4"}) + "\n")
    return path


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


def _measure(client: Client, role: SimulatedGpu, manifest: Path, folder: Path) -> Round:
    """One run of the coordinator over the manifest."""
    begin, processor, machine, workers = (
        time.perf_counter(),
        time.process_time(),
        psutil.cpu_times(),
        _workers_seconds(),
    )
    requests = ListedVideos([manifest])
    dealer = WatchedDealer(requests, clips_per_shard=CLIPS_PER_SHARD, deadline_seconds=3600.0)
    executor = WatchedExecutor(client, role)
    with executor, open_report(folder / "report.jsonl") as report:
        Run(report, Silent(), Tally(listed=len(requests)), Events()).execute(executor, dealer)
        wall, processor = time.perf_counter() - begin, time.process_time() - processor
    if report.counts["done"] != len(requests):
        raise RuntimeError(f"{len(requests) - report.counts['done']} of {len(requests)} simulated videos failed")
    workers, before, now = _workers_seconds() - workers, machine, psutil.cpu_times()
    idle = (now.idle - before.idle) / max(sum(now) - sum(before), 1e-9)
    return Round(wall, processor, executor.naps, dealer.last_seconds, dealer.assignments, workers, 1 - idle)


def _workers_seconds() -> float:
    """Processor time of the processes that hold the simulated workers."""
    return sum(sum(process.cpu_times()[:2]) for process in psutil.Process().children(recursive=True))
