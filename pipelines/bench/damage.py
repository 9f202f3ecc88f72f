"""How many damaged videos give wrong clips without an error.

Small films are drawn, hurt by seed (a bit flipped, bytes overwritten, a sector of zeros, bytes cut out), and read clip
by clip as extraction does. A hurt film is right if every clip is the sound film's to the byte, refused if an error
names it, and silently wrong otherwise. Whether a file shows its damage at all is asked of FFmpeg: every frame is
decoded in order with every check on, and anything it says that it does not say of the sound film counts. Goals are set
for H.264, whose pictures are coded so that damage mostly breaks the rules of the format.
"""

import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import av.logging
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

from longvid.clips import iter_clips
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import VideoError
from longvid.pipelines.bench.table import BenchTable
from longvid.video import probe
from longvid.video.backends import check_all
from longvid.video.numbered import numbered_picture
from longvid.video.writing import write_video

HEIGHT, WIDTH, NUM_FRAMES, FPS = 96, 120, 200, 25
SAMPLING = Sampling(frames=4, fps=10)
"""Twenty clips a film."""
GEOMETRY = Preprocessing(height=HEIGHT, width=WIDTH)
DEADLINE_SECONDS = 60.0
"""A decoder that takes longer over one film of eight seconds hangs."""

X264 = {"codec": "libx264", "codec_options": {"sc_threshold": "0", "preset": "veryfast"}}
X265 = {"codec": "libx265", "codec_options": {"x265-params": "log-level=none"}}
VP9 = {"codec": "libvpx-vp9", "codec_options": {"cpu-used": "8", "deadline": "realtime"}, "b_frames": 0}
AV1 = {"codec": "libsvtav1", "codec_options": {"preset": "8", "crf": "30"}, "b_frames": 0}
MPEG4 = {"codec": "mpeg4", "b_frames": 0}
MJPEG = {"codec": "mjpeg", "b_frames": 0, "pixel_format": "yuvj420p"}

FILMS: dict[str, dict[str, Any]] = {
    "h264.mp4": X264,
    "h264.mkv": X264,
    "bare.mkv": X264 | {"container_options": {"write_crc32": "0"}},
    "h264.ts": X264,
    "h264.avi": X264 | {"b_frames": 0},
    "hevc.mp4": X265,
    "hevc.mkv": X265,
    "hevc.ts": X265,
    "vp9.webm": VP9,
    "vp9.mp4": VP9,
    "av1.mp4": AV1,
    "av1.mkv": AV1,
    "mpeg4.avi": MPEG4,
    "mpeg4.mp4": MPEG4,
    "mpeg4.mkv": MPEG4,
    "mjpeg.avi": MJPEG,
    "mjpeg.mkv": MJPEG,
    "mpeg2.ts": {"codec": "mpeg2video"},
}
"""A film's name, its codec and its container, and how `write_video` makes it."""

GOALS = ("h264.mp4", "h264.mkv", "bare.mkv", "h264.ts")
"""Films of which no shown damage may go unnoticed."""

Outcome = Literal["right", "refused", "wrong", "crashed"]


def run(*, quick: bool = False) -> BenchTable:
    """Rates of this machine's decoders. Quick: `auto` only, and 12 damages per film instead of 200 (3,600 in all)."""
    columns = ["film", "decoder", "damages", "right", "refused", "crashed", "silently wrong", "of it shown"]
    table = BenchTable("Damaged videos", columns)
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints its settings otherwise; 1: errors only
    tries = {"auto": 12} if quick else {"auto": 200} | {s.name: 40 for s in check_all() if s.works}
    with tempfile.TemporaryDirectory() as folder, _Patient(DEADLINE_SECONDS) as patient:
        for film in FILMS:
            sound = draw(film, Path(folder))
            for name, num_damages in tries.items():
                tally = Tally()
                for seed in range(num_damages):
                    tally.add(patient.call(try_damage, sound, seed, name))
                table.rows.append([film, name, *tally.cells()])
                if name == "auto" and film in GOALS:
                    table.claim(
                        f"{film}: damages FFmpeg shows that auto passes over, per damage",
                        tally.num_shown_wrong / tally.num_damages,
                        at_most=0.0,
                    )
    table.notes.append(
        "shown: a full decode by FFmpeg with every check on says more of the hurt film than of the sound"
    )
    table.notes.append(
        "a Matroska file that FFmpeg wrote has checksums; bare.mkv is H.264 without them, and WebM has none"
    )
    return table


