"""How well the borders of steps are found, whatever the steps are called.

A predicted border is right if it lies within a tolerance of a true one that no other predicted border has taken.
Borders are matched so that most are right: both lists are in order, so taking the earliest true border that is near
enough is optimal. Counts are pooled over videos, as for F1@k.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float


def matched(found: Float[np.ndarray, " found"], wanted: Float[np.ndarray, " wanted"], *, seconds: int | float) -> int:
    """Largest number of pairs of a found and a wanted border that are at most `seconds` apart; both are sorted."""
    pairs = place = 0
    for border in found:
        while place < len(wanted) and wanted[place] < border - seconds:
            place += 1
        if place < len(wanted) and wanted[place] <= border + seconds:
            pairs, place = pairs + 1, place + 1
    return pairs


def boundary_f1(
    videos: Iterable[tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]], *, seconds: int | float
) -> float:
    """F1 of borders over all videos, from the seconds of predicted and true ones; 1 if there are none of either."""
    right = borders = 0
    for found, wanted in videos:
        right += matched(found, wanted, seconds=seconds)
        borders += len(found) + len(wanted)
    return 2 * right / borders if borders else 1.0
