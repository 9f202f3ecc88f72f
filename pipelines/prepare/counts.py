"""How many of each split's videos exist, and the effect on scores."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from longvid.benchmarks.benchmark import SplitSet, rows_of
from longvid.metrics.items import baseline_scores, score
from longvid.tasks import ManifestRow, Task
from longvid.tasks.frame_labels import label_sequence
from longvid.tasks.manifest import SPLITS, Manifest


@dataclass(frozen=True)
class SplitCount:
    """One set of splits. `listed`, `found` and `unreadable` count the videos of each split."""

    JSON_PROPERTIES: ClassVar = ("missing",)

    column: str
    task: str
    what: str
    listed: dict[str, int]
    found: dict[str, int]
    unreadable: dict[str, int]
    metric: str = ""
    """The metric of a score in this task."""
    answer: str = ""
    """The constant answer of a baseline that ignores the video."""
    baseline_listed: float | None = None
    """Score of the baseline on all listed test videos; None if it cannot be computed."""
    baseline_found: float | None = None
    """Score of the baseline on the test videos that were found."""

    @property
    def missing(self) -> dict[str, int]:
        """Videos of each split without a file."""
        return {split: self.listed[split] - self.found[split] - self.unreadable[split] for split in self.listed}


def count_splits(
    manifest: Manifest, splits: Iterable[SplitSet], *, found: frozenset[str], unreadable: frozenset[str]
) -> Iterator[SplitCount]:
    """The counts of each set of splits, with its baseline."""
    for one in splits:
        rows = {split: rows_of(manifest, one.column, split) for split in SPLITS}
        there = [row for row in rows["test"] if row.key in found]
        answer, listed_score, found_score = _baselines(one.task, rows["train"], rows["test"], there)
        yield SplitCount(
            one.column,
            one.task.name,
            one.what,
            listed={split: len(listed) for split, listed in rows.items()},
            found={split: sum(row.key in found for row in listed) for split, listed in rows.items()},
            unreadable={split: sum(row.key in unreadable for row in listed) for split, listed in rows.items()},
            metric=_metric(one.task),
            answer=answer,
            baseline_listed=listed_score,
            baseline_found=found_score,
        )


def _baselines(
    task: Task, train: Sequence[ManifestRow], test: Sequence[ManifestRow], there: Sequence[ManifestRow]
) -> tuple[str, float | None, float | None]:
    """A constant answer in words, and its score on the listed test videos and on those that were found.

    The answer is derived from all listed training labels: the most frequent class, or 0 for a regression whose
    targets are centred.
    """
    known = _targets(task, train)
    if not len(known) or not test:
        return "", None, None
    if task.kind == "regression" and task.transform.shift:
        constant = np.zeros(task.outputs)
    else:
        constant = baseline_scores(task.kind, known, 1, task.outputs)[0]
    return _in_words(task, constant), _score(task, constant, test), _score(task, constant, there)


def _targets(task: Task, rows: Sequence[ManifestRow]) -> np.ndarray:
    if not rows:
        return np.zeros(0)
    if task.kind == "dense":
        return np.concatenate([label_sequence(row, task) for row in rows])
    return np.stack([np.asarray(task.target(row)) for row in rows])


def _score(task: Task, constant: np.ndarray, rows: Sequence[ManifestRow]) -> float | None:
    if not rows:
        return None
    targets, metric = _targets(task, rows), _metric(task)
    if task.kind == "dense":
        return float(np.mean(targets == constant.argmax()))
    return score((metric,), np.broadcast_to(constant, (len(targets), len(constant))), targets)[metric]


def _metric(task: Task) -> str:
    """The metric for a constant answer: the task's first metric, or frame accuracy for dense tasks."""
    return "mof" if task.kind == "dense" else task.metrics[0]


def _in_words(task: Task, constant: np.ndarray) -> str:
    if task.kind in ("classification", "dense"):
        return f"always {task.classes[int(constant.argmax())]}"
    return "always " + ", ".join(f"{value:.4g}" for value in constant)
