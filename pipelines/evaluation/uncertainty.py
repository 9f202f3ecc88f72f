"""Intervals of what `evaluate` prints, over videos and seeds."""

from collections.abc import Sequence

import numpy as np

from longvid.metrics.intervals import Interval, difference_interval, interval, strata_of
from longvid.metrics.items import METRICS
from longvid.metrics.weighted import Scored, weighted_metric
from longvid.pipelines.training.scoring import SplitScores
from longvid.tasks import Manifest, ManifestRow, Task

Strata = list[np.ndarray] | None
PROPORTIONS = ("accuracy", "top5_accuracy", "mean_class_accuracy")
"""Metrics of videos that are shares of right answers."""


def split_intervals(
    scored: Sequence[SplitScores], task: Task, *, num_videos: int, strata: Strata
) -> dict[str, Interval]:
    """The interval of each metric of the task over items; without those that too few videos leave unknown."""
    found = [counted(one, task, num_videos) for one in scored]
    return _intervals(task.metrics, found, strata)


def window_intervals(
    scored: Sequence[SplitScores], task: Task, *, num_videos: int, strata: Strata
) -> dict[str, Interval]:
    """The same with every window counted on its own; videos are drawn, with all their windows."""
    if not all(len(one.windows) for one in scored):
        return {}
    names = tuple(name for name in task.metrics if METRICS[name].function is not None)
    found = [
        Scored(one.windows, one.targets[one.window_videos], one.window_videos, num_videos, task=task) for one in scored
    ]
    return _intervals(names, found, strata)


def metric_differences(
    ones: Sequence[SplitScores], others: Sequence[SplitScores], task: Task, *, num_videos: int, strata: Strata
) -> dict[str, Interval]:
    """The interval of each metric's difference, others - ones, on the same videos."""
    parts = [[counted(one, task, num_videos) for one in side] for side in (ones, others)]
    found = {
        name: difference_interval(
            *([weighted_metric(name, one) for one in side] for side in parts),
            num_videos=num_videos,
            strata=strata,
            num_items=_ranked(name, parts[0]),
        )
        for name in task.metrics
    }
    return {name: value for name, value in found.items() if value is not None}


def counted(found: SplitScores, task: Task, num_videos: int) -> Scored:
    """The scores of a split as a bootstrap takes them."""
    return Scored(found.scores, found.targets, found.item_videos, num_videos, found.along, task)


def split_strata(rows: Sequence[ManifestRow], manifest: Manifest, task: Task) -> Strata:
    """The videos of a split by class, where the split was drawn class by class (`strata_of`)."""
    if task.kind != "classification":
        return None
    every = [row for row in manifest if row.split and row.value(task.column) is not None]
    return strata_of([int(task.target(row)) for row in rows], [int(task.target(row)) for row in every])


def mean_interval(values: Sequence[float], intervals: Sequence[Interval | None]) -> Interval | None:
    """The interval of a mean over folds, whose test videos differ: normal, from the standard error of each."""
    known = [one for one in intervals if one is not None]
    if not known or len(known) < len(intervals):
        return None
    error = float(np.sqrt(sum(one.standard_error**2 for one in known)) / len(known))
    mean = float(np.mean(values))
    return Interval(mean - 1.96 * error, mean + 1.96 * error, error)


def _intervals(names: Sequence[str], found: Sequence[Scored], strata: Strata) -> dict[str, Interval]:
    every = {
        name: interval(
            [weighted_metric(name, one) for one in found],
            num_videos=found[0].num_videos,
            strata=strata,
            num_items=_ranked(name, found),
            proportion=name in PROPORTIONS,
        )
        for name in names
    }
    return {name: value for name, value in every.items() if value is not None}


def _ranked(name: str, found: Sequence[Scored]) -> int:
    """Items that a metric puts in order, each with a weight of its own; 0 for one that sums over videos."""
    ranks = name == "mean_average_precision" or name.startswith(("map@", "recall@"))
    return len(found[0].scores) if ranks else 0
