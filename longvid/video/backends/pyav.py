"""PyAV: FFmpeg in the process, bundled with its wheel, so the backend that is always there.

Exact by construction: a frame is what the decoder gives for the presentation time that the demux pass measured.
Fast by three things: unneeded frames that no other frame refers to are skipped inside the decoder, unneeded stretches
from one keyframe to another are jumped over, and only wanted frames are ever converted to RGB.
Strict: the decoder is told to report damage instead of painting over it, and after damage nothing is believed until the
next keyframe.
"""

from collections.abc import Iterator

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Int64

from longvid.errors import UnreadableVideo
from longvid.preprocessing import Interpolation
from longvid.video.metadata import MeasuredTiming, VideoProbe
from longvid.video.scaling import Frame, Scaler

SEEK_GAIN_FRAMES = 4
"""A jump has to save decoding at least this many frames. Measured on 360p and 720p H.264: any gain from 1 to 8 costs
the same within noise; at one frame a second jumping takes 0.42 x the time with a keyframe every half second."""

RETRY_KEYFRAMES = (1, 4)
"""Where a frame does not come, decoding starts again so many keyframes earlier, skipping nothing: containers may
land behind the keyframe they were asked for, and frames of open GOPs refer across it."""


SKIPPING_CODECS = ("h264", "hevc", "mpeg4", "mpeg2video")
"""Codecs whose decoders heed "skip this one if nothing refers to it" from packet to packet; dav1d, for AV1, takes the
first such word for all that follow."""


def version() -> str:
    """PyAV's own version."""
    return av.__version__


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
    scaler = Scaler(height, width, interpolation, video.header.rotation_degrees)
    reader = _ForwardReader(video, indices, num_threads)
    try:
        for index in indices.tolist():
            yield scaler.scale(reader.picture(index))
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"{video.path}: PyAV cannot read it: {error.strerror}") from error
    finally:
        reader.close()


class _ForwardReader:
    """Goes forward through one stream from wanted picture to wanted picture."""

    def __init__(self, video: VideoProbe, indices: Int64[np.ndarray, "frames"], num_threads: int) -> None:
        self._video, self._timing, self._num_threads = video, video.measured, num_threads
        self._wanted_pts = video.measured.frame_pts[indices]
        self._opened: tuple[InputContainer, VideoStream] | None = None
        self._run: _Run | None = None
        self._position = -1

    def close(self) -> None:
        """Lets go of the file."""
        if self._opened is not None:
            self._opened[0].close()

    def picture(self, index: int) -> VideoFrame:
        """The picture at a display position beyond the last one asked for. Raises UnreadableVideo if it is damaged."""
        pts = int(self._timing.frame_pts[index])
        keyframe = self._keyframe_before(index)
        picture = self._run_for(keyframe).picture(pts)
        for back in RETRY_KEYFRAMES:
            if picture is not None or keyframe is None:
                break
            picture = self._restart(keyframe - back, skip=False).picture(pts)
        if picture is None:
            seconds = self._timing.frame_seconds[index]
            raise UnreadableVideo(f"{self._video.path}: the frame at {seconds:.3f} s is damaged and cannot be decoded")
        self._position = index
        return picture

    def _keyframe_before(self, index: int) -> int | None:
        """The last keyframe at or before a display position; None where only the file's begin will do."""
        if not self._timing.has_presentation_times:
            return None
        return int(np.searchsorted(self._timing.keyframe_indices, index, side="right")) - 1

    def _run_for(self, keyframe: int | None) -> "_Run":
        """The current run, or a new one if it pays to jump to the keyframe."""
        if keyframe is not None and keyframe >= 0:
            gain_frames = self._timing.keyframe_indices[keyframe] - (self._position + 1)
            if gain_frames >= SEEK_GAIN_FRAMES:
                return self._restart(keyframe, skip=True)
        return self._run or self._restart(None, skip=True)

    def _restart(self, keyframe: int | None, *, skip: bool) -> "_Run":
        """A new run, from a keyframe or, where that is None or not there, from the begin of the file."""
        may_skip = skip and self._timing.has_presentation_times and self._video.header.codec in SKIPPING_CODECS
        from_begin = keyframe is None or keyframe < 0
        if self._opened is None or from_begin:
            self.close()
            self._opened = _open(self._video, self._num_threads)
        container, stream = self._opened
        if not from_begin:
            pts = int(self._timing.frame_pts[self._timing.keyframe_indices[keyframe]])
            container.seek(pts, stream=stream)
        self._run = _Run(self._timing, container.demux(stream), stream, self._wanted_pts if may_skip else None)
        return self._run


