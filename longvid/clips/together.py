"""The clips of several encoders out of one pass over a video."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import ClipPlan
from longvid.video.frames import Frame, frames_on_screen
from longvid.video.metadata import VideoProbe
from longvid.video.reader import decoded_sizes, require_readable

Clip = UInt8[np.ndarray, "frames height width 3"]


class Wish(NamedTuple):
    """The clips that one encoder takes of a video."""

    plan: ClipPlan
    preprocessing: Preprocessing


def iter_clips_together(
    video: VideoProbe,
    wishes: Sequence[Wish],
    *,
    backend: str = "auto",
    allow_truncated: bool = False,
    num_threads: int = 1,
) -> Iterator[tuple[int, Clip]]:
    """The clips of every wish, each as soon as its last frame is there: the wish's number, and the clip.

    The clips of one wish come in order and equal those of `longvid.clips.iter_clips`. A frame is decoded once, whoever
    takes it. Memory is that of one clip per wish. Raises as `iter_clips` does.
    """
    gathering, wanted = [], []
    for plan, preprocessing in wishes:
        require_readable(video, np.sort(plan.frame_seconds, axis=None), allow_truncated)
        indices = frames_on_screen(video.measured.frame_seconds, plan.frame_seconds)
        size = preprocessing.resized(video.height, video.width)
        wanted.append((indices.reshape(-1), *size, preprocessing.interpolation))
        gathering.append(_Gathering(indices, preprocessing.crop(*size)))
    for which, index, frame in decoded_sizes(video, wanted, backend, num_threads):
        for clip in gathering[which].add(index, frame):
            yield which, clip


class _Gathering:
    """Frames of one wish until their clips are complete."""

    def __init__(self, indices: Int64[np.ndarray, "clips frames"], crop: tuple[slice, slice]) -> None:
        self._indices = indices
        self._crop = crop
        self._next = 0
        self._held: dict[int, Frame] = {}

    def add(self, index: int, frame: Frame) -> Iterator[Clip]:
        """Take the next frame; the clips that it completes."""
        self._held[index] = frame[self._crop]
        while self._next < len(self._indices) and int(self._indices[self._next][-1]) <= index:
            clip = self._indices[self._next]
            yield np.stack([self._held[at] for at in clip.tolist()])
            self._next += 1
            first = int(self._indices[self._next][0]) if self._next < len(self._indices) else index + 1
            self._held = {at: kept for at, kept in self._held.items() if at >= first}
