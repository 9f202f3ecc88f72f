"""Clips of a video that are not there, as its file is damaged.

Nothing of a film could be stored if one damaged stretch refused all of it. So an extraction may leave clips out: their
place in the arrays holds NaN (int8: zeros under a scale of NaN), and the video's own document says which they are.

    "damaged": [{"first_clip": 8, "stop_clip": 12, "start_seconds": 4.0, "end_seconds": 7.5, "reason": "..."}]

Ranges are half-open, in order, and apart; a video without such clips has no such entry. NaN stands in a store exactly
where this list says so: readers refuse those clips unless they are asked for, and `verify` names any other NaN.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from longvid.stores.errors import DamagedStore

DAMAGED = "damaged"
"""Name of the list in a video's document, and in the receipt of a shard."""

Missing = Literal["refuse", "nan", "drop"]
"""What a reader is given of clips that are not there: an error, rows of NaN, or only the others."""


@dataclass(frozen=True)
class DamagedClips:
    """A range of clips that are not there, half-open, the seconds that they span, and why."""

    first_clip: int
    stop_clip: int
    start_seconds: float
    end_seconds: float
    reason: str

    def __str__(self) -> str:
        return (
            f"clips {self.first_clip} to {self.stop_clip} ({self.start_seconds:.3f} to {self.end_seconds:.3f} s): "
            f"{self.reason}"
        )


Ranges = tuple[DamagedClips, ...]


def damaged_ranges(reasons: Mapping[int, str], seconds: np.ndarray) -> Ranges:
    """The ranges of clips with these reasons; `seconds` (clips, 2) are those of the whole video."""
    ones = (
        DamagedClips(clip, clip + 1, float(seconds[clip, 0]), float(seconds[clip, 1]), " ".join(reasons[clip].split()))
        for clip in sorted(reasons)
    )
    return joined(ones)


def joined(ranges: Iterable[DamagedClips]) -> Ranges:
    """Ranges in order, with neighbours of one reason as one: the same however the video was cut into shards."""
    made: list[DamagedClips] = []
    for one in ranges:
        last = made[-1] if made else None
        if last is not None and last.stop_clip == one.first_clip and last.reason == one.reason:
            end_seconds = max(last.end_seconds, one.end_seconds)
            made[-1] = replace(last, stop_clip=one.stop_clip, end_seconds=end_seconds)
        else:
            made.append(one)
    return tuple(made)


def within(ranges: Ranges, first_clip: int, stop_clip: int) -> Ranges:
    """The parts of the ranges that lie in the clips [first_clip, stop_clip), with the seconds of the whole ranges."""
    return tuple(
        replace(one, first_clip=max(one.first_clip, first_clip), stop_clip=min(one.stop_clip, stop_clip))
        for one in ranges
        if one.first_clip < stop_clip and one.stop_clip > first_clip
    )


def absent_mask(ranges: Ranges, first_clip: int, stop_clip: int) -> np.ndarray:
    """(stop_clip - first_clip,) bool: which of the clips are not there."""
    mask = np.zeros(stop_clip - first_clip, bool)
    for one in within(ranges, first_clip, stop_clip):
        mask[one.first_clip - first_clip : one.stop_clip - first_clip] = True
    return mask


def num_damaged(ranges: Ranges) -> int:
    """How many clips the ranges hold."""
    return sum(one.stop_clip - one.first_clip for one in ranges)


def as_plain(ranges: Ranges) -> list[dict[str, Any]]:
    """As they stand in a document."""
    return [asdict(one) for one in ranges]


def parse_ranges(plain: Any, num_clips: int) -> Ranges:
    """The ranges that `as_plain` made, of a video with so many clips. Raises DamagedStore for anything else."""
    try:
        ranges = tuple(DamagedClips(**one) for one in plain)
        edges = [edge for one in ranges for edge in (one.first_clip, one.stop_clip)]
        apart = all(one.stop_clip <= after.first_clip for one, after in pairwise(ranges))
        sound = (
            all(type(edge) is int for edge in edges)
            and all(0 <= one.first_clip < one.stop_clip <= num_clips for one in ranges)
            and all(np.isfinite([one.start_seconds, one.end_seconds]).all() for one in ranges)
            and all(isinstance(one.reason, str) for one in ranges)
        )
    except (TypeError, ValueError) as error:
        raise DamagedStore(f"its list of damaged clips is not one ({error})") from error
    if not sound or not apart:
        raise DamagedStore(f"its list of damaged clips is not one of {num_clips} clips in order")
    return ranges