def _open(video: VideoProbe, num_threads: int) -> tuple[InputContainer, VideoStream]:
    """The file and its stream, with a decoder that reports damage."""
    container = av.open(str(video.path))
    stream = container.streams[video.stream_index]
    assert isinstance(stream, VideoStream)
    stream.codec_context.options = {"err_detect": "explode"}
    stream.codec_context.thread_type, stream.codec_context.thread_count = "AUTO", num_threads
    return container, stream


class _Run:
    """Decoding without a jump, from the first keyframe among the packets on. `wanted_pts=None` wants every picture."""

    def __init__(
        self,
        timing: MeasuredTiming,
        packets: Iterator[Packet],
        stream: VideoStream,
        wanted_pts: Int64[np.ndarray, "frames"] | None,
    ) -> None:
        self._timing, self._packets = timing, _without_torn_end(packets)
        self._context = stream.codec_context
        self._wanted_pts = wanted_pts
        self._first_pts: int | None = None
        self._is_damaged = False
        self._pictures = self._shown() if timing.has_presentation_times else self._counted()

    def picture(self, pts: int) -> VideoFrame | None:
        """Goes on to the picture with this presentation time; None where it does not come, or comes damaged."""
        for picture_pts, picture in self._pictures:
            if picture_pts >= pts:
                return None if self._is_damaged or picture_pts > pts else picture
        return None

    def _shown(self) -> Iterator[tuple[int, VideoFrame]]:
        """Pictures by their own presentation times, those of an open GOP before the first keyframe left out."""
        for picture in self._decode():
            if picture.pts is not None and self._first_pts is not None and picture.pts >= self._first_pts:
                self._is_damaged = picture.is_corrupt or (self._is_damaged and not picture.key_frame)
                yield picture.pts, picture

    def _counted(self) -> Iterator[tuple[int, VideoFrame]]:
        """Pictures in the decoder's order, each with the next time there is. One lost spoils all that follow."""
        for pts, picture in zip(self._timing.frame_pts.tolist(), self._decode(), strict=False):
            self._is_damaged = picture.is_corrupt or self._is_damaged
            yield pts, picture

    def _decode(self) -> Iterator[VideoFrame]:
        """All that comes out of the decoder from the first keyframe packet on."""
        for packet in self._packets:
            if self._first_pts is None and packet.size:
                if not packet.is_keyframe:
                    continue
                self._first_pts = packet.pts
            self._context.skip_frame = "DEFAULT" if self._is_wanted(packet) else "NONREF"
            try:
                pictures = self._context.decode(packet)
            except av.error.InvalidDataError:
                self._is_damaged = True
                continue
            yield from pictures

    def _is_wanted(self, packet: Packet) -> bool:
        """Whether the packet's picture was asked for; if not, and no other refers to it, it need not be decoded."""
        if self._wanted_pts is None or packet.pts is None:
            return True
        at = int(np.searchsorted(self._wanted_pts, packet.pts))
        return at < len(self._wanted_pts) and int(self._wanted_pts[at]) == packet.pts


def _without_torn_end(packets: Iterator[Packet]) -> Iterator[Packet]:
    """All packets but a last one that is only there in part, which the demux pass left out as well."""
    held: Packet | None = None
    for packet in packets:
        if held is not None and packet.size:
            yield held
        held = packet if packet.is_corrupt else None
        if held is None:
            yield packet
