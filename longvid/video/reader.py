"""Frames of a video by time, in one pass and constant memory."""

from collections.abc import Iterator, Sequence
from heapq import merge
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from longvid.errors import DamagedVideo, TruncatedVideo
from longvid.video.backends import BACKENDS, resolve_backend
from longvid.video.frames import SAME_INSTANT_SECONDS, Frame, FramesWanted, Interpolation, frames_on_screen
from longvid.video.metadata import VideoProbe
from longvid.video.probing import probe


def iter_frames(
    video: str | Path | VideoProbe,
    seconds: Float64[np.ndarray, "frames"],
    *,
    height: int,
    width: int,
    interpolation: Interpolation = "bilinear",
    backend: str = "auto",
    allow_truncated: bool = False,
    num_threads: int = 1,
) -> Iterator[Frame]:
    """The frame on screen at each of the instants: upright RGB, uint8, resized to (height, width) as it is decoded.

    `seconds` never decrease. The frame on screen is the last one that has started by then; before the first frame it is
    the first. Equal instants, or two during one frame, give the same array twice: copy it before writing to it.
    Each frame is decoded once; one full-size picture is in memory at a time.
    Raises ValueError for instants out of order or beyond the end; TruncatedVideo for a file that ends early, unless
    `allow_truncated` says to use the frames it has; DamagedVideo for a damaged frame: before anything is decoded if the
    probe found the damage, otherwise when the decoder reaches it.
    """
    video = video if isinstance(video, VideoProbe) else probe(video)
    seconds = np.asarray(seconds, np.float64)
    require_readable(video, seconds, allow_truncated)
    indices = frames_on_screen(video.measured.frame_seconds, seconds)
    return _repeated(indices, decoded_frames(video, indices, height, width, interpolation, backend, num_threads))


def require_sound(video: VideoProbe, seconds: Float64[np.ndarray, "*instants"]) -> None:
    """Raise DamagedVideo, with the seconds, if the probe found damage at one of the instants."""
    if not video.damage:
        return
    touched = [damage for damage, touches in zip(video.damage, touching(video, seconds), strict=True) if touches.any()]
    if touched:
        raise DamagedVideo(f"{video.path}: {'; '.join(map(str, touched))}; get a sound copy of the file")


def touching(video: VideoProbe, seconds: Float64[np.ndarray, "*instants"]) -> list[Bool[np.ndarray, "*instants"]]:
    """Masks, one per damage of the video, of the instants that lie in it or show a frame that does."""
    on_screen = video.measured.frame_seconds[frames_on_screen(video.measured.frame_seconds, seconds)]
    return [
        ((seconds >= start) & (seconds < end)) | ((on_screen >= start) & (on_screen < end))
        for start, end in (
            (damage.start_seconds - SAME_INSTANT_SECONDS, damage.end_seconds - SAME_INSTANT_SECONDS)
            for damage in video.damage
        )
    ]


def require_readable(video: VideoProbe, seconds: Float64[np.ndarray, "frames"], allow_truncated: bool) -> None:
    """Refuse instants that have no correct frame, before anything is decoded."""
    refuse_truncated(video, allow_truncated)
    if len(seconds) == 0:
        return
    if not np.isfinite(seconds).all() or (np.diff(seconds) < 0).any():
        raise ValueError("seconds: expected finite instants that never decrease")
    if seconds[-1] > video.end_seconds + SAME_INSTANT_SECONDS:
        raise ValueError(f"{video.path}: {seconds[-1]} s lies beyond the end of the video ({video.end_seconds} s)")
    require_sound(video, seconds)


def refuse_truncated(video: VideoProbe, allow_truncated: bool) -> None:
    """Raise TruncatedVideo for a file that ends early, unless that is allowed."""
    if video.truncated and not allow_truncated:
        raise TruncatedVideo(
            f"{video.path}: {video.problems[0]}; get the whole file, or allow truncated videos to use its "
            f"{video.duration_seconds:.2f} s"
        )


def decoded_frames(
    video: VideoProbe,
    indices: Int64[np.ndarray, "frames"],
    height: int,
    width: int,
    interpolation: Interpolation,
    backend: str,
    num_threads: int,
) -> Iterator[tuple[int, Frame]]:
    """Yields each wanted frame once, in display order, with its display position."""
    unique = np.unique(indices)
    frames = BACKENDS[resolve_backend(video, backend)].read_frames(
        video, unique, height=height, width=width, interpolation=interpolation, num_threads=num_threads
    )
    return zip(unique.tolist(), frames, strict=True)


def frames_together(
    video: VideoProbe, wanted: Sequence[FramesWanted], backend: str, num_threads: int
) -> Iterator[tuple[int, int, Frame]]:
    """Display position, number of the reader and frame, in order of position, for several readers of one video.

    Each frame is decoded once, whoever wants it, if the backend can; each reader gets what `decoded_frames` gives it.
    """
    chosen = BACKENDS[resolve_backend(video, backend)]
    if chosen.read_together is not None:
        return chosen.read_together(video, wanted, num_threads=num_threads)
    each = [_numbered(video, number, one, backend, num_threads) for number, one in enumerate(wanted)]
    return merge(*each, key=lambda found: found[:2])


def _numbered(
    video: VideoProbe, number: int, wanted: FramesWanted, backend: str, num_threads: int
) -> Iterator[tuple[int, int, Frame]]:
    size = (wanted.height, wanted.width, wanted.interpolation)
    for index, frame in decoded_frames(video, wanted.indices, *size, backend, num_threads):
        yield index, number, frame


def _repeated(indices: Int64[np.ndarray, "frames"], frames: Iterator[tuple[int, Frame]]) -> Iterator[Frame]:
    """One frame per position; positions never decrease."""
    at, frame = -1, None
    for index in indices.tolist():
        while at < index:
            at, frame = next(frames)
        assert frame is not None
        yield frame
