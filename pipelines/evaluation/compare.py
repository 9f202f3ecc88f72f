"""Paired comparison of runs that were scored on the same videos.

    found = compare(["runs/vis4mer", "runs/mean-linear"])
    print(found.pairs[0].verdict)

Every run is compared with the first. The interval of a difference is a bootstrap over the videos that both scored,
drawn for both at once, and over the seeds of each (`longvid.metrics.intervals`); McNemar's exact test asks whether the
videos that only one of the two has right could be a coin's throws. Of several comparisons each must be clearer:
p-values are Holm's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from longvid.errors import ConfigError
from longvid.hub import local_run
from longvid.metrics.intervals import Interval
from longvid.metrics.items import METRICS
from longvid.metrics.videos import ScoredVideo
from longvid.pipelines.evaluation.score_files import KeptScores, read_scores
from longvid.pipelines.evaluation.uncertainty import Strata, metric_differences, split_intervals, split_strata
from longvid.pipelines.training.results import Summary, summarise
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.scoring import SplitScores
from longvid.tasks import Task

LEVEL = 0.05
"""A difference counts as real below this p-value."""


@dataclass(frozen=True)
class ComparedRun:
    """One run, on the videos that all runs scored."""

    label: str
    run: str
    seeds: tuple[int, ...]
    metrics: dict[str, Summary]
    intervals: dict[str, Interval]
    ensemble: dict[str, float]
    """Metrics of the mean of all seeds' scores."""


@dataclass(frozen=True)
class Difference:
    """How much higher a metric of the other run is than the first run's."""

    value: float
    interval: Interval | None
    p_value: float | None
    """Probability of such a difference by chance, by the bootstrap's standard error; Holm's for several runs."""


@dataclass(frozen=True)
class McNemar:
    """Videos that one of two runs has right and the other wrong, by the ensembles of their seeds."""

    gained: int
    """Right only by the other run."""
    lost: int
    """Right only by the first."""
    p_value: float
    """Exact, two-sided."""


@dataclass(frozen=True)
class ClassChange:
    """Share of a class's videos (clips of dense tasks) that each run finds, means over seeds."""

    name: str
    support: int
    first: float
    other: float


@dataclass(frozen=True)
class Flip:
    """A video that one run has right and the other wrong."""

    key: str
    path: str | None
    start_seconds: float | None
    end_seconds: float | None
    target: str
    first: str
    """The answer of the first run's ensemble."""
    other: str

    @property
    def gained(self) -> bool:
        """Whether the other run has it right."""
        return self.other == self.target


