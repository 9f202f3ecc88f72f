"""The rule by which a training clip is drawn from a video.

Time is measured in seconds, or counted in frames of the file.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from longvid.clips.sampling import Sampling
from longvid.errors import ConfigError, VideoTooShort
from longvid.recognition.frame_rules import (
    Rule,
    Short,
    dense_positions,
    rounded_segment_positions,
    segment_positions,
    span_positions,
)
from longvid.validation import Count, Positive, settings
from longvid.video.frames import frames_on_screen
from longvid.video.metadata import VideoProbe


@dataclass(frozen=True, eq=False)
class DrawnClip:
    """The frames of one clip: when each is on screen, and what the clip covers, in the video's own seconds."""

    frame_seconds: Float64[np.ndarray, "frames"]
    """In the clip's order; a looped clip goes back to the start of the video."""
    seconds: tuple[float, float]
    """Start and end, the last frame's share included; never past the end of the video."""


@settings(ConfigError)
class TrainingSampling:
    """How a training clip of `frames` frames is drawn at random.

    With `fps` time is measured: frames of a dense clip are 1 / fps seconds apart whatever the video's rate, the start
    is any instant, and segments are equal parts of the duration with one instant drawn in each. With `fps=None` the
    file's own frames are counted, as the papers' code does: `step` frames apart, positions as in `frame_rules`.
    """

    frames: Count = 16
    rule: Rule = "dense"
    fps: Positive | None = None
    """Frames per second within a dense clip; for segments any rate says that time is measured."""
    step: Count = 1
    """With `fps=None`: from one frame of a dense clip to the next, in frames of the file."""
    short: Short = "repeat"
    """A video shorter than a clip repeats its last frame, or is looped."""

    def __post_init__(self) -> None:
        if self.fps is not None and self.step != 1:
            raise ConfigError(f"fps={self.fps} with step={self.step}: a step counts frames; give one of the two")
        if self.fps is not None and self.rule in ("span", "segments-rounded"):
            raise ConfigError(f"rule={self.rule!r} counts frames of the file; leave fps out, or use dense or segments")

    @classmethod
    def of(cls, sampling: Sampling) -> "TrainingSampling":
        """The random clip that fits an encoder's own sampling: as many frames, as far apart."""
        return cls(frames=sampling.frames, fps=sampling.fps)

    def draw(
        self,
        video: VideoProbe,
        random: np.random.Generator,
        listed: tuple[float | None, float | None] = (None, None),
    ) -> DrawnClip:
        """A clip of the part of the video that its manifest lists. VideoTooShort if that part holds no frame."""
        begin, end, frame_seconds = listed_part(video, listed)
        if self.fps is None:
            return self._counted(frame_seconds, end, random)
        if self.rule == "segments":
            part = (end - begin) / self.frames
            instants = begin + part * (np.arange(self.frames) + random.random(self.frames))
            return DrawnClip(instants, (begin, end))
        span = self.frames / self.fps
        start = begin + random.random() * max(end - begin - span, 0.0)
        return clip_from(start, self.frames, 1 / self.fps, begin, end, self.short)

    def _counted(
        self, frame_seconds: Float64[np.ndarray, "num_frames"], end: float, random: np.random.Generator
    ) -> DrawnClip:
        total = len(frame_seconds)
        match self.rule:
            case "dense":
                positions = dense_positions(total, self.frames, self.step, self.short, random)
            case "span":
                positions = span_positions(total, self.frames, self.step, self.short, random)
            case "segments":
                positions = segment_positions(total, self.frames, self.short, random)
            case _:
                positions = rounded_segment_positions(total, self.frames, random)
        return counted_clip(frame_seconds, end, positions)


def counted_clip(frame_seconds: Float64[np.ndarray, "num_frames"], end: float, positions: np.ndarray) -> DrawnClip:
    """The clip of these display positions of a video, or of a part of it that ends at `end` seconds."""
    boundaries = np.append(frame_seconds, end)
    covered = (float(boundaries[positions.min()]), float(boundaries[positions.max() + 1]))
    return DrawnClip(frame_seconds[positions], covered)


def clip_from(start: float, frames: int, apart: float, begin: float, end: float, short: Short = "repeat") -> DrawnClip:
    """`frames` instants `apart` seconds from one to the next, in a video that is on screen in [begin, end)."""
    instants = start + apart * np.arange(frames)
    if short == "loop":
        instants = begin + (instants - begin) % (end - begin)
    return DrawnClip(np.minimum(instants, end), (start, min(start + apart * frames, end)))


def listed_part(
    video: VideoProbe, listed: tuple[float | None, float | None]
) -> tuple[float, float, Float64[np.ndarray, "num_frames"]]:
    """Start, end and frame times of the part that a manifest lists; the first frame may have started before it."""
    measured = video.measured
    begin = measured.begin_seconds if listed[0] is None else max(measured.begin_seconds, listed[0])
    end = measured.end_seconds if listed[1] is None else min(measured.end_seconds, listed[1])
    if not begin < end:
        raise VideoTooShort(
            f"{video.path}: lasts from {measured.begin_seconds:.6g} to {measured.end_seconds:.6g} s, which holds "
            f"nothing of the part that the manifest lists, {listed[0]} to {listed[1]} s"
        )
    if listed == (None, None):
        return begin, end, measured.frame_seconds
    first = int(frames_on_screen(measured.frame_seconds, np.asarray([begin]))[0])
    stop = int(np.searchsorted(measured.frame_seconds, end))
    return begin, end, measured.frame_seconds[first:stop]
