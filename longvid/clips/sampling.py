"""The rule that says which frames of a video make which clip.

A `Sampling` is the rule, the same for every video and part of a store's recipe; `plan` applies it to one video and
gives a `ClipPlan`: the time of every frame of every clip. Only numbers: no video is opened, torch is not imported.

Dense clips, `Sampling(frames=4, fps=2, stride_seconds=1)`. A clip of F frames at `fps` spans F / fps seconds: the
last frame's share belongs to it, so clips one span apart meet without gap or overlap.

    seconds   0         1         2         3         4
    video     |--------------------------------------|        3.9 s long
    clip 0    x----x----x----x----)                           [0.0, 2.0)
    clip 1              x----x----x----x----)                 [1.0, 3.0)
    clip 2                        x----x----x----x---~)       [2.0, 4.0): ends after the video, so `end` decides

Segments, `Sampling(frames=2, fps=2, segments=3)`: the clips' starts lie evenly from the first frame on, as ViS4mer
reads Breakfast and COIN (clip i of N starts at i * (duration - span) / N).

    video     |--------------------------------------|
    clip 0    x----x----)
    clip 1               x----x----)
    clip 2                          x----x----)

With `span="listed"` only the part of a video that its manifest lists (`start_seconds`, `end_seconds`) is used.

With `fps=None` a clip is F consecutive frames of the video itself, by the presentation times a demux pass measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64, Int64

from longvid.errors import ConfigError, VideoTooShort
from longvid.notebook import clock, html_list, html_strip, html_table
from longvid.plain import as_json
from longvid.validation import Count, Positive, settings
from longvid.video.frames import frames_on_screen

if TYPE_CHECKING:
    from longvid.video import VideoProbe

EndPolicy = Literal["drop", "repeat", "shift"]
Span = tuple[float | None, float | None]
"""Start and end of a part of a video, in seconds; None: the video's own."""

ROUNDING_SECONDS = 0.002
"""Two ticks of Matroska's millisecond clock: a video that ends this much early still holds its last clip."""

MOST_INSTANTS = 1 << 26
"""Frames of all clips together that a plan may have: half a gigabyte; 500 hours at 37 frames a second."""

Number = int | float
Starts = Float64[np.ndarray, "clips"] | Int64[np.ndarray, "clips"]
Kept = Float64[np.ndarray, "kept"] | Int64[np.ndarray, "kept"]


def drop_incomplete(starts: Starts, span: Number, length: Number, slack: Number) -> Kept:
    """Only the clips that lie within the video; none for a video shorter than one clip."""
    return starts[starts + span <= length + slack]


def repeat_last_frame(starts: Starts, span: Number, length: Number, slack: Number) -> Kept:
    """Clips up to the first that reaches the end; its frames past the end repeat the video's last frame."""
    reaches_end = starts + span >= length - slack
    return starts[: int(np.argmax(reaches_end)) + 1] if reaches_end.any() else starts


def shift_last_clip(starts: Starts, span: Number, length: Number, slack: Number) -> Kept:
    """The same clips, but the last is moved back to end where the video does (never before the video's start)."""
    starts = repeat_last_frame(starts, span, length, slack).copy()
    starts[-1] = max(min(starts[-1], length - span), 0)
    return starts


END_POLICIES: dict[str, Callable[[Starts, Number, Number, Number], Kept]] = {
    "drop": drop_incomplete,
    "repeat": repeat_last_frame,
    "shift": shift_last_clip,
}
"""Rules for a clip that the end of the video cuts. Each takes the starts in order, a clip's span, the video's length
and how much of that may be missing, all in one unit (seconds after the start, or frames), and gives the starts kept."""