@dataclass(frozen=True)
class Pair:
    """A run beside the first."""

    first: str
    other: str
    differences: dict[str, Difference]
    verdict: str
    """What can be said, in words."""
    mcnemar: McNemar | None = None
    classes: tuple[ClassChange, ...] = ()
    flips: tuple[Flip, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Runs of one task, side by side."""

    task: str
    kind: str
    split: str
    videos: int
    """Videos that all runs scored."""
    elsewhere: dict[str, int]
    """Further videos that only some runs scored, and which are not counted here; by label."""
    stratified: bool
    runs: tuple[ComparedRun, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...] = ()
    """Folders that hold no scores of this split, each with the reason."""


def compare(run_dirs: Sequence[str | Path], *, split: str = "test") -> Comparison:
    """Every run beside the first, on the videos that all scored.

    A folder without scores is left out and named. Raises `ConfigError` if fewer than two runs are left, for runs of
    different tasks, and where runs were told different labels of a video.
    """
    if len(run_dirs) < 2:
        raise ConfigError("give at least two run folders to compare")
    found, left_out = [], []
    for given in run_dirs:
        try:
            path = local_run(given)
            run = RunFolder(path)
            record = run.record()
            if record.task["kind"] == "joint":
                raise ConfigError(f"{path} has several tasks; compare its parts, {path}/*")
            found.append((path, record.decoder.name, record.the_task(), read_scores(run, split, record.the_task())))
        except (ConfigError, OSError) as error:
            left_out.append(" ".join(str(error).split()))
    if len(found) < 2:
        raise ConfigError(f"only {len(found)} of {len(run_dirs)} folders can be compared: {'; '.join(left_out)}")
    tasks = {(task.name, task.kind, task.classes, task.outputs) for _, _, task, _ in found}
    if len(tasks) > 1:
        asked = ", ".join(sorted({name for name, *_ in tasks}))
        raise ConfigError(f"runs answer different tasks ({asked}); compare the runs of each by themselves")
    names = [decoder for _, decoder, _, _ in found]
    labels = [n if names.count(n) == 1 else f"{n} ({p.name})" for n, (p, *_) in zip(names, found, strict=True)]
    return _compare(found[0][2], split, labels, [p for p, *_ in found], [kept for *_, kept in found], left_out)


def _compare(
    task: Task, split: str, labels: list[str], paths: list[Path], every: list[KeptScores], left_out: list[str]
) -> Comparison:
    first_rows = [row.key for row in every[0].rows]
    common = [key for key in first_rows if all(key in {row.key for row in one.rows} for one in every[1:])]
    if len(common) < 2:
        raise ConfigError(
            f"{paths[0]} and {paths[1]} share {len(common)} scored videos of {split!r}; nothing to compare"
        )
    kept = [_on_videos(one, common) for one in every]
    rows = kept[0].rows
    for path, one in zip(paths, kept, strict=True):
        _refuse_other_targets(kept[0], one, paths[0], path)
    manifest = RunFolder(paths[0]).manifest()
    strata = split_strata(rows, manifest, task)
    seeds = [list(one.seeds.values()) for one in kept]
    ensembles = [_ensemble(one) for one in seeds]
    runs = tuple(
        ComparedRun(
            label=label,
            run=str(path),
            seeds=tuple(one.seeds),
            metrics=summarise([found.metrics(task) for found in own]),
            intervals=split_intervals(own, task, num_videos=len(rows), strata=strata),
            ensemble=ensemble.metrics(task),
        )
        for label, path, one, own, ensemble in zip(labels, paths, kept, seeds, ensembles, strict=True)
    )
    differences = _adjusted([_differences(task, seeds[0], own, len(rows), strata) for own in seeds[1:]])
    pairs = tuple(
        Pair(
            first=labels[0],
            other=label,
            differences=differences[number],
            verdict=_verdict(task, runs[0], runs[number + 1], differences[number], len(rows)),
            mcnemar=_mcnemar(task, ensembles[0], ensembles[number + 1]),
            classes=_class_changes(task, seeds[0], seeds[number + 1]),
            flips=_flips(task, kept[0], ensembles[0], ensembles[number + 1]),
        )
        for number, label in enumerate(labels[1:])
    )
    return Comparison(
        task=task.name,
        kind=task.kind,
        split=split,
        videos=len(common),
        elsewhere={
            label: len(one.rows) - len(common)
            for label, one in zip(labels, every, strict=True)
            if len(one.rows) > len(common)
        },
        stratified=strata is not None,
        runs=runs,
        pairs=pairs,
        left_out=tuple(left_out),
    )


def _on_videos(kept: KeptScores, keys: list[str]) -> KeptScores:
    """The scores of some of the videos, in the order of `keys`; items stay in order within a video."""
    place = {row.key: number for number, row in enumerate(kept.rows)}
    rank = np.full(len(kept.rows), -1)
    for new, key in enumerate(keys):
        rank[place[key]] = new
    rows = tuple(kept.rows[place[key]] for key in keys)
    return KeptScores(rows, {seed: _chosen(found, rank, len(keys)) for seed, found in kept.seeds.items()})


def _chosen(found: SplitScores, rank: np.ndarray, count: int) -> SplitScores:
    new = rank[found.item_videos]
    order = np.argsort(new, kind="stable")
    items = order[new[order] >= 0]
    along: list[ScoredVideo | None] = [None] * count
    for old, video in enumerate(found.along):
        if rank[old] >= 0:
            along[rank[old]] = video
    return replace(
        found,
        scores=found.scores[items],
        targets=found.targets[items],
        item_videos=new[items],
        along=tuple(video for video in along if video is not None),
    )


def _refuse_other_targets(first: KeptScores, other: KeptScores, one_path: Path, other_path: Path) -> None:
    one, two = next(iter(first.seeds.values())), next(iter(other.seeds.values()))
    if one.targets.shape != two.targets.shape:
        raise ConfigError(
            f"{one_path} and {other_path} scored different clips of the same videos; compare runs whose stores have "
            "the same clips"
        )
    wrong = (one.targets != two.targets).reshape(len(one.targets), -1).any(axis=1)
    if wrong.any():
        key = first.rows[int(one.item_videos[wrong][0])].key
        raise ConfigError(
            f"{one_path} and {other_path} were told different labels of {key!r}; train both on one manifest"
        )


def _ensemble(seeds: list[SplitScores]) -> SplitScores:
    """The mean of the seeds' scores."""
    along = tuple(
        replace(videos[0], scores=np.mean([video.scores for video in videos], axis=0))
        for videos in zip(*(found.along for found in seeds), strict=True)
    )
    return replace(seeds[0], scores=np.mean([found.scores for found in seeds], axis=0), along=along)


def _differences(
    task: Task, ones: list[SplitScores], others: list[SplitScores], num_videos: int, strata: Strata
) -> dict[str, Difference]:
    from scipy.stats import norm

    intervals = metric_differences(ones, others, task, num_videos=num_videos, strata=strata)
    means = [
        {name: summary.mean for name, summary in summarise([f.metrics(task) for f in side]).items()}
        for side in (ones, others)
    ]
    found = {}
    for name in task.metrics:
        value, within = means[1][name] - means[0][name], intervals.get(name)
        p_value = None
        if within is not None:
            p_value = (
                2 * float(norm.sf(abs(value) / within.standard_error)) if within.standard_error else float(not value)
            )
        found[name] = Difference(value, within, p_value)
    return found


def _adjusted(pairs: list[dict[str, Difference]]) -> list[dict[str, Difference]]:
    """The same with Holm's p-values over the pairs, metric by metric."""
    for name in pairs[0]:
        order = sorted(range(len(pairs)), key=lambda pair: pairs[pair][name].p_value or 0.0)
        highest = 0.0
        for rank, pair in enumerate(order):
            given = pairs[pair][name].p_value
            if given is not None:
                highest = max(highest, min(1.0, given * (len(pairs) - rank)))
                pairs[pair][name] = replace(pairs[pair][name], p_value=highest)
    return pairs


def is_real(found: Difference) -> bool:
    """Whether a difference is more than chance: its interval holds no 0, and its p-value is low."""
    return found.interval is not None and not found.interval.holds(0.0) and (found.p_value or 0.0) < LEVEL


def shown_difference(name: str, found: Difference) -> str:
    """`+3.4 points (0.4 to 6.2)`."""
    metric = METRICS[name]
    scale, digits, unit = (100, 1, " points") if metric.percent else (1, 4, "")
    text = f"{found.value * scale:+.{digits}f}{unit}"
    if found.interval is None:
        return text
    return f"{text} ({found.interval.low * scale:+.{digits}f} to {found.interval.high * scale:+.{digits}f})"


def mcnemar_in_words(pair: Pair) -> str:
    """McNemar's test as a sentence; empty where there is none."""
    if pair.mcnemar is None:
        return ""
    test = pair.mcnemar
    return (
        f"Of the ensembles, only {pair.other} has {test.gained} videos right, only {pair.first} {test.lost} "
        f"(McNemar's exact test: p = {test.p_value:.2g})."
    )


def shown_p(p_value: float | None) -> str:
    """A p-value, rounded."""
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _verdict(task: Task, first: ComparedRun, other: ComparedRun, found: dict[str, Difference], videos: int) -> str:
    name = task.metrics[0]
    metric, difference = METRICS[name], found[name]
    shown = f"{metric.label} {shown_difference(name, difference)}"
    if is_real(difference):
        better = (difference.value > 0) == metric.higher_is_better
        text = f"{other.label} is {'better' if better else 'worse'} than {first.label}: {shown}."
    else:
        text = f"Nothing can be said about {other.label} and {first.label}: {shown} could be chance."
        if difference.interval is not None and difference.interval.standard_error:
            least = 1.96 * difference.interval.standard_error * (100 if metric.percent else 1)
            text += f" On these {videos} videos a difference shows from about {least:.{1 if metric.percent else 4}f}"
            text += " points on." if metric.percent else " on."
    single = [run.label for run in (first, other) if len(run.seeds) == 1]
    if single:
        text += f" {' and '.join(single)}: one seed, so how much training itself varies is not counted."
    return text


def _mcnemar(task: Task, first: SplitScores, other: SplitScores) -> McNemar | None:
    if task.kind != "classification":
        return None
    from scipy.stats import binomtest

    right, also = (one.scores.argmax(axis=1) == one.targets for one in (first, other))
    gained, lost = int((also & ~right).sum()), int((right & ~also).sum())
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return McNemar(gained, lost, p_value)


def _class_changes(task: Task, ones: list[SplitScores], others: list[SplitScores]) -> tuple[ClassChange, ...]:
    """Classes that occur, those that change most first."""
    if task.kind not in ("classification", "dense"):
        return ()
    changes = []
    for number, name in enumerate(task.classes):
        there = ones[0].targets == number
        if there.any():
            shares = [
                float(np.mean([(found.scores[there].argmax(axis=1) == number).mean() for found in side]))
                for side in (ones, others)
            ]
            changes.append(ClassChange(name, int(there.sum()), *shares))
    return tuple(sorted(changes, key=lambda change: -abs(change.other - change.first)))


def _flips(task: Task, kept: KeptScores, first: SplitScores, other: SplitScores) -> tuple[Flip, ...]:
    """Videos that changed sides, those that became right first."""
    if task.kind != "classification":
        return ()
    answers = [one.scores.argmax(axis=1) for one in (first, other)]
    flips = []
    for item, video in enumerate(first.item_videos.tolist()):
        target, before, after = int(first.targets[item]), int(answers[0][item]), int(answers[1][item])
        if (before == target) != (after == target):
            row = kept.rows[video]
            about: dict[str, Any] = {"key": row.key, "path": row.path}
            named = (task.classes[target], task.classes[before], task.classes[after])
            flips.append(
                Flip(
                    **about,
                    start_seconds=row.start_seconds,
                    end_seconds=row.end_seconds,
                    target=named[0],
                    first=named[1],
                    other=named[2],
                )
            )
    return tuple(sorted(flips, key=lambda flip: not flip.gained))
