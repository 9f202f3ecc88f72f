"""Clips of several plans from one decoding of a video.

Encoders want clips at other times and of other sizes. What all of them want is decoded once; each plan's clips are the
ones that `iter_clips` gives for it alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.reading import Clip
from longvid.clips.sampling import ClipPlan
from longvid.video.frames import Frame, FramesWanted, frames_on_screen
from longvid.video.metadata import VideoProbe
from longvid.video.reader import frames_together, require_readable


@dataclass(frozen=True, eq=False)
class ClipsWanted:
    """The clips that one encoder wants, and the geometry of its input."""

    plan: ClipPlan
    preprocessing: Preprocessing


def iter_clips_together(
    video: VideoProbe,
    wanted: Sequence[ClipsWanted],
    *,
    backend: str = "auto",
    allow_truncated: bool = False,
    num_threads: int = 1,
) -> Iterator[tuple[int, Clip]]:
    """The number of a plan and its next clip, as soon as its last frame is decoded; each plan's clips are in order.

    Memory is that of the frames between the start and the end of one clip of each plan. Raises as `iter_clips` does.
    """
    gatherings = [_Gathering(video, one) for one in wanted]
    for one in wanted:
        require_readable(video, np.sort(one.plan.frame_seconds, axis=None), allow_truncated)
    frames = frames_together(video, [gathering.frames for gathering in gatherings], backend, num_threads)
    for index, number, frame in frames:
        for clip in gatherings[number].feed(index, frame):
            yield number, clip


class _Gathering:
    """The clips of one plan, joined out of a stream of its frames."""

    def __init__(self, video: VideoProbe, wanted: ClipsWanted) -> None:
        self._indices = frames_on_screen(video.measured.frame_seconds, wanted.plan.frame_seconds)
        self._next_clip = 0
        self._held: dict[int, Frame] = {}
        height, width = wanted.preprocessing.resized(video.height, video.width)
        self._crop = wanted.preprocessing.crop(height, width)
        positions = np.unique(self._indices)
        self.frames = FramesWanted(positions, height, width, wanted.preprocessing.interpolation)

    def feed(self, index: int, frame: Frame) -> Iterator[Clip]:
        """The clips that this frame completes; a frame is dropped once no later clip starts at or before it."""
        rows, columns = self._crop
        self._held[index] = frame[rows, columns]
        while self._next_clip < len(self._indices) and int(self._indices[self._next_clip][-1]) <= index:
            clip = self._indices[self._next_clip]
            first = int(clip[0])
            self._held = {position: held for position, held in self._held.items() if position >= first}
            self._next_clip += 1
            yield np.stack([self._held[position] for position in clip.tolist()])