_SHOWN_CLIPS, _DRAWN_CLIPS = 5, 500
"""Clips that a notebook lists, and the most that it draws."""


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """The time of every frame of every clip of one video, in seconds of its own presentation times."""

    frame_seconds: Float64[np.ndarray, "clips frames"]
    """When each frame is on screen; never decreasing within a clip, nor from clip to clip at the same position."""
    seconds: Float64[np.ndarray, "clips 2"]
    """Start and end of each clip, the last frame's share included; the end is never past the end of the video."""

    def __post_init__(self) -> None:
        if self.seconds.shape != (len(self.frame_seconds), 2):
            raise ValueError(f"seconds of shape {self.seconds.shape} for {len(self.frame_seconds)} clips")

    def __len__(self) -> int:
        return len(self.frame_seconds)

    def __getitem__(self, clips: slice) -> "ClipPlan":
        """The plan of a range of clips, half-open as slices are."""
        if not isinstance(clips, slice):
            raise TypeError(f"a plan is indexed with a slice of clips, plan[a:b], not {clips!r}")
        return ClipPlan(self.frame_seconds[clips], self.seconds[clips])

    @property
    def frames(self) -> int:
        """Frames per clip."""
        return int(self.frame_seconds.shape[1])

    def _repr_html_(self) -> str:
        shown = self[:_SHOWN_CLIPS]
        rows = [
            (number, f"{start:.3f}", f"{end:.3f}", ", ".join(f"{second:.3f}" for second in frames[:_SHOWN_CLIPS]))
            for number, ((start, end), frames) in enumerate(zip(shown.seconds, shown.frame_seconds, strict=True))
        ]
        # neighbouring clips may overlap: each is drawn up to where the next one starts
        stops = [*self.seconds[1:, 0], *self.seconds[-1:, 1]]
        names = ("even clips", "odd clips")
        strip = [
            (float(start), float(stop), names[number % 2])
            for number, (start, stop) in enumerate(zip(self.seconds[:, 0], stops, strict=True))
        ]
        end = clock(float(self.seconds[-1, 1])) if len(self) else clock(0)
        more = f"and {len(self) - len(shown):,} more" if len(self) > len(shown) else ""
        facts = html_table("clip plan", [("clips", len(self)), ("frames per clip", self.frames), ("end", end)])
        listed = html_list(("clip", "start", "end", "seconds of its frames"), rows, more=more)
        return facts + (html_strip(strip, names) if len(self) <= _DRAWN_CLIPS else "") + listed

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ClipPlan":
        """The plan that `longvid.plain.as_json` described; floats survive JSON exactly."""
        return cls(np.asarray(values["frame_seconds"], np.float64), np.asarray(values["seconds"], np.float64))


