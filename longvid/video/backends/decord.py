"""The decord backend, kept for comparison with older work.

decord is unmaintained since 2022 and has an old FFmpeg of its own (no AV1). Its frame count and times, which it shifts
to start at 0, must agree with the demux pass, and frames that it would silently replace by a neighbour are an error.
It is read frame by frame from the first on, because after a seek or a skip it silently returns wrong frames (HEVC,
MPEG-TS, FLV): a late piece costs as much as the whole video up to there.
It runs with one thread: with more it decodes ahead of a slow reader without limit. A hang inside it holds the
interpreter's lock, so run it in a process that may be killed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from longvid.errors import UnreadableVideo
from longvid.video.frames import Frame, Interpolation
from longvid.video.metadata import VideoProbe
from longvid.video.scaling import Scaler

SAME_TIME_SECONDS = 0.0005
"""decord keeps times as float32 seconds: 10 hours in, they are 4 ms apart, so the tolerance grows with them."""

NO_REPLACEMENTS = 1e-9
"""Share of frames that decord may replace by a neighbour before it raises; with 0 it would never raise."""


UNINDEXED_CONTAINERS = ("mpegts", "mpeg")
"""Containers in which decord's rewind, even to the start, lands too late, so that its first frames are wrong."""


def version() -> str:
    """decord's own version."""
    import decord

    number: str = decord.__version__
    return number


def read_frames(
    video: VideoProbe,
    indices: Int64[np.ndarray, "frames"],
    *,
    height: int,
    width: int,
    interpolation: Interpolation,
    num_threads: int,
) -> Iterator[Frame]:
    """Yields the frames at strictly increasing display positions, see `backends.ReadFrames`; always one thread."""
    import decord

    if not isinstance(video.path, Path):
        raise UnreadableVideo(f"{video.path}: decord reads local files only; use PyAV")
    decord.logging.set_level(decord.logging.FATAL)
    scaler = Scaler(height, width, interpolation)
    try:
        reader = decord.VideoReader(str(video.path.absolute()), num_threads=1, fault_tol=NO_REPLACEMENTS)
        _require_same_frames(video, reader)
        wanted = set(indices.tolist())
        for position in range(max(wanted, default=-1) + 1):
            picture = reader.next()
            if position in wanted:
                yield scaler.scale_rgb(picture.asnumpy())
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError) as error:
        raise UnreadableVideo(f"{video.path}: decord cannot read it; use PyAV") from error


def _require_same_frames(video: VideoProbe, reader: Any) -> None:
    """Raise UnreadableVideo for a file about which decord disagrees with the demux pass."""
    measured = video.measured
    if video.header.container in UNINDEXED_CONTAINERS:
        raise UnreadableVideo(
            f"{video.path}: decord loses the first frames of {video.header.container} files; use PyAV"
        )
    if video.header.num_video_streams > 1:
        raise UnreadableVideo(f"{video.path}: decord cannot be told which of the video streams to read; use PyAV")
    if not measured.has_presentation_times:
        raise UnreadableVideo(f"{video.path}: decord needs presentation times, its container has none; use PyAV")
    if len(reader) != measured.num_frames:
        raise UnreadableVideo(
            f"{video.path}: decord sees {len(reader)} frames where {measured.num_frames} are displayable; use PyAV"
        )
    seconds = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0]
    expected = measured.frame_seconds - measured.begin_seconds
    if (np.abs(seconds - expected) > SAME_TIME_SECONDS + expected * np.finfo(np.float32).eps).any():
        raise UnreadableVideo(f"{video.path}: decord gives other presentation times; use PyAV")
