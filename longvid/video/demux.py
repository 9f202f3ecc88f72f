"""One pass over the packets of a file, in a few bytes per frame."""

from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Bool, Int64

from longvid.video.content import PacketsDigest
from longvid.video.opening import packets_of

CLOCK_JUMP_SECONDS = 1.0
"""Decoding times may only increase; a stream whose clock jumps back by more than this was joined from several."""

COVER_SECONDS = 10.0
"""Length of the stretches for which it is noted whether other streams have packets."""

VP8_SHOWN = 0x10
"""Bit of a VP8 frame's first byte that says whether it is shown at all (RFC 6386, 9.1)."""


FIRST_FRAME_PACKETS = 250
"""Packets that may fail to decode at the start of a damaged file before it counts as unreadable."""

NO_TIME = -(2**63)
AVI_CHUNK_HEAD_BYTES = 8


@dataclass(kw_only=True)
class PacketPass:
    """Result of the pass. Entry k of each array is one frame that can be shown, in the order of the file."""

    stream_id: int
    """The stream's number in its container; in a transport stream the id of its packets."""
    time_base: Fraction
    pts: Int64[np.ndarray, "num_frames"]
    durations: Int64[np.ndarray, "num_frames"]
    is_keyframe: Bool[np.ndarray, "num_frames"]
    byte_positions: Int64[np.ndarray, "num_frames"]
    """Offset of the packet in the file; -1 where the demuxer does not say."""
    is_damaged: Bool[np.ndarray, "num_frames"]
    """Packets that the demuxer marks as damaged."""
    has_presentation_times: bool
    num_timeless: int
    """Packets left out because they have no time."""
    num_undecodable: int
    """Packets that need a keyframe which the file does not hold."""
    num_damaged: int
    """Packets the demuxer marks as damaged; one at the very end is left out of the arrays."""
    num_undecodable_damaged: int
    """How many of the damaged packets are before the first keyframe."""
    starts_listed: bool
    """Whether the container's index lists a keyframe before the first one that was found."""
    missing_positions: Int64[np.ndarray, "num_missing"]
    """Offsets of packets that an AVI file's index lists and that were not found."""
    jump_seconds: float
    """How far the stream's clock jumps back somewhere; 0 for an intact file."""
    file_seconds: float
    """Duration of the whole file: to the last packet of any stream, from the first packet or from 0."""
    covered_by_others: frozenset[int]
    """Stretches of `COVER_SECONDS`, counted from time 0, in which a stream other than this one has packets."""
    error: str | None
    """Why reading stopped before the end of the file."""
    frame_height: int
    frame_width: int
    packets_crc32c: str
    """crc32c of the bytes of all the stream's packets."""
    rotation_degrees: int
    """Anti-clockwise rotation of the first decodable frame, as the file states it; all three are 0 without one."""


def demux_pass(container: InputContainer, stream: VideoStream) -> PacketPass:
    """Reads every packet of the file once. Raises FFmpegError where not a single packet can be read."""
    rows, span, first_frame, content = _Rows(stream), _Span(container, stream), _FirstFrame(stream), PacketsDigest()
    error = None
    try:
        for packet in packets_of(container):
            if not packet.size:
                continue
            span.add(packet)
            if packet.stream_index == stream.index:
                first_frame.offer(packet)
                rows.add(packet)
                content.add(packet)
    except av.error.FFmpegError as reading_error:
        if not rows.pts:
            raise
        error = (reading_error.strerror or type(reading_error).__name__).lower()
    first_frame.flush()
    listed = _avi_index(stream)
    return rows.result(
        starts_listed=rows.has_listed_start(stream),
        missing_positions=rows.missing(listed),
        file_seconds=span.seconds,
        covered_by_others=frozenset(span.covered_by_others),
        error=error,
        frame_height=first_frame.height,
        frame_width=first_frame.width,
        rotation_degrees=first_frame.rotation_degrees,
        packets_crc32c=content.text,
    )


