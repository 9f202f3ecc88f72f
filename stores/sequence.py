"""A stored video as a sequence of clips: indices, slices, loops, numpy."""

from collections.abc import Iterator
from operator import index as as_index
from typing import Any

import numpy as np

from longvid.stores.errors import InvalidWindow

CLIPS_AT_ONCE = 64
"""Clips that a loop reads at once."""


class ClipSequence:
    """The clips of a video, each (tokens, dim), as numpy would show an array of them; reads only what is asked for.

        len(video)              number of clips
        video[3], video[-1]     (tokens, dim)
        video[3:5]              (2, tokens, dim); ends are clipped as in a list, and steps may be negative
        for clip in video       each clip in turn, in little memory
        np.asarray(video)       (clips, tokens, dim): all of it in memory

    Clips that are not there, because the file is damaged, are refused with AbsentClips, as by `read`.
    """

    @property
    def key(self) -> str:
        """The video's id."""
        raise NotImplementedError

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        raise NotImplementedError

    def _read(self, start_clip: int, stop_clip: int) -> np.ndarray:
        """Tokens of the clips [start_clip, stop_clip), which are not none."""
        raise NotImplementedError

    def _none(self) -> np.ndarray:
        """No clip: (0, tokens, dim)."""
        return self._read(0, 1)[:0]

    def __len__(self) -> int:
        return self.num_clips

    def __bool__(self) -> bool:
        return True  # a video is there, however many clips it has

    def __getitem__(self, clips: Any) -> np.ndarray:
        """Tokens of a clip (tokens, dim), or of a slice of clips (clips, tokens, dim)."""
        if isinstance(clips, slice):
            chosen = range(*clips.indices(self.num_clips))
            if not chosen:
                return self._none()
            first, last = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
            if abs(chosen.step) > CLIPS_AT_ONCE:
                return np.concatenate([self._read(clip, clip + 1) for clip in chosen])
            window = self._read(first, last + 1)[:: abs(chosen.step)]
            return window if chosen.step > 0 else window[::-1]
        try:
            clip = as_index(clips)
        except TypeError:
            raise TypeError(
                f"video {self.key!r}: clips are chosen by a number or a slice, not by {type(clips).__name__}; "
                "by seconds: video.read_seconds(60, 120); by a list: np.stack([video[i] for i in clips])"
            ) from None
        if not -self.num_clips <= clip < self.num_clips:
            raise InvalidWindow(f"video {self.key!r} has {self.num_clips} clips, but clip {clip} was asked")
        clip %= self.num_clips
        tokens: np.ndarray = self._read(clip, clip + 1)[0]
        return tokens

    def __iter__(self) -> Iterator[np.ndarray]:
        for first in range(0, self.num_clips, CLIPS_AT_ONCE):
            yield from self._read(first, min(first + CLIPS_AT_ONCE, self.num_clips))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All clips (clips, tokens, dim), for `np.asarray`."""
        if copy is False:
            raise ValueError(f"video {self.key!r} is in a store: reading it makes a copy; use np.asarray(video)")
        tokens = self._read(0, self.num_clips)
        return tokens if dtype is None else tokens.astype(dtype, copy=False)
