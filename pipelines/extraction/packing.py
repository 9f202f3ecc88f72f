"""Probes packed for the way from one worker to another.

A film's pieces carry its measured timing, so that no other worker reads the film through. Measured: the probe of a
three-hour film of 270,000 frames has 4.3 MB, packed 8 kB at a constant rate and 40 kB in Matroska's milliseconds; it
is packed in 10 ms and unpacked in 5, once per process and film.
"""

import pickle
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
from jaxtyping import Int64

from longvid.video import VideoProbe
from longvid.video.metadata import MeasuredTiming

FASTEST = 1
"""zlib's level: higher ones save a tenth and take ten times as long."""


def pack(video: VideoProbe) -> bytes:
    """The probe in a few bytes per keyframe; `unpack` gives it back, exactly."""
    timing = {one.name: getattr(video.measured, one.name) for one in fields(MeasuredTiming) if one.init}
    timing["frame_pts"] = _steps(video.measured.frame_pts)
    timing["keyframe_indices"] = _steps(video.measured.keyframe_indices)
    others = {one.name: getattr(video, one.name) for one in fields(VideoProbe) if one.name != "measured"}
    return zlib.compress(pickle.dumps((timing, others), protocol=pickle.HIGHEST_PROTOCOL), FASTEST)


def unpack(data: bytes) -> VideoProbe:
    """The probe that was packed, by a process of the same run."""
    timing, others = pickle.loads(zlib.decompress(data))
    timing["frame_pts"] = _sums(timing["frame_pts"])
    timing["keyframe_indices"] = _sums(timing["keyframe_indices"])
    return VideoProbe(measured=MeasuredTiming(**timing), **others)


def _steps(values: Int64[np.ndarray, "*"]) -> tuple[Any, ...]:
    """The first value and the steps between the values, in the smallest type that holds them."""
    if not len(values):
        return (None, None)
    steps = np.diff(values)
    largest = int(np.abs(steps).max(initial=0))
    small = next(kind for kind in (np.int8, np.int16, np.int32, np.int64) if largest <= np.iinfo(kind).max)
    return int(values[0]), steps.astype(small)


def _sums(packed: tuple[Any, ...]) -> Int64[np.ndarray, "*"]:
    first, steps = packed
    if first is None:
        return np.empty(0, np.int64)
    values = np.empty(len(steps) + 1, np.int64)
    values[0] = first
    np.cumsum(steps, dtype=np.int64, out=values[1:])
    values[1:] += first
    return values
