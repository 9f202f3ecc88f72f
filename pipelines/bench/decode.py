"""Video decoding: processor time per backend, and memory by length.

Time is compared with the limit, decoding every frame. The limit converts no frame to RGB and resizes none; a backend
beats it by leaving out frames that were not requested. All contenders read the same generated film (moving texture,
B-frames, a keyframe every 250 frames, x264's default) in alternating rounds with one thread. Memory is measured while
reading overlapping clips in a separate process.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from longvid.clips import iter_clips
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, in_own_process, interleaved_seconds
from longvid.pipelines.bench.table import BenchTable
from longvid.video import VideoProbe, iter_frames, probe
from longvid.video.backends import check_all
from longvid.video.writing import write_video

FPS = 30
LIMIT = "every frame, none converted"


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine. Quick: ten seconds of 480p instead of forty of 720p, and 3 minutes, not 10."""
    table = BenchTable("Decoders of video", ["reader", "frames/s wanted", "CPU s", "against the limit", "frames out"])
    with tempfile.TemporaryDirectory() as folder:
        _time(table, Path(folder), seconds=10 if quick else 40, height=480 if quick else 720, rounds=1 if quick else 4)
        _memory(table, Path(folder), minutes=3 if quick else 10)
    return table


def _time(table: BenchTable, folder: Path, *, seconds: int, height: int, rounds: int) -> None:
    """Rows and claims about processor time."""
    video = probe(make_film(folder / "film.mp4", seconds=seconds, height=height, width=height * 8 // 9 * 2))
    names = [status.name for status in check_all() if status.works]
    readers: dict[tuple[str, float], Callable[[], int]] = {
        (name, rate): partial(read_at, video, name, rate) for name in names for rate in (1, 2, 8, FPS)
    }
    calls = {str(key): call for key, call in readers.items()}
    found = interleaved_seconds(
        {LIMIT: lambda: decode_all(video), "probe": lambda: probe(video.path)} | calls,
        rounds=rounds,
        processor=True,
    )
    limit = found[LIMIT]
    table.rows.append([LIMIT, FPS, limit, 1.0, video.measured.num_frames])
    table.rows.append(["probe", None, found["probe"], found["probe"] / limit, 0])
    for (name, rate), call in readers.items():
        cpu_seconds = found[str((name, rate))]
        table.rows.append([name, rate, cpu_seconds, cpu_seconds / limit, call()])
    for rate, goal in ((1, 1.0), (2, 1.0), (8, 1.25)):
        ratio = found[str(("pyav", rate))] / limit
        table.claim(f"pyav at {rate} frames/s against decoding every frame, CPU time", ratio, at_most=goal)
    table.claim("probe against decoding every frame, CPU time", found["probe"] / limit, at_most=0.1)
    table.notes.append(f"{seconds} s of H.264 at {video.width} x {video.height}, resized to 224 x 224, one thread")


def _memory(table: BenchTable, folder: Path, *, minutes: int) -> None:
    """The claim about memory: how much reading adds to the process, for one minute and for several."""
    ten_seconds = make_film(folder / "ten_seconds.mp4", seconds=10, height=360, width=640)
    films = [repeat_film(ten_seconds, folder / f"{count}_min.mp4", times=6 * count) for count in (1, minutes)]
    peaks = [in_own_process(peak_of_reading, film) for film in films]
    for length, (peak, grown) in zip((1, minutes), peaks, strict=True):
        table.notes.append(
            f"reading {length} min: peak {peak / MEGABYTE:.0f} MB resident, {grown / MEGABYTE:.0f} MB of it added"
        )
    table.claim(f"peak memory of reading, {minutes} minutes against 1", peaks[1][0] / peaks[0][0], at_most=1.1)


def decode_all(video: VideoProbe) -> int:
    """The limit: every frame through the decoder, in order, with one thread, and then discarded."""
    with av.open(str(video.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def read_at(video: VideoProbe, backend: str, rate: int | float) -> int:
    """Reads frames at a rate, resized for an encoder; returns how many."""
    seconds = np.arange(video.begin_seconds, video.end_seconds - 0.001, 1 / rate)
    return sum(1 for _ in iter_frames(video, seconds, height=224, width=224, backend=backend))


def peak_of_reading(path: Path) -> tuple[int, int]:
    """Bytes: the process's peak while it probes a film and reads overlapping clips of it, and the increase by that."""
    with PeakMemory() as memory:
        video = probe(path)
        for _ in iter_clips(video, Sampling(16, 4, 2).plan_video(video), Preprocessing(), backend="pyav"):
            pass
    return memory.peak_bytes, memory.grown_bytes


def make_film(path: Path, *, seconds: int, height: int, width: int) -> Path:
    """A film of texture that drifts at two speeds, encoded with x264's defaults."""
    return write_video(
        path,
        _drifting(seconds * FPS, height, width),
        fps=FPS,
        keyframe_every=250,
        b_frames=3,
        codec_options={"preset": "fast", "crf": "23", "threads": "1"},
    )


def _drifting(count: int, height: int, width: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    texture = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    grain = rng.integers(0, 24, (height, width, 3), dtype=np.uint8)
    for index in range(count):
        yield np.roll(texture, (index, 2 * index), axis=(0, 1)) // 2 + np.roll(grain, -index, axis=1) + 64


def repeat_film(source: Path, path: Path, *, times: int) -> Path:
    """The film repeated several times, by copying its packets."""
    with av.open(str(path), "w") as output:
        stream, begin = None, 0
        for _ in range(times):
            with av.open(str(source)) as film:
                original = film.streams.video[0]
                stream = stream or output.add_stream_from_template(original)
                for packet in film.demux(original):
                    if packet.pts is not None and packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + begin, packet.dts + begin, stream
                        output.mux(packet)
                begin += original.duration or 0
    return path
