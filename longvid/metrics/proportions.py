"""Intervals of shares of right answers."""

import numpy as np

NORMAL_95 = 1.959963984540054
"""Deviations between which 95 % of a normal distribution lie."""


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share after `right` successes in `total` trials (E. B. Wilson, 1927).

    Never outside [0, 1], and right for shares near 0 and 1, where the usual ± is not. (0, 1) without trials.
    """
    if total == 0:
        return 0.0, 1.0
    share, square = right / total, NORMAL_95**2 / total
    centre = (share + square / 2) / (1 + square)
    half = NORMAL_95 * np.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
