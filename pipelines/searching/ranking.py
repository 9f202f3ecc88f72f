"""Choice of hits: non-maximum suppression in time, best of many videos."""

import heapq
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float


def peaks(
    scores: Float[np.ndarray, "clips"], seconds: Float[np.ndarray, "clips 2"], *, apart_seconds: float, most: int
) -> list[int]:
    """The best clips of one video, best first, whose middles lie at least `apart_seconds` from each other's.

    A clip whose score is not finite is none. Of equal scores the earlier clip comes first.
    """
    middles = seconds.mean(axis=1)
    left = np.where(np.isfinite(scores), scores, -np.inf).astype(np.float64)
    chosen: list[int] = []
    while len(chosen) < most:
        best = int(left.argmax())
        if left[best] == -np.inf:
            break
        chosen.append(best)
        # clips are in the order of time, so those near are neighbours
        low = np.searchsorted(middles, middles[best] - apart_seconds, side="right")
        high = np.searchsorted(middles, middles[best] + apart_seconds, side="left")
        left[low:high] = -np.inf
        left[best] = -np.inf
    return chosen


@dataclass(order=True, frozen=True)
class Candidate:
    """A clip and its score; sorts by score, then the other way round by place in the store."""

    score: float
    order: tuple[int, int]
    """Negative numbers of the video and of the clip: of equal scores the first in the store is the best."""
    clip: int = field(compare=False)
    key: str = field(compare=False)
    start_seconds: float = field(compare=False)
    end_seconds: float = field(compare=False)


class Best:
    """The best candidates of all that were offered, in memory for no more than are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[Candidate] = []

    @property
    def floor(self) -> float:
        """A candidate whose score is lower is not kept; minus infinity until as many are kept as may be."""
        return self._heap[0].score if len(self._heap) == self._most else -np.inf

    def offer(self, candidate: Candidate) -> None:
        """Keep it if it is among the best so far."""
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, candidate)
        else:
            heapq.heappushpop(self._heap, candidate)

    def ranked(self) -> list[Candidate]:
        """Those kept, best first."""
        return sorted(self._heap, reverse=True)
