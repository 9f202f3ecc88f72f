"""Metrics as text, for results in a notebook."""

from collections.abc import Mapping

from longvid.metrics.items import METRICS
from longvid.pipelines.training.results import Summary


def metric_text(name: str, value: "float | Summary | None") -> str:
    """`87.5 %`, `87.5 ± 1.2 %`; `-` where there is no value."""
    if value is None:
        return "-"
    mean, spread = (value.mean, value.std) if isinstance(value, Summary) else (value, None)
    return METRICS[name].format(mean, spread) if name in METRICS else f"{mean:.4g}"


def metric_label(name: str) -> str:
    """The name of a metric in a table."""
    return METRICS[name].label if name in METRICS else name


def metric_rows(*columns: Mapping[str, "float | Summary"]) -> list[list[str]]:
    """A row per metric of the first column: its label, and its text in each column."""
    return [[metric_label(name), *(metric_text(name, column.get(name)) for column in columns)] for name in columns[0]]
