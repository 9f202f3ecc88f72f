"""The PyAV backend: FFmpeg bundled with a wheel, so always available.

Exact by construction: a frame is what the decoder gives for the presentation time that the demux pass measured.
Fast for three reasons: unneeded frames that no other frame refers to are skipped inside the decoder, unneeded stretches
from one keyframe to another are jumped over, and only wanted frames are converted to RGB.
Strict: the decoder is set to report damage instead of concealing it, and after damage no frame is used before the next
keyframe.
"""

from collections.abc import Generator, Iterator, Sequence
from itertools import dropwhile

import av
import av.codec.codec
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Int64

from longvid.errors import DamagedVideo, UnreadableVideo
from longvid.video.backends import kept_open
from longvid.video.frames import Frame, FramesWanted, Interpolation
from longvid.video.metadata import MeasuredTiming, VideoProbe
from longvid.video.opening import open_video, packets_of
from longvid.video.scaling import Scaler

SEEK_GAIN_FRAMES = 4
"""A jump must save the decoding of at least this many frames. Measured on 360p and 720p H.264: any value from 1 to 8
costs the same within noise; at one frame per second jumping takes 0.42 x the time with a keyframe every half second."""

NEVER = 2**63 - 1
"""A presentation time later than all others."""

UNSEEKABLE_CONTAINERS = ("mpeg",)
"""MPEG program streams, whose packets have other times after a jump than in order (38 of 120 frames were wrong)."""

SEEK_EARLIER_SECONDS = {"mpegts": 0.5}
"""Seconds to seek earlier: transport streams are sought by decoding time, which reordering puts before display."""

RETRY_KEYFRAMES = (1, 4)
"""Where a frame does not come, decoding starts again this many keyframes earlier, without skipping: containers may
land after the keyframe that was sought, and frames of open GOPs refer across it."""

ERROR_DETECTION = "crccheck+bitstream+buffer+explode"
"""What FFmpeg's decoders are to raise as an error. "aggressive" and "compliant" found nothing more in 800 damaged
files, and reject an intact file of an older encoder."""

SKIPPING_CODECS = ("h264", "hevc", "mpeg4", "mpeg2video")
"""Codecs whose decoders can change from packet to packet whether to skip frames that no other refers to; dav1d, for
AV1, applies the first such setting to all packets that follow."""


def version() -> str:
    """PyAV's own version."""
    return av.__version__


def decodes(codec: str) -> bool:
    """Whether this build of FFmpeg has a decoder for the codec, given by FFmpeg's name."""
    try:
        av.codec.Codec(codec, "r")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


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
    scaler = Scaler(height, width, interpolation, video.header.rotation_degrees)
    reader = _ForwardReader(video, indices, num_threads)
    try:
        for left, index in zip(range(len(indices) - 1, -1, -1), indices.tolist(), strict=True):
            frame = scaler.scale(reader.picture(index))
            if not left:
                reader.give_back()  # here, as nobody asks a generator for more than its last frame
            yield frame
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"{video.path}: PyAV cannot read it: {error.strerror}") from error
    finally:
        reader.close()


def read_together(
    video: VideoProbe, wanted: Sequence[FramesWanted], *, num_threads: int
) -> Iterator[tuple[int, int, Frame]]:
    """Yields what several readers want of one decoding, see `backends.ReadTogether`; equal sizes are scaled once."""
    positions = np.unique(np.concatenate([one.indices for one in wanted]))
    members = [np.isin(positions, one.indices, assume_unique=True) for one in wanted]
    sizes = [(one.height, one.width, one.interpolation) for one in wanted]
    scalers = {size: Scaler(*size, video.header.rotation_degrees) for size in sizes}
    reader = _ForwardReader(video, positions, num_threads)
    try:
        for at, position in enumerate(positions.tolist()):
            picture = reader.picture(position)
            scaled: dict[tuple[int, int, Interpolation], Frame] = {}
            for number, size in enumerate(sizes):
                if members[number][at]:
                    if size not in scaled:
                        scaled[size] = scalers[size].scale(picture)
                    yield position, number, scaled[size]
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"{video.path}: PyAV cannot read it: {error.strerror}") from error
    finally:
        reader.close()


