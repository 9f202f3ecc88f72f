"""Small pictures along a video, as data URIs."""

import base64
import io
from pathlib import Path

import numpy as np

from longvid.errors import LongvidError

HEIGHT = 72
"""Height in pixels; the width follows the video's shape."""
WIDEST = 160
CANDIDATES = 5
"""Frames read for each one shown."""


def thumbnails(path: str, begin_seconds: float, end_seconds: float, *, count: int = 8) -> list[str]:
    """`count` JPEG data URIs, one for each equal part of the span: the frame that differs most from the usual ones.

    That shows an event of a few seconds, which a frame at a fixed time would most likely miss. Raises `VideoError` (or
    another `LongvidError`) if the file is gone or cannot be read.
    """
    from longvid.video import iter_frames, probe

    video = probe(path)
    edges = np.linspace(begin_seconds, end_seconds, count * CANDIDATES + 1)
    seconds = np.clip((edges[:-1] + edges[1:]) / 2, video.begin_seconds, video.end_seconds)
    width = min(WIDEST, max(16, round(HEIGHT * video.width / video.height)))
    found = iter_frames(video, seconds, height=HEIGHT, width=width, interpolation="area", allow_truncated=True)
    frames = np.stack(list(found))
    unlike = np.abs(frames - np.median(frames, axis=0)).mean(axis=(1, 2, 3)).reshape(count, CANDIDATES)
    chosen = np.arange(count) * CANDIDATES + unlike.argmax(axis=1)
    return [_data_uri(frame) for frame in frames[chosen]]


def whole_video_thumbnails(
    path: str | None, begin_seconds: float | None, end_seconds: float | None, *, count: int = 8
) -> tuple[list[str], str]:
    """The same as `thumbnails_or_reason`, of the whole video where its start or end is not given."""
    from longvid.video import probe

    if (begin_seconds is None or end_seconds is None) and path is not None and Path(path).is_file():
        try:
            video = probe(path)
        except (LongvidError, OSError, ValueError) as error:
            return [], f"No pictures: {error}"
        begin_seconds = video.begin_seconds if begin_seconds is None else begin_seconds
        end_seconds = video.end_seconds if end_seconds is None else end_seconds
    return thumbnails_or_reason(path, begin_seconds or 0.0, end_seconds or 0.0, count=count)


def thumbnails_or_reason(
    path: str | None, begin_seconds: float, end_seconds: float, *, count: int = 8
) -> tuple[list[str], str]:
    """Thumbnails and an empty reason, or no thumbnails and the reason."""
    if path is None:
        return [], "The manifest names no file for this video."
    if "://" in path or not Path(path).is_file():  # a run may come from anywhere, and a report fetches nothing
        return [], "No pictures: the file of this video is not on this machine."
    try:
        return thumbnails(path, begin_seconds, end_seconds, count=count), ""
    except (LongvidError, OSError, ValueError) as error:
        return [], f"No pictures: {error}"


def _data_uri(frame: np.ndarray) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
