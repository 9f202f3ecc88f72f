"""A baseline: a linear model on pooled features of each video or clip.

    result = baseline(load_config("lvu/relationship", ["store=lvu.zarr"]))

It is chosen and scored as a decoder is, takes seconds, and shows how much of a decoder's score needs no decoder.
"""

from dataclasses import dataclass

from longvid.decoders.baseline import KINDS
from longvid.errors import AnnotationError, ConfigError
from longvid.metrics.items import METRICS, baseline_scores
from longvid.notebook import html_list, html_table
from longvid.pipelines.evaluation.linear_models import ClipModels, Models, VideoModels
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.data import TrainingData, open_training_data
from longvid.pipelines.training.scoring import constant_scores
from longvid.pipelines.training.shown import metric_rows
from longvid.windows import WindowDataset, split_by_presence


@dataclass(frozen=True)
class BaselineResult:
    """Scores of the best linear model, and how many videos they rest on."""

    name: str
    split: str
    pooling: str
    strength: float
    """Inverse regularisation; like `pooling`, chosen by the validation videos."""
    metrics: dict[str, float]
    validation: dict[str, float]
    constant: dict[str, float]
    """Metrics of a constant answer, which ignores the video."""
    train: int
    val: int
    evaluated: int
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        facts = [("pooling", self.pooling), ("strength", f"{self.strength:g}"), ("trained on", f"{self.train} videos")]
        facts += [("chosen by", f"{self.val} videos"), ("scored on", f"{self.evaluated} videos")]
        table = html_table(f"linear baseline of {self.name} on {self.split}", facts)
        rows = metric_rows(self.metrics, self.validation, self.constant)
        return table + html_list(("", self.split, "validation", "answer without video"), rows)


def baseline(config: TrainConfig, *, split: str = "test") -> BaselineResult:
    """Fit a linear model per pooling and regularisation; score the best by validation on `split`.

    For dense tasks it answers clip by clip. Raises the errors of `longvid.pipelines.training.train.train` for bad data,
    and `ConfigError` for joint tasks.
    """
    data = open_training_data(config)
    task, train = data.task, data.train
    if task.kind not in (*KINDS, "dense"):
        raise ConfigError(
            f"task {task.name!r} is {task.kind}; a linear model is for {', '.join(KINDS)} and dense tasks"
        )
    held_out, missing = _held_out(data, config, split)
    models: Models = ClipModels(task, train) if task.kind == "dense" else VideoModels(task, train)
    validation = models.metrics(data.val, models.choices)
    sign = 1 if METRICS[task.metrics[0]].higher_is_better else -1
    best = max(models.choices, key=lambda choice: sign * validation[choice][task.metrics[0]])
    blind = baseline_scores(task.kind, train.targets(), 1, task.outputs)[0]
    return BaselineResult(
        name=config.name,
        split=split,
        pooling=best[0],
        strength=best[1],
        metrics=models.metrics(held_out, [best])[best],
        validation=validation[best],
        constant=constant_scores(blind, held_out).metrics(task),
        train=len(train.rows),
        val=len(data.val.rows),
        evaluated=len(held_out.rows),
        missing=tuple(missing),
        notes=(*data.record.notes, *models.notes),
    )


def _held_out(data: TrainingData, config: TrainConfig, split: str) -> tuple[WindowDataset, list[str]]:
    """The videos to score, and the keys of those that are not in the store."""
    rows = data.manifest.split(split)
    found, missing = split_by_presence(data.train.store, rows)
    if not found:
        counts = ", ".join(f"{name} {count}" for name, count in data.manifest.counts().items())
        raise AnnotationError(
            f"{config.manifest}: no video of split {split!r} is in the store (the manifest lists {counts})"
        )
    return WindowDataset(data.train.store, found, data.val.windows, task=data.task), [row.key for row in missing]
