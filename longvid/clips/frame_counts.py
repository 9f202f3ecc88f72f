"""Which frames V-JEPA 2's evaluation reads, counted in frames.

A video of n frames is cut into K equal parts of n // K frames; a clip of F frames at a step of s spans F s frames.

    part longer than a clip    one clip inside each part, its F frames evenly spaced over the span: the real step is
                               F s / (F - 1) (16 x 4: 0, 4, 8, 12, 17, 21, ... 63)
    shorter, overlap           clips of (span - 1) // s numbers over the span, the last repeated up to F; clips start
                               (n - span) // (K - 1) apart, all at 0 in a video shorter than one clip
    shorter, no overlap        the same over each part: part // s numbers, the last repeated

The evaluation draws the clip's place in its part at random, at test time too; the end of each clip is `ends` here.
longvid's own `Sampling` goes by measured seconds instead.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from longvid.errors import ConfigError


def frame_step(seconds: float, fps: float, frames: int) -> int:
    """The step of a clip that is to last some seconds: the frame rate is rounded up, the step down."""
    return int(seconds * int(np.ceil(fps)) / frames)


def counted_frames(
    total: int,
    *,
    frames: int = 16,
    step: int = 4,
    segments: int = 8,
    ends: Sequence[int] = (),
    overlap: bool = True,
) -> Int64[np.ndarray, "segments frames"]:
    """Frame numbers of each segment's clip in a video of `total` frames.

    ends: where each clip ends in its part, from the clip's span (inclusive) to the part's length (exclusive); none: at
    its span, so that clips start where their parts do. Unused where a part is no longer than a clip.
    """
    if min(total, frames, step, segments) < 1:
        raise ConfigError(f"{total=}, {frames=}, {step=}, {segments=}: all must be at least 1")
    span, part = frames * step, total // segments
    places = np.arange(segments)[:, None]
    if part > span:
        stops = np.asarray(ends if len(ends) else [span] * segments, np.int64)
        if len(stops) != segments or stops.min() < span or stops.max() >= part:
            raise ConfigError(f"ends={list(ends)}: there must be {segments}, each from {span} to {part - 1}")
        inside = np.stack([_evenly(stop - span, stop, frames, last=stop - 1) for stop in stops.tolist()])
        return inside + places * part
    if not overlap:
        return _filled(part, part // step, frames) + places * part
    length = min(span, total) - 1
    apart = (total - span) // (segments - 1) if total > span and segments > 1 else 0
    return _filled(length, length // step, frames) + places * apart


def _evenly(first: int, stop: int, count: int, *, last: int) -> Int64[np.ndarray, " count"]:
    """`count` numbers from `first` to `stop` inclusive, cut to [first, last], rounded down."""
    return np.clip(np.linspace(first, stop, count), first, last).astype(np.int64)


def _filled(length: int, count: int, frames: int) -> Int64[np.ndarray, " frames"]:
    """`count` numbers from 0 to `length`, then `length` up to `frames`, all cut to `length` - 1."""
    numbers = np.concatenate([np.linspace(0, length, count), np.full(frames - count, length)])
    indices: np.ndarray = np.clip(numbers, 0, length - 1).astype(np.int64)
    return indices
