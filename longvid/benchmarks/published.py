"""Numbers that others published, each with source and protocol.

They are kept in `results.yaml`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from longvid.benchmarks.known_tasks import KNOWN_TASKS
from longvid.benchmarks.protocols import PROTOCOLS
from longvid.errors import AnnotationError
from longvid.metrics.items import METRICS

_FIELDS = {"model", "source", "protocol", "values", "videos", "note", "seen"}


@dataclass(frozen=True)
class PublishedResult:
    """One published number."""

    task: str
    model: str
    metric: str
    value: float
    """In this library's unit: 0..1 for percentages, MSE unchanged."""
    printed: str
    """As its authors print it."""
    protocol: str | None
    """None: not known, or not described by any protocol here."""
    sources: tuple[str, ...]
    """The source where it was read, in words."""
    videos: int | None = None
    """Number of test videos behind it, if known to be fewer than all."""
    note: str = ""
    seen: bool = True
    """False: not read in a paper; it is never used as a reference to compare with."""


@lru_cache(maxsize=1)
def published_results() -> tuple[PublishedResult, ...]:
    """Every number of the data file, in file order; `AnnotationError` for a row that makes no sense."""
    text = files("longvid.benchmarks").joinpath("results.yaml").read_text("utf-8")
    content = yaml.load(text, yaml.BaseLoader)  # every value as written: 52.80 stays 52.80
    return tuple(result for row in content["rows"] for result in _results(row, content["sources"]))


def results_of(task: str, *, protocol: str | None = None) -> tuple[PublishedResult, ...]:
    """The numbers of a task, limited to one protocol if given."""
    found = (result for result in published_results() if result.task == task)
    return tuple(result for result in found if protocol is None or result.protocol == protocol)


def bar(task: str, metric: str, *, protocol: str | None = None) -> PublishedResult | None:
    """The best number that was read in a paper, limited to one protocol if given; None if there is none."""
    known = [r for r in results_of(task, protocol=protocol) if r.seen and r.metric == metric]
    if not known:
        return None
    better = max if METRICS[metric].higher_is_better else min
    return better(known, key=lambda result: result.value)


def _results(row: dict[str, Any], sources: dict[str, str]) -> Iterator[PublishedResult]:
    where = f"results.yaml: {row.get('model')}"
    if unknown := set(row) - _FIELDS:
        raise AnnotationError(f"{where}: no field {sorted(unknown)[0]!r}")
    read_in = tuple(sources[name.strip()] for name in row["source"].split(","))
    for name, value in row["values"].items():
        if name not in KNOWN_TASKS:
            raise AnnotationError(f"{where}: no task {name!r}")
        protocol = row.get("protocol")
        protocol = protocol.get(name) if isinstance(protocol, dict) else protocol
        if protocol is not None and protocol not in PROTOCOLS:
            raise AnnotationError(f"{where}: no protocol {protocol!r}")
        values = value if isinstance(value, dict) else {KNOWN_TASKS[name].metrics[0]: value}
        for metric, number in values.items():
            percent = METRICS[metric].percent
            yield PublishedResult(
                task=name,
                model=row["model"],
                metric=metric,
                value=float(Decimal(number).scaleb(-2) if percent else number),
                printed=number,
                protocol=protocol,
                sources=read_in,
                videos=int(row["videos"][name]) if name in row.get("videos", {}) else None,
                note=row.get("note", ""),
                seen=row.get("seen") != "false",
            )
