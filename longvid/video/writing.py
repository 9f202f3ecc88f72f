"""Writing small video files, for self-tests, tests and demonstrations."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float64, UInt8

MILLISECOND = Fraction(1, 1000)


def write_video(
    path: str | Path,
    pictures: Iterable[UInt8[np.ndarray, "height width 3"]],
    *,
    fps: int | Fraction = 30,
    seconds: Float64[np.ndarray, "frames"] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    keyframe_every: int = 12,
    b_frames: int = 2,
    rotation_degrees: int = 0,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encodes RGB pictures of one size to a file, whose suffix selects the container; returns its path.

    `seconds` are presentation times in whole milliseconds, for a variable rate or a late start; without them the rate
    is constant. `codec` is one of FFmpeg's encoders ("libx264", "mpeg4", "libsvtav1", ...). `rotation_degrees` is the
    anti-clockwise turn that a player should apply. Pictures are taken one at a time, so they may come from a generator.
    """
    time_base = 1 / Fraction(fps) if seconds is None else MILLISECOND
    with _usual_priority(), av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=codec_options or {})
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt, stream.time_base = pixel_format, time_base
        context = stream.codec_context
        context.time_base, context.gop_size, context.max_b_frames = time_base, keyframe_every, b_frames
        if rotation_degrees:
            stream.set_display_rotation(rotation_degrees)
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.time_base = time_base
            frame.pts = index if seconds is None else round(float(seconds[index]) / MILLISECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


@contextmanager
def _usual_priority() -> Iterator[None]:
    """The calling thread stays as it is scheduled: SVT-AV1 makes it real-time, if it may (as root)."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, priority)