class _ForwardReader:
    """Reads one stream forward, from wanted picture to wanted picture."""

    def __init__(self, video: VideoProbe, indices: Int64[np.ndarray, "frames"], num_threads: int) -> None:
        self._video, self._timing, self._num_threads = video, video.measured, num_threads
        self._wanted_pts = video.measured.frame_pts[indices]
        self._opened: tuple[InputContainer, VideoStream] | None = None
        self._run: _Run | None = None
        self._position = -1
        self._may_seek = self._timing.has_presentation_times and video.header.container not in UNSEEKABLE_CONTAINERS

    def close(self) -> None:
        """Closes the file and drops the pictures in the decoder."""
        if self._run is not None:
            self._run.close()
        if self._opened is not None:
            self._opened[0].close()

    def give_back(self) -> None:
        """Leaves the file to the next reader of it, if files are kept open and this one can be sought in."""
        if self._run is not None:
            self._run.close()
            self._run = None
        if self._opened is not None and self._may_seek:
            kept_open.given(self._video.path, self._num_threads, self._opened)
            self._opened = None

    def picture(self, index: int) -> VideoFrame:
        """The picture at a display position after the last one requested. Raises DamagedVideo if it is damaged."""
        pts = int(self._timing.frame_pts[index])
        for run in self._attempts(index):
            picture = run.picture(pts)
            if picture is not None:
                self._position = index
                return picture
        seconds = self._timing.frame_seconds[index]
        raise DamagedVideo(f"{self._video.path}: the frame at {seconds:.3f} s is damaged and cannot be decoded")

    def _attempts(self, index: int) -> Iterator["_Run"]:
        """Decoding runs that should reach the picture: the cheapest first, then safer ones."""
        keyframe = int(np.searchsorted(self._timing.keyframe_indices, index, side="right")) - 1
        gain_frames = int(self._timing.keyframe_indices[keyframe]) - (self._position + 1) if keyframe >= 0 else 0
        if self._may_seek and gain_frames >= SEEK_GAIN_FRAMES:
            run = self._start(keyframe)
        else:
            run = self._run or self._start(None)
        yield run
        for back in RETRY_KEYFRAMES:
            if run.keyframe_pts is None or run.landed_wrong:
                break
            run = self._start(keyframe - back, skip=False)
            yield run
        if run.landed_wrong:
            self._may_seek = False
            yield self._start(None, skip=False)

    def _start(self, keyframe: int | None, *, skip: bool = True) -> "_Run":
        """A new run, from a keyframe or, where that is None or cannot be sought, from the start of the file."""
        may_skip = skip and self._timing.has_presentation_times and self._video.header.codec in SKIPPING_CODECS
        pts = None
        if keyframe is not None and keyframe >= 0:
            pts = int(self._timing.frame_pts[self._timing.keyframe_indices[keyframe]])
        if self._run is not None:
            self._run.close()
        if self._opened is None and pts is not None:
            self._opened = kept_open.taken(self._video.path, self._video.stream_index, self._num_threads)
        if self._opened is None or pts is None:
            self.close()
            self._opened = _open(self._video, self._num_threads)
        container, stream = self._opened
        if pts is not None:
            earlier_seconds = SEEK_EARLIER_SECONDS.get(self._video.header.container, 0.0)
            container.seek(pts - int(earlier_seconds / self._timing.time_base), stream=stream)
        packets = _without_torn_end(packets_of(container, stream))
        self._run = _Run(self._timing, stream, packets, pts, self._wanted_pts if may_skip else None)
        return self._run


def _open(video: VideoProbe, num_threads: int) -> tuple[InputContainer, VideoStream]:
    """The file and its stream, with a decoder that is set to report damage."""
    container = open_video(video.path)
    stream = container.streams[video.stream_index]
    assert isinstance(stream, VideoStream)
    stream.codec_context.options = {"err_detect": ERROR_DETECTION}
    stream.codec_context.thread_type, stream.codec_context.thread_count = "AUTO", num_threads
    return container, stream


