"""Which frames of a video make which clip, in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Clips of `frames` frames at `fps` frames a second, one every `stride_seconds`; or `segments` clips a video."""

    frames: int = 1
    fps: float | None = 1.0
    stride_seconds: float | None = 1.0
    segments: int | None = None
