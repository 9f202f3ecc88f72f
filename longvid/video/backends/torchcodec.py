"""The torchcodec backend: PyTorch's decoder on the installed FFmpeg.

Used in its exact mode, which scans the file once more when it is opened. Refused are files whose frame count or times
it sees differently from the demux pass (in MPEG-TS, for one, it starts at the second keyframe) and files without
presentation times. It silently conceals damage, which PyAV reports.
Frames are converted to RGB at full size and then resized, by its own decoder for "bilinear" and by `Scaler` otherwise:
colours are darker by 1 level of 255 on average than with exact conversion.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from longvid.errors import UnreadableVideo
from longvid.video.frames import SAME_INSTANT_SECONDS, Frame, Interpolation
from longvid.video.metadata import VideoProbe
from longvid.video.scaling import Scaler

UNSEEKABLE_CONTAINERS = ("mpeg",)
BATCH_FRAMES = 8


def version() -> str:
    """torchcodec's own version."""
    import torchcodec

    return torchcodec.__version__


def read_frames(
    video: VideoProbe,
    indices: Int64[np.ndarray, "frames"],
    *,
    height: int,
    width: int,
    interpolation: Interpolation,
    num_threads: int,
) -> Iterator[Frame]:
    """Yields the frames at strictly increasing display positions, see `backends.ReadFrames`."""
    return frames_on(
        None, video, indices, height=height, width=width, interpolation=interpolation, num_threads=num_threads
    )


def frames_on(
    device: str | None,
    video: VideoProbe,
    indices: Int64[np.ndarray, "frames"],
    *,
    height: int,
    width: int,
    interpolation: Interpolation,
    num_threads: int,
) -> Iterator[Frame]:
    """The same, decoded on a torch device (None: the CPU), where frames keep their size until they are in memory."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    _require_reliable_times(video)
    shrinks_itself = interpolation == "bilinear" and device is None
    scaler = Scaler(height, width, interpolation)
    try:
        decoder = VideoDecoder(
            str(video.path.absolute()) if isinstance(video.path, Path) else video.path.open(),
            stream_index=video.stream_index,
            dimension_order="NHWC",
            num_ffmpeg_threads=num_threads,
            transforms=[Resize((height, width))] if shrinks_itself else None,
            device=device or "cpu",
        )
        if device is not None and getattr(decoder, "cpu_fallback", False):
            raise UnreadableVideo(f"{video.path}: {device} has no decoder for {video.header.codec}; use PyAV")
        _require_same_frames(video, len(decoder))
        for begin in range(0, len(indices), BATCH_FRAMES):
            batch_indices = indices[begin : begin + BATCH_FRAMES]
            batch = decoder.get_frames_at(batch_indices.tolist())
            _require_same_times(video, batch_indices, batch.pts_seconds.numpy())
            for picture in batch.data.cpu().numpy():
                yield picture.copy() if shrinks_itself else scaler.scale_rgb(picture)
    except UnreadableVideo:
        raise
    except (RuntimeError, IndexError, ValueError) as error:
        raise UnreadableVideo(f"{video.path}: torchcodec cannot read it: {_first_line(error)}; use PyAV") from error


def _require_reliable_times(video: VideoProbe) -> None:
    if not video.measured.has_presentation_times:
        raise UnreadableVideo(f"{video.path}: torchcodec needs presentation times, its container has none; use PyAV")
    if video.header.container in UNSEEKABLE_CONTAINERS:
        raise UnreadableVideo(f"{video.path}: torchcodec sees other times after a jump in its container; use PyAV")


def _require_same_frames(video: VideoProbe, num_frames: int) -> None:
    if num_frames != video.measured.num_frames:
        raise UnreadableVideo(
            f"{video.path}: torchcodec sees {num_frames} frames where {video.measured.num_frames} are displayable; "
            "use PyAV"
        )


def _require_same_times(video: VideoProbe, indices: Int64[np.ndarray, "frames"], seconds: np.ndarray) -> None:
    wrong = np.abs(seconds - video.measured.frame_seconds[indices]) > SAME_INSTANT_SECONDS
    if wrong.any():
        at = int(np.argmax(wrong))
        raise UnreadableVideo(
            f"{video.path}: torchcodec gives the frame at {seconds[at]:.3f} s instead of the one at "
            f"{video.measured.frame_seconds[indices[at]]:.3f} s; use PyAV"
        )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
