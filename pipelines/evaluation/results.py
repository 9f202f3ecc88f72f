"""Your own runs of a public task, to be compared with published numbers."""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from longvid.benchmarks.known_tasks import KNOWN_TASKS, find_task
from longvid.benchmarks.protocols import PROTOCOLS
from longvid.errors import LongvidError
from longvid.metrics.intervals import Interval
from longvid.pipelines.evaluation.evaluate import read_evaluation
from longvid.pipelines.evaluation.uncertainty import mean_interval
from longvid.pipelines.recipes import recipe_names, recipe_settings
from longvid.pipelines.training.config import TrainConfig, kept_config
from longvid.pipelines.training.results import Summary
from longvid.pipelines.training.run_folder import RunFolder, RunRecord
from longvid.tasks.task import Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnResult:
    """Test scores of one run, or the average over several folds."""

    run: str
    decoder: str
    protocol: str | None
    split_column: str | None
    metrics: dict[str, Summary]
    """Metrics over what the protocol counts: videos, or single windows."""
    baseline: dict[str, float]
    coverage: str
    """`all 42 videos`, `40 of 42 videos`."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Where each metric lies with 95 % confidence; empty for runs that were evaluated by an older version."""
    remarks: tuple[str, ...] = ()
    """Why the numbers cannot be compared: changed windows, a best epoch chosen by test."""


def task_named(name: str) -> Task:
    """The public task of that name, or of the recipe of that name; `ConfigError` with similar names."""
    if name not in KNOWN_TASKS and name in recipe_names():
        task = recipe_settings(name).get("task", {}).get("name", "")
        if task in KNOWN_TASKS:
            return KNOWN_TASKS[task]
    return find_task(name)


def own_results(folder: str | Path, task: str, *, say: Callable[[str], Any] = _log.warning) -> list[OwnResult]:
    """Every run below the folder that was trained for the task and evaluated on test, sorted by path.

    Averages over folds come last. Runs that are not evaluated are left out; `say` gets one line per run whose files
    cannot be read.
    """
    entries = []
    for path in sorted(Path(folder).rglob("run.json")):
        try:
            entry = _entry(path.parent, task)
        except (LongvidError, OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            say(f"{reason if str(path.parent) in reason else f'{path.parent}: {reason}'}; its numbers are left out")
            continue
        if entry is not None:
            entries.append(entry)
    return [result for result, _ in entries] + _averages(entries)


def _entry(folder: Path, task: str) -> tuple[OwnResult, str] | None:
    """A run's scores, and the key that its folds share; None for another task or no evaluation."""
    run = RunFolder(folder)
    record = run.record()
    if record.task.get("name") != task or not run.evaluation_file("test").is_file():
        return None
    config = kept_config(run.recipe_file)
    evaluated = read_evaluation(run, "test")
    protocol = PROTOCOLS.get(config.protocol or "")
    by_window = protocol is not None and protocol.scored == "windows"
    result = OwnResult(
        run=str(folder),
        decoder=record.decoder.name,
        protocol=config.protocol,
        split_column=config.split_column,
        metrics=evaluated.window_metrics if by_window else evaluated.metrics,
        baseline=evaluated.baseline,
        coverage=evaluated.coverage,
        intervals=evaluated.window_intervals if by_window else evaluated.intervals,
        remarks=tuple(_remarks(config)),
    )
    return result, _kind(record, config)


def _remarks(config: TrainConfig) -> Iterable[str]:
    if config.validation.on_test:
        yield "best epoch chosen by test, as published"
    if config.protocol_changes:
        yield f"window changed ({', '.join(config.protocol_changes)})"
    if config.protocol is None:
        yield "no protocol"


def _kind(record: RunRecord, config: TrainConfig) -> str:
    """What must be equal in runs that are averaged over folds."""
    recipes = [store.recipe for store in record.stores]
    same: list[Any] = [record.decoder.name, record.decoder.options, recipes, config.protocol, config.epochs]
    return json.dumps(same, sort_keys=True, default=str)


def _averages(entries: list[tuple[OwnResult, str]]) -> list[OwnResult]:
    """The mean over folds of each kind of run that has several; of two runs of a fold, the later one counts."""
    kinds: dict[str, dict[str, OwnResult]] = defaultdict(dict)
    for result, kind in entries:
        protocol = PROTOCOLS.get(result.protocol or "")
        if protocol is not None and result.split_column in protocol.folds:
            kinds[kind][str(result.split_column)] = result
    return [_average(folds) for folds in kinds.values() if len(folds) > 1]


def _average(folds: dict[str, OwnResult]) -> OwnResult:
    results = list(folds.values())
    wanted = PROTOCOLS[str(results[0].protocol)].folds
    means = {
        name: Summary(float(np.mean([result.metrics[name].mean for result in results])), None)
        for name in results[0].metrics
    }
    baseline = {name: float(np.mean([result.baseline[name] for result in results])) for name in means}
    pooled = {
        name: mean_interval([r.metrics[name].mean for r in results], [r.intervals.get(name) for r in results])
        for name in means
    }
    absent = [fold for fold in wanted if fold not in folds]
    remarks = [remark for result in results for remark in result.remarks] + (
        [f"without {', '.join(absent)}"] if absent else []
    )
    return replace(
        results[0],
        run=f"mean of {len(results)} of {len(wanted)} folds",
        split_column=None,
        metrics=means,
        baseline=baseline,
        intervals={name: value for name, value in pooled.items() if value is not None},
        coverage="; ".join(f"{fold}: {result.coverage}" for fold, result in sorted(folds.items())),
        remarks=tuple(dict.fromkeys(remarks)),
    )
