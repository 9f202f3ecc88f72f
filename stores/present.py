"""The clips of a video that are there, read as if they were all."""

from typing import Any

import numpy as np

from longvid.stores.errors import InvalidWindow
from longvid.stores.sequence import ClipSequence
from longvid.stores.video import StoredVideo


class PresentClips(ClipSequence):
    """The clips of a stored video that are there, counted from 0; read like the video itself, by one who wants numbers.

    Nothing marks a gap but the seconds: two neighbours here may lie apart in time.
    """

    def __init__(self, video: StoredVideo) -> None:
        self.video = video
        self.clips = np.flatnonzero(video.present)
        """(num_clips,): which clip of the stored video each of these is."""

    @property
    def key(self) -> str:
        """The video's own."""
        return self.video.key

    @property
    def num_clips(self) -> int:
        """How many clips are there."""
        return len(self.clips)

    @property
    def source(self) -> dict[str, Any]:
        """What the video was extracted from."""
        return self.video.source

    @property
    def seconds(self) -> np.ndarray:
        """(num_clips, 2) float64: start and end of each clip that is there."""
        return self.video.seconds[self.clips]

    def _read(self, start_clip: int, stop_clip: int) -> np.ndarray:
        return self.read(start_clip, stop_clip)

    def read(self, start_clip: int, stop_clip: int) -> np.ndarray:
        """Tokens (stop_clip - start_clip, tokens, dim) of the clips [start_clip, stop_clip) of those that are there."""
        if not 0 <= start_clip < stop_clip <= self.num_clips:
            raise InvalidWindow(
                f"video {self.key!r}: {self.num_clips} of its clips are there, but [{start_clip}, {stop_clip}) of them "
                "was asked"
            )
        first, last = self.clips[start_clip], self.clips[stop_clip - 1]
        return self.video.read(int(first), int(last) + 1, missing="drop")