@dataclass
class Tally:
    """Outcomes of one film's damages."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    num_shown_wrong: int = 0

    @property
    def num_damages(self) -> int:
        """How many were tried."""
        return self.outcomes.total()

    def add(self, found: tuple[Outcome, bool]) -> None:
        """Counts one outcome of `try_damage`."""
        outcome, shown = found
        self.outcomes[outcome] += 1
        self.num_shown_wrong += outcome == "wrong" and shown

    def cells(self) -> list[int]:
        """Damages, and how many were right, refused, crashed, wrong, and wrong though FFmpeg shows it."""
        kinds: tuple[Outcome, ...] = ("right", "refused", "crashed", "wrong")
        return [self.num_damages, *(self.outcomes[kind] for kind in kinds), self.num_shown_wrong]


def draw(film: str, folder: Path) -> Path:
    """The sound film of that name in the folder: numbered pictures under moving grain, a keyframe each second."""
    return write_video(folder / film, _pictures(), fps=FPS, keyframe_every=FPS, **FILMS[film])


def _pictures() -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Every frame differs from every other, and each carries data that can be hurt."""
    grain = np.random.default_rng(0).integers(-15, 16, (HEIGHT, WIDTH, 3))
    for number in range(NUM_FRAMES):
        picture = numbered_picture(number, HEIGHT, WIDTH).astype(int) + np.roll(grain, 3 * number, axis=1)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def hurt(data: bytes, seed: int) -> bytes:
    """The file's bytes damaged in one place, by one of four kinds of damage in turn."""
    rng, hurt_data = np.random.default_rng(seed), bytearray(data)
    at = int(rng.integers(len(data)))
    kind = ("bit", "bytes", "sector", "cut")[seed % 4]
    if kind == "bit":
        hurt_data[at] ^= 1 << int(rng.integers(8))
    elif kind == "bytes":
        length = min(int(rng.choice([1, 4, 64, 1000])), len(data) - at)
        hurt_data[at : at + length] = rng.bytes(length)
    elif kind == "sector":
        at -= at % 512
        length = min(512, len(data) - at)
        hurt_data[at : at + length] = bytes(length)
    else:
        del hurt_data[at : at + int(rng.choice([1, 188, 512, 2000]))]
    return bytes(hurt_data)


def try_damage(sound: Path, seed: int, backend: str) -> tuple[Outcome, bool]:
    """What becomes of the film hurt with this seed, and, where it is wrong, whether FFmpeg shows the damage."""
    path = sound.with_name(f"hurt-{backend}-{sound.name}")
    path.write_bytes(hurt(sound.read_bytes(), seed))
    outcome = judge(path, sound, backend)
    return outcome, outcome == "wrong" and bool(shown(path) - _shown_of_sound(sound))


def judge(path: Path, sound: Path, backend: str) -> Outcome:
    """Right, refused or wrong: the clips of a hurt file against those of the sound one, byte by byte."""
    expected_seconds, expected = _sound_clips(sound, backend)
    try:
        video = probe(path)
        plan = SAMPLING.plan_video(video)
        clips = iter_clips(video, plan, GEOMETRY, backend=backend)
        equal = [np.array_equal(clip, other) for clip, other in zip(clips, expected, strict=False)]
    except VideoError:
        return "refused"
    same_seconds = plan.seconds.shape == expected_seconds.shape and np.allclose(plan.seconds, expected_seconds)
    return "right" if same_seconds and all(equal) else "wrong"


_SOUND: dict[tuple[Path, str], tuple[np.ndarray, list[np.ndarray]]] = {}


def _sound_clips(sound: Path, backend: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Seconds and clips of the sound film, read once a process."""
    if (sound, backend) not in _SOUND:
        video = probe(sound)
        plan = SAMPLING.plan_video(video)
        try:
            clips = list(iter_clips(video, plan, GEOMETRY, backend=backend))
        except VideoError:  # a film that this decoder refuses although it is sound: it refuses the hurt one, too
            clips = []
        _SOUND[sound, backend] = plan.seconds, clips
    return _SOUND[sound, backend]


def shown(path: Path) -> set[str]:
    """All that FFmpeg complains of where it demuxes and decodes the file in order with every check on."""
    av.logging.set_level(av.logging.WARNING)
    complaints = set()
    try:
        with av.logging.Capture(local=False) as logs, av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            assert isinstance(stream, VideoStream)
            stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    complaints.add("a packet is marked as corrupt")
                try:
                    if any(frame.is_corrupt for frame in packet.decode()):
                        complaints.add("a frame is marked as corrupt")
                except av.error.FFmpegError as error:
                    complaints.add(type(error).__name__)
    except (av.error.FFmpegError, IndexError) as error:
        complaints.add(type(error).__name__)
    finally:
        av.logging.set_level(None)
    return complaints | {f"{name}: {message.strip()}" for _, name, message in logs}


@cache
def _shown_of_sound(path: Path) -> set[str]:
    """The same of a sound film, asked once a process."""
    return shown(path)


class _Patient:
    """Calls functions in another process, which may hang or die: decoders do, on damaged files."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self._process: SpawnProcess | None = None

    def __enter__(self) -> "_Patient":
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def call(self, function: Callable[..., tuple[Outcome, bool]], *arguments: Any) -> tuple[Outcome, bool]:
        """`function(*arguments)`, or that it crashed, where it raises, hangs or takes its process with it."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._connection.send((function, arguments))
            if self._connection.poll(self._deadline_seconds):
                answer: tuple[Outcome, bool] = self._connection.recv()
                return answer
        except (EOFError, OSError):
            pass  # the process died: the same as one that hangs
        self._end()
        return "crashed", False

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _serve(connection: Connection) -> None:
    """Answers calls until the other end is gone."""
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send(function(*arguments))
        except Exception:  # noqa: BLE001 -- whatever is not refused by name counts as a crash
            connection.send(("crashed", False))
