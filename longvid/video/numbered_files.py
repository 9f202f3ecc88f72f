"""Files of numbered pictures, one for each thing that real files do.

What is in each file is known, so that a decoder can be told right from silently wrong: `longvid doctor --decoders` and
the tests read them through every backend.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from longvid.video.numbered import numbered_picture
from longvid.video.writing import write_video

HEIGHT, WIDTH, NUM_FRAMES = 96, 120, 60
FIXED_GOPS = {"sc_threshold": "0", "preset": "veryfast"}
FAST_AV1 = {"preset": "8", "crf": "20"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
FASTSTART = {"movflags": "faststart"}


@dataclass(frozen=True)
class Truth:
    """A file and what is in it: the number in each displayable picture and when it comes on screen."""

    path: Path
    numbers: list[int]
    seconds: np.ndarray
    tolerance_seconds: float = 1e-6
    """What the container rounds away."""
    refused_by: dict[str, str] = field(default_factory=dict)
    """Backends that cannot read this file, and a word of the reason they have to give."""


def pictures(count: int = NUM_FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Iterator[np.ndarray]:
    """Pictures of the numbers from 0 on."""
    return (numbered_picture(number, height, width) for number in range(count))


def steady(count: int = NUM_FRAMES, fps: float = 30, begin: float = 0.0) -> np.ndarray:
    """Times of frames at a constant rate."""
    return begin + np.arange(count) / fps


def uneven(count: int = NUM_FRAMES) -> np.ndarray:
    """Whole milliseconds with gaps from 8 ms to half a second: a screen recording, or a camera in the dark."""
    return np.cumsum(np.random.default_rng(5).choice([8, 17, 33, 40, 120, 500], count)) / 1000 - 0.008


def plain(path: Path, **options: Any) -> Truth:
    """An ordinary file of 60 frames at 30 frames per second."""
    options = {"codec_options": FIXED_GOPS} | options
    return Truth(write_video(path, pictures(), **options), list(range(NUM_FRAMES)), steady(), 0.00051)


def timed(path: Path, seconds: np.ndarray, **refused_by: str) -> Truth:
    """A file with frames at these times."""
    write_video(path, pictures(len(seconds)), seconds=seconds, codec_options=FIXED_GOPS)
    return Truth(path, list(range(len(seconds))), seconds, 0.00051, refused_by)


def late_mp4(path: Path) -> Truth:
    """A file that starts at five seconds."""
    return timed(path, steady(begin=5.0))


def without_times(path: Path, codec: str) -> Truth:
    """AVI stores no presentation times, so with B-frames only the decoder's order is left."""
    write_video(path, pictures(), codec=codec, b_frames=2)
    refused = {"torchcodec": "presentation times", "decord": "presentation times"}
    return Truth(path, list(range(NUM_FRAMES)), steady(), refused_by=refused)


def odd_size(path: Path) -> Truth:
    """Neither side divides by two, which 4:2:0 chroma would like."""
    write_video(path, pictures(NUM_FRAMES, 97, 121), codec="mpeg4", b_frames=0)
    return Truth(path, list(range(NUM_FRAMES)), steady())


