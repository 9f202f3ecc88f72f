"""How a video's clips are cut into the sequences that a decoder sees.

    clips     |0 1 2 3 4 5 6 7 8|      a video of nine stored clips
    window     [0 1 2 3]               clips=4, stride=2: starts 0, 2, 4, and one window
                   [2 3 4 5]           that ends where the video does, so that no clip is left out
                       [4 5 6 7]
                         [5 6 7 8]

A video shorter than a window gives one window with all its clips. All ranges are half-open.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from longvid.errors import ConfigError
from longvid.validation import Count, Positive, settings

ClipRanges = Int[np.ndarray, "windows 2"]
ClipSeconds = Float[np.ndarray, "clips 2"]

_SAME_INSTANT_SECONDS = 1e-6
"""Times closer than this are equal: they come from sums of floating-point durations."""


@settings(ConfigError)
class Windows:
    """The way to cut a video: one of `clips`, `seconds` or `segments`; with none of them a window is the whole video.

    Invalid settings raise `ConfigError`.
    """

    clips: Count | None = None
    """Clips in a window."""
    seconds: Positive | None = None
    """Length of a window in time: the clips that begin within it."""
    segments: Count | None = None
    """Clips picked from the whole video: evenly in evaluation, a random sorted choice in training."""
    stride: Count | None = None
    """Clips from one evaluated window to the next; none: windows do not overlap."""
    stride_seconds: Positive | None = None
    """The same for windows given in seconds."""
    shortest_seconds: Positive | None = None
    """What becomes of the window that the video's end cuts: kept, cut, if it lasts this long; none: it is moved back to
    end where the video does."""
    short: Literal["masked", "padded", "drop"] = "masked"
    """For a video with fewer than `clips` clips: `"masked"` pads and masks, `"padded"` adds zero clips that count;
    `"drop"` is `"masked"`, but windows with fewer tokens than the decoder needs are left out."""

    def __post_init__(self) -> None:
        given = [name for name in ("clips", "seconds", "segments") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"window: give one of clips, seconds and segments, not {' and '.join(given)}")
        if self.stride is not None and self.clips is None:
            raise ConfigError("window: stride counts clips and needs `clips`; use stride_seconds with `seconds`")
        if self.stride_seconds is not None and self.seconds is None:
            raise ConfigError("window: stride_seconds needs `seconds`; use stride with `clips`")
        if self.shortest_seconds is not None and self.seconds is None:
            raise ConfigError("window: shortest_seconds needs `seconds`")
        if self.short == "padded" and self.clips is None:
            raise ConfigError("window: short='padded' needs `clips`; without it use short='masked'")

    @property
    def whole(self) -> bool:
        """Whether a window is the whole video."""
        return self.clips is None and self.seconds is None and self.segments is None

    def evaluated(self, num_clips: int, seconds: ClipSeconds | None = None) -> ClipRanges:
        """Every window that is scored in evaluation, as clip ranges; `seconds` is needed if windows are in seconds."""
        if self.clips is not None:
            return _by_clips(num_clips, self.clips, self.stride or self.clips)
        if self.seconds is not None:
            assert seconds is not None
            return _by_seconds(seconds, self.seconds, self.stride_seconds or self.seconds, self.shortest_seconds)
        return np.array([[0, num_clips]])

    def trained(self, num_clips: int, seconds: ClipSeconds | None = None) -> ClipRanges:
        """Every window that a training draw may choose: one starting at each clip, as long as it fits."""
        if self.clips is not None:
            return _by_clips(num_clips, self.clips, 1)
        if self.seconds is not None:
            assert seconds is not None
            return _by_seconds(seconds, self.seconds, None, None)
        return np.array([[0, num_clips]])

    def lacking(self, num_clips: int) -> int:
        """Number of zero clips that are added to a window with that many clips."""
        return max(0, self.clips - num_clips) if self.short == "padded" and self.clips is not None else 0

    def picks(self, num_clips: int, seed: int | None) -> np.ndarray:
        """Indices of the clips that `segments` takes from a video; a seed makes the choice random (training).

        Too few clips are repeated evenly; too many are thinned out evenly, or to a random choice in order.
        """
        assert self.segments is not None
        if seed is not None and num_clips > self.segments:
            return np.sort(np.random.default_rng(seed).choice(num_clips, self.segments, replace=False))
        return np.arange(self.segments) * num_clips // self.segments


def _by_clips(num_clips: int, length: int, stride: int) -> ClipRanges:
    last = max(0, num_clips - length)
    starts = np.unique(np.append(np.arange(0, last + 1, stride), last))
    return np.stack([starts, np.minimum(starts + length, num_clips)], axis=1)


def _by_seconds(seconds: ClipSeconds, length: float, stride: float | None, shortest: float | None) -> ClipRanges:
    """Windows [t, t + length) as ranges of the clips that start in them; a stride of None starts one at each clip."""
    begins, end = seconds[:, 0], seconds[-1, 1]
    last = max(begins[0], min(end - length, begins[-1]))  # a window may be shorter than a clip
    if stride is None:
        times = begins[begins <= last + _SAME_INSTANT_SECONDS]
    elif shortest is not None:
        times = np.arange(begins[0], end - _SAME_INSTANT_SECONDS, stride)
        times = times[(times == begins[0]) | (end - times >= min(shortest, length) - _SAME_INSTANT_SECONDS)]
    else:
        times = np.append(np.arange(begins[0], last + _SAME_INSTANT_SECONDS, stride), last)
    firsts = np.searchsorted(begins, times - _SAME_INSTANT_SECONDS)
    stops = np.searchsorted(begins, times + length - _SAME_INSTANT_SECONDS)
    ranges = np.stack([firsts, stops], axis=1)
    return np.unique(ranges[stops > firsts], axis=0)


def clips_within(seconds: ClipSeconds, start_seconds: float | None, end_seconds: float | None) -> tuple[int, int]:
    """Range of the clips whose middle is in [start_seconds, end_seconds); None: the video's own start or end."""
    middles = seconds.mean(axis=1)
    first = 0 if start_seconds is None else int(np.searchsorted(middles, start_seconds))
    stop = len(middles) if end_seconds is None else int(np.searchsorted(middles, end_seconds))
    return first, stop
