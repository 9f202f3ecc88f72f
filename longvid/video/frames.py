"""Frames: their type, how they are resized, which is on screen when.

This file imports no decoder, so that clips can be planned where none is installed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8

Frame = UInt8[np.ndarray, "height width 3"]
"""An upright RGB picture."""
Interpolation = Literal["bilinear", "bicubic", "area", "nearest"]


@dataclass(frozen=True, eq=False)
class FramesWanted:
    """The frames that one of several readers of a video wants, and their size."""

    indices: Int64[np.ndarray, "frames"]
    """Strictly increasing display positions."""
    height: int
    width: int
    interpolation: Interpolation


SAME_INSTANT_SECONDS = 1e-6
"""Times closer than this are equal: sums of floats differ from a container's whole ticks by rounding only."""


def frames_on_screen(
    frame_seconds: Float64[np.ndarray, "num_frames"], seconds: Float64[np.ndarray, "*shape"]
) -> Int64[np.ndarray, "*shape"]:
    """Index of the frame on screen at each time: the last that has started, or the first before any has."""
    return np.maximum(np.searchsorted(frame_seconds, seconds + SAME_INSTANT_SECONDS, side="right") - 1, 0)