def rotated(path: Path, degrees: int) -> Truth:
    """A file whose pictures lie on their side, with a note that says how to turn them."""
    turned = (np.rot90(picture, -degrees // 90) for picture in pictures(12))
    write_video(path, turned, rotation_degrees=degrees, codec_options=FIXED_GOPS)
    return Truth(path, list(range(12)), steady(12))


def two_streams(path: Path) -> Truth:
    """A small stream of zeros first, the numbered one second, and both claim to be the default."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=30, options=FIXED_GOPS) for _ in range(2)]
        for stream, height, width in zip(streams, (48, HEIGHT), (64, WIDTH), strict=True):
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.disposition = av.stream.Disposition.default
        for number in range(NUM_FRAMES):
            small, large = numbered_picture(0, 48, 64), numbered_picture(number, HEIGHT, WIDTH)
            for stream, picture in zip(streams, (small, large), strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return Truth(path, list(range(NUM_FRAMES)), steady(), refused_by={"decord": "which of the video streams"})


CUT_REFUSED = {"decord": "frames where", "torchcodec": "instead of"}


def copied_cut(path: Path) -> Truth:
    """What `ffmpeg -ss 1.3 -c copy` makes: packets from a keyframe on, those before 1.3 s hidden by an edit list."""
    source = path.with_name("source-of-" + path.name)
    write_video(source, pictures(), keyframe_every=24, b_frames=0, codec_options=FIXED_GOPS)
    with av.open(str(source)) as whole, av.open(str(path), "w") as cut:
        stream = whole.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        assert stream.time_base is not None
        begin = int(Fraction(39, 30) / stream.time_base)
        whole.seek(begin, stream=stream)
        for packet in whole.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, copy
                cut.mux(packet)
    return Truth(path, list(range(39, NUM_FRAMES)), steady(NUM_FRAMES - 39), refused_by=CUT_REFUSED)


def attached_picture(path: Path) -> Truth:
    """A film with a cover: one big picture that is a video stream to FFmpeg, but not a video."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 480, 640, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream("libx264", rate=30, options=FIXED_GOPS)
        film.height, film.width, film.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        picture = av.VideoFrame.from_ndarray(numbered_picture(0, 480, 640), format="rgb24").reformat(format="yuvj420p")
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        for number, numbered in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(numbered, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
    return Truth(path, list(range(NUM_FRAMES)), steady())


PS_REFUSED = {"decord": "loses the first frames", "torchcodec": "after a jump"}
TS_REFUSED = {"decord": "loses the first frames", "torchcodec": "instead of"}

MAKERS: dict[str, Callable[[Path], Truth]] = {
    "steady.mp4": plain,
    "steady.mkv": plain,
    "faststart.mp4": lambda path: plain(path, container_options=FASTSTART),
    "no_b_frames.mp4": lambda path: plain(path, b_frames=0),
    "long_gop.mp4": lambda path: plain(path, keyframe_every=250),
    "all_keyframes.mp4": lambda path: plain(path, keyframe_every=1, b_frames=0),
    "fragmented.mp4": lambda path: replaced(plain(path, container_options=FRAGMENTED), shift=True),
    "variable.mp4": lambda path: timed(path, uneven()),
    "variable.mkv": lambda path: timed(path, uneven()),
    "late.mp4": late_mp4,
    "late.mkv": lambda path: timed(path, steady(begin=5.0)),
    "live.mkv": lambda path: replaced(plain(path, container_options={"live": "1"}), decord="cannot read"),
    "transport.ts": lambda path: replaced(plain(path), shift=True, **TS_REFUSED),
    "program.mpg": lambda path: replaced(plain(path, codec="mpeg2video", codec_options={}), shift=True, **PS_REFUSED),
    "open_gop.mp4": lambda path: plain(path, b_frames=3, codec_options=FIXED_GOPS | {"x264-params": "open-gop=1"}),
    "intra_refresh.mp4": lambda path: replaced(
        plain(path, b_frames=0, codec_options=FIXED_GOPS | {"intra-refresh": "1"}), torchcodec="instead of"
    ),
    "flash.flv": lambda path: replaced(plain(path), shift=True),
    "mpeg4.avi": lambda path: plain(path, codec="mpeg4", b_frames=0, codec_options={}),
    "mpeg4_b_frames.avi": lambda path: without_times(path, "mpeg4"),
    "h264_b_frames.avi": lambda path: without_times(path, "libx264"),
    "ten_bit.mp4": lambda path: plain(path, pixel_format="yuv420p10le"),
    "hevc.mp4": lambda path: plain(path, codec="libx265", codec_options={"x265-params": "log-level=none"}),
    "av1.mp4": lambda path: replaced(plain(path, codec="libsvtav1", codec_options=FAST_AV1), decord="cannot read"),
    "vp9.webm": lambda path: plain(path, codec="libvpx-vp9", codec_options={"cpu-used": "8", "deadline": "realtime"}),
    "odd.avi": odd_size,
    "rotated90.mp4": lambda path: rotated(path, 90),
    "rotated180.mp4": lambda path: rotated(path, 180),
    "rotated270.mov": lambda path: rotated(path, 270),
    "two_streams.mp4": two_streams,
    "cover.mp4": attached_picture,
    "copied_cut.mp4": copied_cut,
    "one_frame.mp4": lambda path: timed(path, np.zeros(1)),
    "two_frames.mp4": lambda path: timed(path, np.array([0.0, 0.7])),
}


def replaced(truth: Truth, *, shift: bool = False, **refused_by: str) -> Truth:
    """The truth with backends that refuse it; `shift` for containers that move the start away from 0."""
    seconds = truth.seconds
    if shift:
        with av.open(str(truth.path)) as container:
            stream = container.streams.video[0]
            assert stream.start_time is not None
            assert stream.time_base is not None
            seconds = seconds + float(stream.start_time * stream.time_base)
    return Truth(truth.path, truth.numbers, seconds, 0.0011, refused_by)


def cut_short(truth: Truth, path: Path, share: float = 0.6) -> Truth:
    """The file with its last part missing; the numbers are those of the whole one."""
    data = truth.path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return Truth(path, truth.numbers, truth.seconds, truth.tolerance_seconds)