class _Run:
    """Decoding without a jump, from the first keyframe among the packets on.

    `keyframe_pts` is the time of the keyframe that was sought, None at the start of the file; `wanted_pts=None` wants
    every picture. After a jump the first packet must have the time of a keyframe, and the first picture must be that
    keyframe: if not, `landed_wrong` is set and no picture comes. (In program streams packets have other times after a
    jump; with intra refresh, what containers call a keyframe is only where pictures start to become complete.)
    """

    def __init__(
        self,
        timing: MeasuredTiming,
        stream: VideoStream,
        packets: Iterator[Packet],
        keyframe_pts: int | None,
        wanted_pts: Int64[np.ndarray, "frames"] | None,
    ) -> None:
        self.keyframe_pts, self.landed_wrong = keyframe_pts, False
        self._timing, self._context, self._wanted_pts = timing, stream.codec_context, wanted_pts
        self._all_keyframe_pts = timing.frame_pts[timing.keyframe_indices]
        self._packets = dropwhile(lambda packet: packet.size and not packet.is_keyframe, packets)
        self._begin_pts: int | None = None
        self._sound_from = -NEVER
        self._pictures = self._shown() if timing.has_presentation_times else self._counted()

    def close(self) -> None:
        """Closes the generator. It and the run refer to each other; left to the garbage collector, each such cycle
        keeps a full-size picture, and a film with many jumps fills the memory."""
        self._pictures.close()

    def picture(self, pts: int) -> VideoFrame | None:
        """Decodes up to the picture with this presentation time; None where it does not come, or comes damaged."""
        for picture_pts, picture in self._pictures:
            if picture_pts >= pts:
                return picture if picture_pts == pts and pts >= self._sound_from else None
        return None

    def _shown(self) -> Generator[tuple[int, VideoFrame]]:
        """Pictures with their presentation times, without those of an open GOP before the first keyframe."""
        is_first = True
        for picture in self._decode():
            if picture.pts is None or self._begin_pts is None or picture.pts < self._begin_pts:
                continue
            if is_first and self.keyframe_pts is not None:
                begins_well = picture.pts == self._begin_pts and picture.key_frame
                self.landed_wrong = not (begins_well and np.isin(picture.pts, self._all_keyframe_pts))
                if self.landed_wrong:
                    return
            is_first = False
            if picture.is_corrupt:
                self._distrust(picture.pts)
            yield picture.pts, picture

    def _counted(self) -> Generator[tuple[int, VideoFrame]]:
        """Pictures in the decoder's order, each with the next known time; a lost one invalidates all that follow."""
        for pts, picture in zip(self._timing.frame_pts.tolist(), self._decode(), strict=False):
            if picture.is_corrupt:
                self._distrust(NEVER)
            yield pts, picture

    def _decode(self) -> Iterator[VideoFrame]:
        """All pictures that the decoder gives."""
        for packet in self._packets:
            if self._begin_pts is None:
                self._begin_pts = packet.pts
            self._context.skip_frame = "DEFAULT" if self._is_wanted(packet) else "NONREF"
            try:
                pictures = self._context.decode(packet)
            except av.error.InvalidDataError:
                counted = not self._timing.has_presentation_times
                self._distrust(NEVER if counted or packet.pts is None else packet.pts)
                continue
            yield from pictures

    def _distrust(self, pts: int) -> None:
        """After damage at this time, uses no picture before the next keyframe."""
        later = self._all_keyframe_pts[np.searchsorted(self._all_keyframe_pts, pts, side="right") :]
        self._sound_from = max(self._sound_from, int(later[0]) if len(later) else NEVER)

    def _is_wanted(self, packet: Packet) -> bool:
        """Whether the packet's picture is wanted; if not, and no other refers to it, it need not be decoded."""
        if self._wanted_pts is None or packet.pts is None:
            return True
        at = int(np.searchsorted(self._wanted_pts, packet.pts))
        return at < len(self._wanted_pts) and int(self._wanted_pts[at]) == packet.pts


def _without_torn_end(packets: Iterator[Packet]) -> Iterator[Packet]:
    """All packets except an incomplete last one, which the demux pass left out as well."""
    held: Packet | None = None
    for packet in packets:
        if held is not None and packet.size:
            yield held
        held = packet if packet.is_corrupt else None
        if held is None:
            yield packet