@settings(ConfigError)
class Sampling:
    """Clips of `frames` frames, one every `stride_seconds` (dense) or `segments` of them spread over the video.

    Dense clip i starts i * stride after the start of the video. That is computed, never summed up, so that the last
    clip of a three-hour film is exact. With d the video's duration and s = frames / fps a clip's span, there are

        end="drop"              floor((d - s) / stride) + 1, none if d < s (then `plan` raises VideoTooShort)
        end="repeat", "shift"   1 if d <= s, else min(ceil((d - s) / stride) + 1, ceil(d / stride)): as many as
                                it takes to reach the end, each starting before it

    with d extended by `ROUNDING_SECONDS`, because containers round. With `segments` there are always that many.
    A video shorter than one clip: "drop" refuses it; "repeat" and "shift" give one clip (or `segments` equal ones)
    from its start, filled up with its last frame.
    """

    frames: Count = 1
    """Frames a clip."""
    fps: Positive | None = 1.0
    """Frames a second within a clip; None: consecutive frames of the video, whatever its rate."""
    stride_seconds: Positive | None = None
    """From one clip's start to the next; None: clips follow each other without gap or overlap."""
    segments: Count | None = None
    """This many clips a video instead of one every so often."""
    end: EndPolicy = "repeat"
    """The rule for a clip that the end of the video cuts, see `END_POLICIES`."""
    span: Literal["whole", "listed"] = "whole"
    """Clips of the whole video, or only of the part that the manifest lists."""

    def __post_init__(self) -> None:
        if self.segments is not None and self.stride_seconds is not None:
            raise ConfigError(
                f"segments={self.segments} with stride_seconds={self.stride_seconds}: clips are either spread over "
                "the video or set at a stride; give one of the two"
            )

    def plan(
        self,
        begin_seconds: Number,
        end_seconds: Number,
        frame_seconds: Float64[np.ndarray, "num_frames"] | None = None,
    ) -> ClipPlan:
        """The clips of a video that is on screen in [begin_seconds, end_seconds).

        `frame_seconds`, the measured presentation times in order, is needed with `fps=None` and unused otherwise.
        Raises VideoTooShort where `end="drop"` leaves no clip, ConfigError where there would be more frames than
        `MOST_INSTANTS`, ValueError for times that cannot be a video's.
        """
        if not -float("inf") < begin_seconds < end_seconds < float("inf"):
            raise ValueError(f"a video from {begin_seconds} s to {end_seconds} s: it must end after it starts")
        if self.fps is not None:
            return self._plan_rate(self.fps, begin_seconds, end_seconds)
        if frame_seconds is None or len(frame_seconds) == 0:
            raise ValueError("fps=None samples the video's own frames: pass their measured frame_seconds")
        return self._plan_own_frames(frame_seconds, begin_seconds, end_seconds)

    def plan_video(self, probe: "VideoProbe", listed: Span = (None, None)) -> ClipPlan:
        """The clips of a probed video, from its measured timing; VideoTooShort names the file.

        `listed` is the part that the manifest lists, used with `span="listed"`.
        """
        measured = probe.measured
        begin, end, frames = measured.begin_seconds, measured.end_seconds, measured.frame_seconds
        if self.span == "listed":
            begin = begin if listed[0] is None else max(begin, listed[0])
            end = end if listed[1] is None else min(end, listed[1])
            frames = frames[(frames >= begin) & (frames < end)]
        if not begin < end or (self.fps is None and not len(frames)):
            raise VideoTooShort(
                f"{probe.path}: lasts from {measured.begin_seconds:.6g} to {measured.end_seconds:.6g} s, which holds "
                f"nothing of the part that the manifest lists, {listed[0]} to {listed[1]} s"
            )
        try:
            return self.plan(begin, end, frames)
        except VideoTooShort as error:
            raise VideoTooShort(f"{probe.path}: {error}") from None
        except ConfigError as error:
            raise ConfigError(f"{probe.path}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the recipe; the span only where it is not the whole video, as in older stores."""
        return {name: value for name, value in as_json(self).items() if (name, value) != ("span", "whole")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sampling":
        """The sampling `to_dict` described. Raises ConfigError for a field that does not exist."""
        return cls(**values)

    def _plan_rate(self, fps: Number, begin_seconds: Number, end_seconds: Number) -> ClipPlan:
        """Clips at `fps`: starts are seconds after the start of the video."""
        duration, span = end_seconds - begin_seconds, self.frames / fps
        stride = span if self.stride_seconds is None else self.stride_seconds
        num_starts = self._require_bearable((duration - ROUNDING_SECONDS) / stride, duration)
        starts = self._starts(lambda: np.arange(num_starts) * float(stride), span, duration, ROUNDING_SECONDS)
        offsets = np.arange(self.frames) / fps
        frame_seconds = np.minimum(begin_seconds + (starts[:, None] + offsets), end_seconds)
        clip_begin = begin_seconds + starts
        return ClipPlan(frame_seconds, np.stack([clip_begin, np.minimum(clip_begin + span, end_seconds)], axis=1))

    def _plan_own_frames(
        self, frame_seconds: Float64[np.ndarray, "num_frames"], begin_seconds: Number, end_seconds: Number
    ) -> ClipPlan:
        """Clips of consecutive frames: starts are frame indices."""
        num_frames = len(frame_seconds)

        def dense_starts() -> Int64[np.ndarray, "clips"]:
            if self.stride_seconds is None:
                return np.arange(0, num_frames, self.frames)
            duration = end_seconds - begin_seconds
            num_starts = self._require_bearable((duration - ROUNDING_SECONDS) / self.stride_seconds, duration)
            instants = begin_seconds + np.arange(num_starts) * float(self.stride_seconds)
            return frames_on_screen(frame_seconds, instants)

        starts = self._starts(dense_starts, self.frames, num_frames, 0).astype(np.int64)
        indices = np.minimum(starts[:, None] + np.arange(self.frames), num_frames - 1)
        boundaries = np.append(frame_seconds, end_seconds)
        stops = np.minimum(starts + self.frames, num_frames)
        return ClipPlan(frame_seconds[indices], np.stack([frame_seconds[starts], boundaries[stops]], axis=1))

    def _require_bearable(self, num_clips: float, duration_seconds: Number) -> int:
        """That many clips, rounded up and at least one. Raises ConfigError for more than memory should be asked for."""
        if self.segments is None and num_clips * self.frames > MOST_INSTANTS:
            raise ConfigError(
                f"{duration_seconds:.6g} s would be {num_clips:,.0f} clips of {self.frames} frames, and a plan holds "
                f"{MOST_INSTANTS:,} frames; take a longer stride_seconds or a lower fps"
            )
        return max(1, int(np.ceil(num_clips))) if self.segments is None else 1

    def _starts(self, dense_starts: Callable[[], Starts], span: Number, length: Number, slack: Number) -> Starts:
        """Starts of the clips, in the unit of `span` and `length`; `slack` is how much of the end may be missing."""
        if self.segments is not None:
            if span > length + slack and self.end == "drop":
                raise VideoTooShort(self._too_short(span, length))
            return np.arange(self.segments) * max(length - span, 0.0) / self.segments
        starts = END_POLICIES[self.end](dense_starts(), span, length, slack)
        if len(starts) == 0:
            raise VideoTooShort(self._too_short(span, length))
        return starts

    def _too_short(self, span: Number, length: Number) -> str:
        unit = "frames" if self.fps is None else "s"
        return f"the video has {length:.6g} {unit}, one clip needs {span:.6g} {unit}; end='repeat' fills it up"
