"""How noisy a benchmark is: what a test of its size can tell apart."""

from dataclasses import dataclass

import numpy as np

from longvid.benchmarks.published import bar
from longvid.metrics.intervals import Interval, exact_proportion
from longvid.metrics.items import METRICS
from longvid.tasks import Task

SHARES = ("accuracy", "clip_accuracy", "mean_class_accuracy", "top5_accuracy")


@dataclass(frozen=True)
class Noise:
    """What the size of the test alone says."""

    videos: int
    points_per_video: float
    """How much one video moves an accuracy, in points."""
    published: str | None
    """The best number that was read in a paper, as printed, and its model; None for a task that is not public."""
    published_interval: Interval | None
    """Where that lies with 95 % confidence, by the exact binomial interval; None unless it is an accuracy."""
    at: float | None
    """The score that the differences below are for: the published one, or the best of this audit."""
    independent_points: float | None
    """Points by which two models must differ, if only their scores are known; None unless the score is an accuracy."""
    paired_points: float | None
    """The same if both were scored on the same videos and four in five of their mistakes are shared."""


def noise_of(task: Task, videos: int, best: float | None) -> Noise:
    """The noise of a test of so many videos; `best`: the best score of this audit, by the task's first metric."""
    name = task.metrics[0]
    known = bar(task.name, name)
    share = known.value if known is not None else best
    is_share = name in SHARES and share is not None
    count = known.videos if known is not None and known.videos else videos
    independent = paired = None
    if is_share and share is not None:
        # of shares of 0 or 1 the formula says nothing: one half-video away from there
        kept = float(np.clip(share, 0.5 / videos, 1 - 0.5 / videos))
        independent = 100 * 1.96 * float(np.sqrt(2 * kept * (1 - kept) / videos))
        wrong = 1 - kept
        paired = 100 * 1.96 * float(np.sqrt(2 * 0.2 * wrong / videos))
    within = None
    if known is not None and is_share:
        within = exact_proportion(round(known.value * count), count)
    percent = " %" if METRICS[name].percent else ""
    return Noise(
        videos=videos,
        points_per_video=100 / videos,
        published=None if known is None else f"{known.printed}{percent} ({known.model})",
        published_interval=within,
        at=share,
        independent_points=independent,
        paired_points=paired,
    )


def noise_in_words(found: Noise) -> str:
    """What the size of the test says, as sentences."""
    text = f"{found.videos} test videos: one video moves an accuracy by {found.points_per_video:.1f} points."
    if found.published is not None and found.published_interval is not None:
        low, high = 100 * found.published_interval.low, 100 * found.published_interval.high
        text += f" The best published number, {found.published}, lies between {low:.1f} and {high:.1f} %."
    if found.at is not None and found.independent_points is not None and found.paired_points is not None:
        text += (
            f" Around {100 * found.at:.1f} %, two models must differ by {found.independent_points:.1f} points to mean "
            f"anything if only their scores are known, and by about {found.paired_points:.1f} points if they are "
            "compared video by video (`longvid compare`) and share four in five mistakes."
        )
    return text
