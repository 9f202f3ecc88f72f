"""torchcodec: PyTorch's decoder over the FFmpeg libraries installed on the machine.

Used in its exact mode, which scans the file once more when it is opened. What it cannot be trusted with is refused:
files whose frame count or times it sees differently from the demux pass (MPEG-TS, for one, starts it at the second
keyframe) and files without presentation times. Damage it paints over without a word, which PyAV reports.
Frames are turned to RGB at full size and shrunk then, by its own decoder for "bilinear" and by `Scaler` otherwise:
colours are off by 1 level of 255 on average against exact conversion, to the dark side.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from longvid.clips.preprocessing import Interpolation
from longvid.clips.sampling import SAME_INSTANT_SECONDS
from longvid.errors import UnreadableVideo
from longvid.video.metadata import VideoProbe
from longvid.video.scaling import Frame, Scaler

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
    """The frames at strictly increasing display positions, see `backends.ReadFrames`."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    _require_reliable_times(video)
    shrinks_itself = interpolation == "bilinear"
    scaler = Scaler(height, width, interpolation)
    try:
        decoder = VideoDecoder(
            str(video.path.absolute()),
            stream_index=video.stream_index,
            dimension_order="NHWC",
            num_ffmpeg_threads=num_threads,
            transforms=[Resize((height, width))] if shrinks_itself else None,
        )
        _require_same_frames(video, len(decoder))
        for begin in range(0, len(indices), BATCH_FRAMES):
            batch_indices = indices[begin : begin + BATCH_FRAMES]
            batch = decoder.get_frames_at(batch_indices.tolist())
            _require_same_times(video, batch_indices, batch.pts_seconds.numpy())
            for picture in batch.data.numpy():
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
