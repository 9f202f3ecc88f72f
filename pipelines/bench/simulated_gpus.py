"""Dask workers that take the time of GPUs but do no work."""

import asyncio
import logging
import math
import multiprocessing
import queue
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import numpy as np
from distributed import Client, Scheduler, SpecCluster, Worker

from longvid.pipelines.extraction.assignments import (
    Assignment,
    CompleteVideo,
    Film,
    Opened,
    OpenVideos,
    Returned,
)
from longvid.pipelines.extraction.cluster import ANY_PORT
from longvid.pipelines.extraction.dask_executor import WorkPlugin
from longvid.pipelines.extraction.executors import PIECES_IN_FLIGHT
from longvid.pipelines.extraction.outcomes import Outcome
from longvid.pipelines.extraction.piece import PieceResult
from longvid.pipelines.extraction.report import VideoRow
from longvid.video import HeaderMetadata, MeasuredTiming, VideoProbe

VIDEO_SECONDS, FILM_SECONDS = 70.0, 3 * 3600.0
GPU_RATE = 300.0
"""Seconds of video that a GPU encodes per second (ViT-L on an H200)."""
PROBE_SHARE = 0.04 / 70
"""Seconds of reading through per second of video, measured."""
DECODE_SHARE = 0.5
"""Time of decoding, as a share of the GPU's."""
PART_SECONDS = 2.0
"""Time for which a GPU is held at once. A real worker encodes a batch as soon as it is decoded; shorter parts would
take more of this machine's processors than the coordinator."""
READ_BYTES = 64 * 1024
"""Bytes that are really read per simulated probe; a simulated GPU must not keep this machine's disk busy."""

CLIPS_PER_SHARD = 64
CLIP_SECONDS = 2.0
PIECE_SECONDS = CLIPS_PER_SHARD * CLIP_SECONDS

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
OF_WORKERS = CONFIGURATION | {"distributed.admin.tick.interval": "1s"}
"""Each worker of one process would else wake 50 times per second to see whether the process is held up."""


@dataclass
class Nap(Returned):
    """What a simulated assignment came to, with the times in which it held a GPU."""

    begin_seconds: float = 0.0
    end_seconds: float = 0.0
    held: list[tuple[int, float, float]] = field(default_factory=list)
    """The number of a GPU of this worker, and from when until when it was held."""


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
        self.free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for gpu in range(GPUS_A_WORKER):
            self.free.put(gpu)

    def do(self, assignment: Assignment) -> Nap:
        """Probe, decode while others do, then hold a GPU alone."""
        nap = Nap(worker=self.address, begin_seconds=time.monotonic())
        if isinstance(assignment, OpenVideos):
            seconds, probed_seconds = self._opened(assignment, nap)
        elif isinstance(assignment, CompleteVideo):
            seconds = probed_seconds = 0.0
            nap.ended.append(assignment.row)
        else:
            seconds, probed_seconds = len(assignment.shards) * PIECE_SECONDS, 0.0
            nap.pieces = [self._piece(assignment.film.key, shard) for shard in assignment.shards]
        work = seconds / GPU_RATE / self._speed
        before = DECODE_SHARE * work + PROBE_SHARE * probed_seconds / self._speed
        parts = max(1, math.ceil(work / PART_SECONDS))
        for _ in range(parts if before else 0):
            time.sleep(before / parts)
            if work:
                self._hold(work / parts, nap)
        nap.end_seconds = time.monotonic()
        nap.seconds = nap.end_seconds - nap.begin_seconds
        return nap

    def _hold(self, seconds: float, nap: Nap) -> None:
        gpu = self.free.get()
        begin_seconds = time.monotonic()
        time.sleep(seconds)
        nap.held.append((gpu, begin_seconds, time.monotonic()))
        self.free.put(gpu)

    def _opened(self, assignment: OpenVideos, nap: Nap) -> tuple[float, float]:
        """Open the videos; return the seconds of them that are encoded at once, and the seconds to be read through.

        Nothing sleeps for a single video: a thousand GPUs that wake for every one would take more of this machine's
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
        return (seconds if self._num_pieces == 1 else PIECE_SECONDS * len(assignment.requests)), seconds

    def _piece(self, key: str, shard: int) -> Outcome:
        return PieceResult(key, shard, CLIPS_PER_SHARD, 1.0, 1.0, 0.1, 1_000_000)


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


@contextmanager
def simulated_cluster(gpus: int) -> Iterator[Client]:
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

    with dask.config.set(OF_WORKERS):
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        asyncio.run(serve())
