"""Results of a training: plain values, equal in memory and in files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from longvid.notebook import Cell, html_list, html_table
from longvid.validation import made


@dataclass(frozen=True)
class EpochRow:
    """One epoch of one seed; epochs count from 0. `metrics` is empty if the epoch was not validated."""

    epoch: int
    train_loss: float
    learning_rate: float
    seconds: float
    val_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SeedResult:
    """One trained seed. `metrics` are those of the validation videos in the best epoch."""

    seed: int
    best_epoch: int
    epochs: int
    """Epochs trained; fewer than asked for if training stopped early."""
    metrics: dict[str, float]
    train_seconds: float
    weights_sha256: str
    combination: dict[str, Any] = field(default_factory=dict)
    """Settings of the recipe's grid that validation chose; empty without a grid."""
    tried: tuple[dict[str, Any], ...] = ()
    """Every combination of the grid: its settings, its best epoch and the validation metrics in it."""


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation (n - 1) of a metric over seeds; no deviation for one seed."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """The summary of one value per seed."""
        if len(values) < 2:
            return cls(float(np.mean(values)), None)
        if len(set(values)) == 1:  # rounding would give a deviation of 1e-16 and a mean beside the value
            return cls(float(values[0]), 0.0)
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)))


def summarise(metrics: Sequence[dict[str, float]]) -> dict[str, Summary]:
    """The summary of each metric over seeds."""
    return {name: Summary.of([seed[name] for seed in metrics]) for name in metrics[0]} if metrics else {}


@dataclass(frozen=True)
class TrainResult:
    """One trained run: every seed, and what it was trained on."""

    JSON_PROPERTIES: ClassVar = ("validation",)

    out: str
    name: str
    decoder: str
    task: str
    parameters: int
    seeds: tuple[SeedResult, ...]
    listed: dict[str, int]
    found: dict[str, int]
    notes: tuple[str, ...] = ()
    baseline: dict[str, float] = field(default_factory=dict)
    """Validation metrics of a baseline that ignores the videos; empty in runs of longvid 0.1.0."""
    selected_by: str = "val"
    """The split whose videos choose the best epoch."""
    hints: tuple[str, ...] = ()
    """What the settings make unlikely to succeed, and what to change."""

    @property
    def train_seconds(self) -> float:
        """Mean training time over seeds."""
        return float(np.mean([seed.train_seconds for seed in self.seeds]))

    def coverage(self, split: str) -> str:
        """`all 42` or `40 of 42`: the split's videos that took part, of those that the manifest lists."""
        found, listed = self.found.get(split, 0), self.listed.get(split, 0)
        return f"all {listed}" if found == listed else f"{found} of {listed}"

    @property
    def validation(self) -> dict[str, Summary]:
        """Validation metrics over seeds."""
        return summarise([seed.metrics for seed in self.seeds])

    def _repr_html_(self) -> str:
        from longvid.pipelines.training.shown import metric_label, metric_rows, metric_text

        splits = ", ".join(f"{split}: {self.coverage(split)}" for split in self.listed)
        facts = [("decoder", self.decoder), ("task", self.task), ("parameters", f"{self.parameters:,}")]
        facts += [("videos", splits), ("training", f"{self.train_seconds:.1f} s per seed"), ("folder", self.out)]
        names = list(self.seeds[0].metrics) if self.seeds else []
        seeds: list[tuple[Cell, ...]] = [
            (
                seed.seed,
                f"{seed.best_epoch + 1} of {seed.epochs}",
                *(metric_text(n, seed.metrics.get(n)) for n in names),
            )
            for seed in self.seeds
        ]
        summary = html_list(("validation", "mean", "no video"), metric_rows(self.validation, self.baseline))
        listed = html_list(("seed", "best epoch", *map(metric_label, names)), seeds)
        remarks = html_list(("remarks",), [(text,) for text in (*self.notes, *self.hints)])
        return html_table(f"run {self.name}", facts) + summary + listed + (remarks if self.notes or self.hints else "")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainResult":
        """The result of plain values."""
        return made(cls, values)
