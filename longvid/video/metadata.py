"""What is known of a video before frames are decoded.

What the header claims and what a demux pass measured are kept apart on purpose. Headers are wrong about counts, rates
and durations so often (cuts made with `-c copy`, variable frame rate, broken downloads) that nothing is computed from
`HeaderMetadata`.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from longvid.notebook import Cell, clock, html_list, html_table
from longvid.video.remote import RemoteFile


@dataclass(frozen=True, kw_only=True)
class HeaderMetadata:
    """What the container and the codec claim; None where they do not say. Not to be relied on."""

    container: str
    """FFmpeg's name for the container, such as "mov,mp4,m4a,3gp,3g2,mj2"."""
    codec: str
    """FFmpeg's name for the format, such as "h264", whichever decoder reads it."""
    pixel_format: str | None
    coded_height: int
    coded_width: int
    """Pixels as stored, before the rotation."""
    rotation_degrees: int
    """Anti-clockwise turn, a multiple of 90 in 0..270, that makes a stored frame upright."""
    sample_aspect_ratio: Fraction | None
    """Width over height of one stored pixel. Reported, not applied: frames are read with square pixels."""
    num_frames: int | None
    average_fps: float | None
    begin_seconds: float | None
    stream_duration_seconds: float | None
    container_duration_seconds: float | None
    num_video_streams: int
    """Video streams to choose from, without attached pictures."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredTiming:
    """Result of one pass over the packets: when each frame that can be shown is displayed, in display order."""

    frame_pts: Int64[np.ndarray, "num_frames"]
    """Presentation times in ticks of `time_base`, strictly increasing."""
    time_base: Fraction
    """Seconds per tick."""
    end_pts: int
    """When the last frame leaves the screen."""
    keyframe_indices: Int64[np.ndarray, "num_keyframes"]
    """Positions in `frame_pts` of the frames from which decoding can start."""
    has_presentation_times: bool
    """False where the container stores none and the codec reorders (B-frames in AVI): `frame_pts` are then the sorted
    decoding times, and a decoder's k-th picture is frame k."""
    frame_seconds: Float64[np.ndarray, "num_frames"] = field(init=False, repr=False)
    """`frame_pts` in seconds."""

    def __post_init__(self) -> None:
        scale = self.time_base
        seconds = self.frame_pts * scale.numerator / scale.denominator
        object.__setattr__(self, "frame_seconds", seconds)

    @property
    def num_frames(self) -> int:
        """Frames that can be shown."""
        return len(self.frame_pts)

    @property
    def begin_seconds(self) -> float:
        """When the first frame is displayed; not always 0."""
        return float(self.frame_seconds[0])

    @property
    def end_seconds(self) -> float:
        """When the last frame leaves the screen."""
        return self.end_pts * self.time_base.numerator / self.time_base.denominator

    @property
    def average_fps(self) -> float:
        """Mean number of frames per second."""
        return self.num_frames / (self.end_seconds - self.begin_seconds)

    @property
    def is_variable_rate(self) -> bool:
        """Whether frames stay on screen for different times, by more than a container's rounding (one tick, 1 ms)."""
        if self.num_frames < 3:
            return False
        gaps = np.diff(self.frame_pts)
        return bool((gaps.max() - gaps.min()) * float(self.time_base) > max(0.0021, 2.1 * float(self.time_base)))


@dataclass(frozen=True)
class Damage:
    """A half-open range of seconds in which a frame may be missing, late or broken, and the evidence for it."""

    start_seconds: float
    end_seconds: float
    reason: str

    def __str__(self) -> str:
        return f"damaged from {self.start_seconds:.3f} to {self.end_seconds:.3f} s: {self.reason}"


@dataclass(frozen=True)
class DamagedBytes:
    """A stretch of a file, half-open, and what is wrong with it."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True, eq=False, kw_only=True)
class VideoProbe:
    """One video stream of one file: header, measured timing, and contradictions between them."""

    path: Path | RemoteFile
    """The file; one at a URL, or a member of a tar, shows no secret as text."""
    stream_index: int
    """Position of the stream among all streams of the file."""
    size_bytes: int
    fingerprint: str
    """Sha256 (hex) over the size and the first, middle and last block of the file."""
    header: HeaderMetadata
    measured: MeasuredTiming
    problems: tuple[str, ...]
    """Contradictions and oddities, one sentence each; empty for a sound file."""
    truncated: bool
    """Whether the file ends before its own structure or its header says it does."""
    packets_crc32c: str = ""
    """crc32c (hex) of the bytes of the stream's packets, most of which the fingerprint does not cover."""
    damage: tuple[Damage, ...] = ()
    """Damage that the container shows, in order of time. Damage inside packets is found only by decoding."""

    @property
    def height(self) -> int:
        """Rows of an upright frame."""
        return self.header.coded_width if self.header.rotation_degrees % 180 else self.header.coded_height

    @property
    def width(self) -> int:
        """Columns of an upright frame."""
        return self.header.coded_height if self.header.rotation_degrees % 180 else self.header.coded_width

    @property
    def begin_seconds(self) -> float:
        """When the first frame is displayed, measured."""
        return self.measured.begin_seconds

    @property
    def end_seconds(self) -> float:
        """When the last frame leaves the screen, measured."""
        return self.measured.end_seconds

    @property
    def duration_seconds(self) -> float:
        """Measured duration."""
        return self.end_seconds - self.begin_seconds

    def _repr_html_(self) -> str:
        measured = self.measured
        rate = f"{measured.average_fps:.3f} frames per second{', not constant' if measured.is_variable_rate else ''}"
        facts: list[tuple[str, Cell]] = [
            ("codec", self.header.codec),
            ("picture", f"{self.width} x {self.height}"),
            ("time", f"{clock(self.begin_seconds)} to {clock(self.end_seconds)}"),
            ("frames", f"{measured.num_frames:,} at {rate}"),
            ("bytes", self.size_bytes),
        ]
        oddities = [(text,) for text in (*self.problems, *map(str, self.damage))]
        return html_table(str(self.path), facts) + (html_list(("problems",), oddities) if oddities else "")
