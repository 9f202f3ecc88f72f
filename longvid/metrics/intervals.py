"""Intervals of metrics, by a bootstrap over videos and seeds.

    found = interval([accuracy_of_seed_0, accuracy_of_seed_1], num_videos=40)
    found.low, found.high

A number has two sources of chance: which videos happen to be in the split, and which seeds were trained. Both are drawn
anew in every resample, independently of each other (the crossed, or pigeonhole, bootstrap; Owen 2007, arXiv 0712.1111),
by scipy's `bootstrap` of several samples: one per stratum of videos, one of the seeds. The interval is scipy's
percentile interval. Not BCa: it corrects by leaving out one value at a time, which means nothing for two or three
seeds, and it has no answer where all videos are right.

Clips and windows of one video are not independent, so it is always videos that are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from longvid.metrics.weighted import Weighted

LEVEL = 0.95
RESAMPLES = 2000
AT_ONCE = 4_000_000
"""Weights that are in memory at a time."""


@dataclass(frozen=True)
class Interval:
    """Where a number lies with 95 % confidence, in the number's own unit."""

    low: float
    high: float
    standard_error: float
    """Standard deviation over the resamples."""

    def holds(self, value: float) -> bool:
        """Whether the value lies in it."""
        return self.low <= value <= self.high


def interval(
    seeds: Sequence[Weighted],
    *,
    num_videos: int,
    strata: Sequence[Int[np.ndarray, " stratum"]] | None = None,
    num_items: int = 0,
    proportion: bool = False,
) -> Interval | None:
    """The interval of a metric's mean over seeds; None for fewer than two videos.

    seeds: the metric of each seed as a function of weights of the videos. strata: numbers of the videos that are drawn
    among each other (None: all); `num_items` bounds memory where a metric ranks items. A `proportion` of exactly 0 or 1
    is the same in all resamples, which says nothing; it gets the exact binomial interval of so many videos.
    """
    found = _bootstrap([seeds], num_videos=num_videos, strata=strata, num_items=num_items)
    if found is None or not proportion or found.low != found.high or found.low not in (0.0, 1.0):
        return found
    return exact_proportion(round(found.low * num_videos), num_videos)


def difference_interval(
    ones: Sequence[Weighted],
    others: Sequence[Weighted],
    *,
    num_videos: int,
    strata: Sequence[Int[np.ndarray, " stratum"]] | None = None,
    num_items: int = 0,
) -> Interval | None:
    """The interval of a metric's difference between two models, others - ones, scored on the same videos.

    The videos drawn are the same for both, which is what makes it paired; the seeds of each are drawn by themselves.
    """
    return _bootstrap([ones, others], num_videos=num_videos, strata=strata, num_items=num_items)


def exact_proportion(right: int, total: int) -> Interval:
    """The exact binomial (Clopper-Pearson) interval of `right` among `total` independent videos."""
    from scipy.stats import binomtest

    found = binomtest(right, total).proportion_ci(LEVEL, method="exact")
    share = right / total
    return Interval(float(found.low), float(found.high), float(np.sqrt(share * (1 - share) / total)))


def strata_of(labels: Sequence[int], everywhere: Sequence[int]) -> list[Int[np.ndarray, " stratum"]] | None:
    """The videos of a split by class, if the split was drawn class by class; None if it was not, or nobody can know.

    It was, if each class has its share of `everywhere` (the labels of all splits) in it, up to one video. Classes of
    a single video are drawn together, as a video drawn from itself would never change.
    """
    own, every = np.asarray(labels), np.asarray(everywhere)
    if not len(own) or own.ndim != 1 or own.dtype.kind not in "iu":
        return None
    classes = np.unique(every)
    shares = np.array([(every == name).mean() for name in classes])
    counts = np.array([(own == name).sum() for name in classes])
    if (np.abs(counts - shares * len(own)) > 1).any() or 2 * (counts == 1).sum() > len(classes):
        return None
    several = [np.flatnonzero(own == name) for name, count in zip(classes, counts, strict=True) if count > 1]
    single = np.flatnonzero(np.isin(own, classes[counts == 1]))
    if len(single) == 1 and several:
        several[-1] = np.concatenate([several[-1], single])
        return several
    return [*several, single] if len(single) else several


def _bootstrap(
    parts: Sequence[Sequence[Weighted]],
    *,
    num_videos: int,
    strata: Sequence[Int[np.ndarray, " stratum"]] | None,
    num_items: int,
) -> Interval | None:
    """The interval of the last part's mean over seeds, minus the first's where there are two."""
    from scipy.stats import bootstrap

    if num_videos < 2:
        return None
    drawn = [np.arange(num_videos)] if strata is None else list(strata)
    several = [number for number, part in enumerate(parts) if len(part) > 1]
    samples = [*drawn, *(np.arange(len(parts[number])) for number in several)]

    def statistic(*chosen: np.ndarray, axis: int = -1) -> Any:
        lead = chosen[0].shape[:-1]
        flat = [one.reshape(-1, one.shape[-1]) for one in chosen]
        videos, seeds = np.concatenate(flat[: len(drawn)], axis=1), dict(zip(several, flat[len(drawn) :], strict=True))
        rows = np.arange(len(videos))[:, None]
        weights = np.zeros((len(videos), num_videos))
        np.add.at(weights, (rows, videos), 1)
        means = []
        for number, part in enumerate(parts):
            values = np.stack([of(weights) for of in part], axis=1)
            means.append((values[rows, seeds[number]] if number in seeds else values).mean(axis=1))
        return (means[-1] - (means[0] if len(means) > 1 else 0.0)).reshape(lead)

    found = bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, min(RESAMPLES, AT_ONCE // max(num_videos, num_items, 1))),
        vectorized=True,
        paired=False,
        axis=-1,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return Interval(float(low), float(high), float(found.standard_error))