class _Rows:
    """Collects the chosen stream's packets in compact arrays, in file order."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream_id = stream.id
        self.time_base = stream.time_base or Fraction(1, 90_000)
        # AVI counts pictures in coded order; with B-frames its times do not give the order on screen
        self.counts_only = stream.container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        self.is_vp8 = stream.codec_context.codec.canonical_name == "vp8"
        self.pts, self.dts, self.durations, self.positions = array("q"), array("q"), array("q"), array("q")
        self.is_keyframe, self.is_damaged = array("b"), array("b")
        self.first_keyframe_pts: int | None = None
        self.num_undecodable = self.num_damaged = self.num_undecodable_damaged = 0
        self.last_row_is_damaged = False
        self.last_dts, self.largest_jump = NO_TIME, 0

    def add(self, packet: Packet) -> None:
        """Adds one packet's times, unless it shows nothing."""
        pts = NO_TIME if packet.pts is None else packet.pts
        dts = NO_TIME if packet.dts is None else packet.dts
        if dts != NO_TIME:
            self.largest_jump = max(self.largest_jump, self.last_dts - dts)
            self.last_dts = dts
        if packet.is_keyframe and self.first_keyframe_pts is None:
            self.first_keyframe_pts = pts
        self.last_row_is_damaged = False
        self.num_damaged += packet.is_corrupt
        if self.first_keyframe_pts is None or (not self.counts_only and NO_TIME < pts < self.first_keyframe_pts):
            self.num_undecodable += 1
            self.num_undecodable_damaged += packet.is_corrupt
            return
        if packet.is_discard or (self.is_vp8 and not bytes(packet)[0] & VP8_SHOWN):
            return
        self.pts.append(pts)
        self.dts.append(dts)
        self.durations.append(packet.duration or 0)
        self.is_keyframe.append(packet.is_keyframe)
        self.is_damaged.append(packet.is_corrupt)
        self.positions.append(-1 if packet.pos is None else packet.pos)
        self.last_row_is_damaged = packet.is_corrupt

    def result(self, **others: Any) -> PacketPass:
        """The arrays as numpy arrays, without an incomplete last packet, and with one clock for all."""
        stop = len(self.pts) - self.last_row_is_damaged
        pts, dts = np.array(self.pts, np.int64)[:stop], np.array(self.dts, np.int64)[:stop]
        is_damaged = np.array(self.is_damaged, bool)[:stop]
        keep = pts != NO_TIME
        counts_only = self.counts_only or not keep.any()
        if counts_only:
            pts, keep = dts, dts != NO_TIME
        # the damage mark of a packet without a time goes to the one before it
        kept_before = np.maximum(np.cumsum(keep) - 1, 0)
        is_damaged_kept = np.zeros(int(keep.sum()), bool)
        if keep.any():
            is_damaged_kept[kept_before[is_damaged]] = True
        return PacketPass(
            stream_id=self.stream_id,
            time_base=self.time_base,
            pts=pts[keep],
            durations=np.array(self.durations, np.int64)[:stop][keep],
            is_keyframe=np.array(self.is_keyframe, bool)[:stop][keep],
            byte_positions=np.array(self.positions, np.int64)[:stop][keep],
            is_damaged=is_damaged_kept,
            has_presentation_times=not counts_only,
            num_timeless=int((~keep).sum()),
            num_undecodable=self.num_undecodable,
            num_damaged=self.num_damaged,
            num_undecodable_damaged=self.num_undecodable_damaged,
            jump_seconds=self._jump_seconds(),
            **others,
        )

    def has_listed_start(self, stream: VideoStream) -> bool:
        """Whether the first entry of the index is a keyframe, although the first packets are not."""
        if not self.num_undecodable or self.first_keyframe_pts is None or not len(stream.index_entries):
            return False
        first = stream.index_entries[0]
        return first.is_keyframe and first.timestamp < self.first_keyframe_pts

    def missing(self, listed_positions: list[int]) -> Int64[np.ndarray, "num_missing"]:
        """The listed offsets, from the first packet on, at which no packet was found."""
        listed, found = np.array(listed_positions, np.int64), np.array(self.positions, np.int64)
        return np.setdiff1d(listed[listed >= found.min(initial=NO_TIME)], found)

    def _jump_seconds(self) -> float:
        seconds = float(self.largest_jump * self.time_base)
        return seconds if seconds > CLOCK_JUMP_SECONDS else 0.0


def _avi_index(stream: VideoStream) -> list[int]:
    """Offsets of the stream's frames by an AVI file's index; empty for other containers."""
    if stream.container.format.name != "avi":
        return []
    return [entry.pos + AVI_CHUNK_HEAD_BYTES for entry in stream.index_entries if entry.size]


class _Span:
    """The first and last instant of any stream, and where streams other than the chosen one have packets."""

    def __init__(self, container: InputContainer, chosen: VideoStream) -> None:
        self.chosen_index = chosen.index
        self.covered_by_others: set[int] = set()
        self.ticks_seconds = [float(s.time_base or 0) for s in container.streams]
        self.first, self.last = float("inf"), -float("inf")

    def add(self, packet: Packet) -> None:
        """Extends the span to include the packet."""
        instant = packet.dts if packet.pts is None else packet.pts
        if instant is None:
            return
        tick_seconds = self.ticks_seconds[packet.stream_index]
        self.first = min(self.first, instant * tick_seconds)
        self.last = max(self.last, (instant + (packet.duration or 0)) * tick_seconds)
        if packet.stream_index != self.chosen_index:
            self.covered_by_others.add(int(instant * tick_seconds // COVER_SECONDS))

    @property
    def seconds(self) -> float:
        """Length of the span, from 0 if it starts later (as Matroska states durations); 0 before anything was added."""
        return max(0.0, self.last - min(self.first, 0.0))


class _FirstFrame:
    """Decodes until the first frame: only a decoded frame shows its true size and rotation."""

    def __init__(self, stream: VideoStream) -> None:
        self.context = stream.codec_context
        self.packets_left = FIRST_FRAME_PACKETS
        self.height = self.width = self.rotation_degrees = 0

    def offer(self, packet: Packet) -> None:
        """Decodes the packet if there is no frame yet; packets that cannot be decoded are ignored."""
        if self.height or not self.packets_left:
            return
        self.packets_left -= 1
        try:
            self._take(packet.decode())
        except av.error.InvalidDataError:
            return

    def flush(self) -> None:
        """Gets the frame that a very short video leaves in the decoder."""
        if not self.height:
            try:
                self._take(self.context.decode(None))
            except (av.error.InvalidDataError, av.error.EOFError):
                return

    def _take(self, frames: list[VideoFrame]) -> None:
        if frames and not self.height:
            self.height, self.width = frames[0].height, frames[0].width
            self.rotation_degrees = frames[0].rotation
