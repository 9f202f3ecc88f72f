"""One recipe on several folds: each is evaluated, scores are averaged.

    result = train_folds(load_config("breakfast-segmentation", ["store=breakfast.zarr"]))
    print(result.metrics["f1@50"].mean, result.folds)

A fold is a split column of the manifest. Its run is an ordinary run in a folder of its own below the recipe's `out`,
so folds continue, are evaluated and reported like any other run. The best epoch of each is chosen on its own
validation videos, before its test videos are scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from longvid.files import write_json
from longvid.metrics.intervals import Interval
from longvid.pipelines.evaluation.evaluate import EvaluationResult, evaluate
from longvid.pipelines.evaluation.uncertainty import mean_interval
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.fold_runs import fold_config, folds_of, write_folds
from longvid.pipelines.training.progress import TrainingProgress
from longvid.pipelines.training.results import Summary, TrainResult
from longvid.pipelines.training.train import train
from longvid.plain import as_json


@dataclass(frozen=True)
class FoldsResult:
    """Scores on several folds, and their means."""

    JSON_PROPERTIES: ClassVar = ("metrics", "intervals", "baseline", "readings")

    out: str
    split: str
    folds: tuple[str, ...]
    evaluations: tuple[EvaluationResult, ...]
    """One per fold, in the same order."""

    @property
    def metrics(self) -> dict[str, Summary]:
        """Mean of each metric over the folds; the deviation is that of the folds, each averaged over its seeds."""
        names = self.evaluations[0].metrics
        return {name: Summary.of([result.metrics[name].mean for result in self.evaluations]) for name in names}

    @property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each mean over the folds, from the standard error of each fold."""
        found = {
            name: mean_interval(
                [result.metrics[name].mean for result in self.evaluations],
                [result.intervals.get(name) for result in self.evaluations],
            )
            for name in self.evaluations[0].metrics
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def baseline(self) -> dict[str, float]:
        """Mean over folds of the baseline that ignores the video."""
        return {
            name: float(np.mean([result.baseline[name] for result in self.evaluations]))
            for name in self.evaluations[0].baseline
        }

    @property
    def readings(self) -> dict[str, dict[str, float]]:
        """Mean over folds of the segmentation metrics in every known way to count."""
        return {
            name: {
                metric: float(np.mean([result.readings[name][metric] for result in self.evaluations])) for metric in own
            }
            for name, own in self.evaluations[0].readings.items()
        }


def train_folds(config: TrainConfig, *, progress: TrainingProgress | None = None) -> FoldsResult:
    """Train every fold that is not trained yet, evaluate each on its test videos, and average.

    Raises what `train` and `evaluate` raise; the folds before stay as they are.
    """
    train_each(config, progress=progress)
    return evaluate_folds(config.out)


def train_each(config: TrainConfig, *, progress: TrainingProgress | None = None) -> list[TrainResult]:
    """Train every fold that is not trained yet."""
    write_folds(config)
    return [train(fold_config(config, fold), progress=progress) for fold in config.folds]


def evaluate_folds(
    out: str | Path,
    *,
    split: str = "test",
    store: str | list[str] | None = None,
    allow_missing: bool | None = None,
    predictions: str = "csv",
) -> FoldsResult:
    """Evaluate every fold of a folder that `train_folds` filled, as `evaluate` does, and average."""
    folds = folds_of(out)
    results = tuple(
        evaluate(Path(out) / fold, split=split, store=store, allow_missing=allow_missing, predictions=predictions)
        for fold in folds
    )
    return averaged(out, results, folds=folds)


def averaged(out: str | Path, results: Sequence[EvaluationResult], *, folds: Sequence[str]) -> FoldsResult:
    """The average of evaluations, also written beside the folds as `<split>.json`."""
    result = FoldsResult(str(out), results[0].split, tuple(folds), tuple(results))
    write_json(Path(out) / f"{result.split}.json", as_json(result))
    return result
