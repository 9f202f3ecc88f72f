"""Which frames a training clip holds, counted in frames.

They are drawn as the papers' own code draws them.

Each rule gives positions in a video of `total` frames; `random` is the only source of chance.

    dense             one random start; frames `step` apart (DualFormer's Kinetics 32 x 2, mmaction2's SampleFrames)
    span              one random real start; frames evenly over `frames * step` frames, rounded down (X-ViT on Kinetics)
    segments          `frames` equal parts, one random frame in each (TSN, UMT, VideoMAE's spread sampling)
    segments-rounded  parts with rounded borders, both of them inclusive, so that neighbours may meet (X-ViT on SSv2)

A video that is shorter than a clip is looped (`loop`, as mmaction2) or repeats its last frame (`repeat`, as X-ViT).
"""

from typing import Literal

import numpy as np
from jaxtyping import Int64

Rule = Literal["dense", "span", "segments", "segments-rounded"]
Short = Literal["repeat", "loop"]
Positions = Int64[np.ndarray, "frames"]


def dense_positions(total: int, frames: int, step: int, short: Short, random: np.random.Generator) -> Positions:
    """`frames` positions `step` apart, from a whole start in [0, total - frames * step], or 0 in a shorter video."""
    start = int(random.integers(max(total - frames * step, 0) + 1))
    return within(start + step * np.arange(frames), total, short)


def span_positions(total: int, frames: int, step: int, short: Short, random: np.random.Generator) -> Positions:
    """`frames` positions evenly from a real start to the last frame of its span of `frames * step`, rounded down."""
    span = frames * step
    start = random.uniform(0, max(total - span, 0))
    return within(np.linspace(start, start + span - 1, frames).astype(np.int64), total, short)


def segment_positions(total: int, frames: int, short: Short, random: np.random.Generator) -> Positions:
    """One random position in each of `frames` parts of total // frames frames; fewer frames than parts: see `short`."""
    part = total // frames
    if part == 0:
        return within(np.arange(frames), total, short)
    return np.arange(frames) * part + random.integers(part, size=frames)


def rounded_segment_positions(total: int, frames: int, random: np.random.Generator) -> Positions:
    """One random position in each part between the borders round((total - 1) * i / frames), both inclusive."""
    borders = np.round((total - 1) * np.arange(frames + 1) / frames).astype(np.int64)
    return random.integers(borders[:-1], borders[1:], endpoint=True)


def within(positions: Int64[np.ndarray, "*shape"], total: int, short: Short) -> Int64[np.ndarray, "*shape"]:
    """Positions past the end become the last frame, or start again from the first."""
    return positions % total if short == "loop" else np.minimum(positions, total - 1)
