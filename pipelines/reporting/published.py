"""Published results for the runs' task, measured as the runs were."""

from typing import Any

from longvid.benchmarks.protocols import PROTOCOLS
from longvid.benchmarks.published import PublishedResult, bar, results_of
from longvid.metrics.items import METRICS
from longvid.pipelines.reporting.collect import Run
from longvid.tasks import Task

REFERENCE = "ViS4mer"
"""Shown beside the best number: the model that this library's decoder is based on."""


def published_rows(runs: list[Run], task: Task) -> list[dict[str, Any]]:
    """Rows for the table of results: the best published number under the runs' protocol, and ViS4mer's.

    Empty if the task is not a public one, the protocols of the runs differ, or no number is known.
    """
    protocols = {_protocol(run) for run in runs}
    if len(protocols) != 1 or None in protocols:
        return []
    protocol = protocols.pop()
    best = bar(task.name, task.metrics[0], protocol=protocol)
    known = results_of(task.name, protocol=protocol)
    models = dict.fromkeys([*([best.model] if best else []), *(r.model for r in known if r.model == REFERENCE)])
    return [_row([r for r in known if r.model == model and r.seen], task, protocol) for model in models]


def _protocol(run: Run) -> str | None:
    """The protocol whose table the run belongs to."""
    name = run.recipe.get("protocol")
    protocol = PROTOCOLS.get(str(name))
    return None if protocol is None else protocol.beside or protocol.name


def _row(results: list[PublishedResult], task: Task, protocol: str | None) -> dict[str, Any]:
    found = {result.metric: result for result in results}
    first = results[0]
    cells = []
    for name in task.metrics:
        result = found.get(name)
        percent = " %" if METRICS[name].percent else ""
        cells.append("" if result is None else f"{result.printed}{percent}")
    source = "; ".join(first.sources) + (f". {first.note}" if first.note else "")
    return {"model": first.model, "cells": cells, "source": f"published, {protocol}; read in {source}"}
