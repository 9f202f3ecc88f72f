"""The tables and charts of the page, as values for the template."""

import json
from typing import Any

import numpy as np
from markupsafe import Markup
from rich import filesize

from longvid.metrics.calibration import Calibration
from longvid.metrics.items import METRICS
from longvid.pipelines.evaluation.evaluate import Calibrated
from longvid.pipelines.reporting.charts import Axis, Series, around, clock, line_chart
from longvid.pipelines.reporting.collect import Run, facts_of_features
from longvid.tasks import Task

GREY = 7
"""The palette's grey."""
MOST_CLASSES_AS_MATRIX = 30
MOST_CONFUSIONS = 25
WIDE_MATRIX = 12
"""A matrix of more classes has narrow cells and the whole width of the page."""
MOST_METRICS_ACROSS = 4
"""More metrics are rows of the table of results, with a column per run, so that it fits the page."""
MOST_CLASS_COLUMNS = 10
"""With more columns than that, the table of classes shows each run's F1 alone."""


def chips(runs: list[Run]) -> list[tuple[str, str]]:
    """The figures at the top: a value and what it counts."""
    evaluated, record = runs[0].evaluated, runs[0].record
    seeds = max(len(run.evaluated.seeds) for run in runs)
    size = evaluated.features
    return [
        (evaluated.coverage, f"scored in the {evaluated.split} split"),
        (f"{record.found('train')} + {record.found('val')}", "training + validation videos"),
        (str(seeds), "seed" if seeds == 1 else "seeds for each decoder"),
        (clock(float(size.get("seconds") or 0)), "of video in the store"),
        (filesize.decimal(int(size.get("bytes") or 0)), f"of features, {size.get('clips') or 0:,} clips"),
    ]


def headline(runs: list[Run], task: Task) -> str:
    """One sentence: which run is best, by the first metric, and how that compares with the baseline."""
    name = task.metrics[0]
    metric = METRICS[name]
    best = (max if metric.higher_is_better else min)(runs, key=lambda run: run.evaluated.metrics[name].mean)
    summary, baseline = best.evaluated.metrics[name], best.evaluated.baseline[name]
    return (
        f"{best.label} reaches {metric.format(summary.mean, summary.std)} {metric.label} on {best.evaluated.coverage}; "
        f"a baseline that ignores the video reaches {metric.format(baseline)}."
    )


def results(runs: list[Run], task: Task) -> dict[str, Any]:
    """The table of runs by metrics, with a baseline that ignores the video as its last row."""
    metrics = [(name, METRICS[name]) for name in task.metrics]
    windows = any(run.evaluated.windows > run.evaluated.evaluated for run in runs)
    rows = [
        {
            "label": run.label,
            "chosen_on_test": run.chosen_on_test,
            "colour": index % 8,
            "parameters": f"{run.trained.parameters:,}",
            "seconds": clock(run.trained.train_seconds),
            "cells": [_cell(run, name) for name, _ in metrics],
            "windows": _window_cell(run, task.metrics[0]) if windows else None,
            "coverage": run.evaluated.coverage,
        }
        for index, run in enumerate(runs)
    ]
    baseline = runs[0].evaluated.baseline
    return {
        "intervals": any(run.evaluated.intervals for run in runs),
        "stratified": any(run.evaluated.stratified for run in runs),
        "metrics": [{"label": metric.label, "up": metric.higher_is_better} for _, metric in metrics],
        "tall": len(metrics) > MOST_METRICS_ACROSS,
        "windows": windows,
        "rows": rows,
        "baseline": [METRICS[name].format(baseline[name]) for name, _ in metrics],
        "answer": runs[0].evaluated.baseline_answer,
    }


def _cell(run: Run, name: str) -> dict[str, Any]:
    metric, summary = METRICS[name], run.evaluated.metrics[name]
    seeds = [seed.metrics[name] for seed in run.evaluated.seeds]
    within = run.evaluated.intervals.get(name)
    return {
        "within": "" if within is None else metric.format_range(within.low, within.high),
        "span": (within.low, within.high) if within is not None and metric.percent else None,
        "text": metric.format(summary.mean, summary.std),
        "bar": summary.mean if metric.percent else None,
        "seeds": seeds if metric.percent else [],
        "baseline": run.evaluated.baseline[name],
        "hint": ", ".join(f"seed {s.seed}: {metric.format(s.metrics[name])}" for s in run.evaluated.seeds),
    }


def _window_cell(run: Run, name: str) -> str:
    summary = run.evaluated.window_metrics.get(name)
    return "" if summary is None else f"{METRICS[name].format(summary.mean, summary.std)} of {run.evaluated.windows}"


def curves(runs: list[Run], task: Task) -> list[dict[str, Any]]:
    """Training loss and the first validation metric of every run: a thin line per seed, a strong one for their mean.

    A dot marks the epoch whose weights were kept, for each seed.
    """
    name = task.metrics[0]
    unit, title = "percent" if METRICS[name].percent else "number", f"Validation {METRICS[name].label}"
    return [
        {"title": "Training loss", "chart": _curve(runs, "train_loss", "number", "Training loss")},
        {"title": title, "chart": _curve(runs, name, unit, title)},
    ]


def _curve(runs: list[Run], column: str, unit: str, title: str) -> Markup:
    series: list[Series] = []
    for colour, run in enumerate(runs):
        curves = [seed[column] for seed in run.history.values()]
        if len(curves) > 1:
            series += [Series("", colour, c.epochs, c.values, faint=True) for c in curves]
        epochs = sorted({epoch for curve in curves for epoch in curve.epochs})
        means = [
            float(np.mean([c.values[c.epochs.index(epoch)] for c in curves if epoch in c.epochs])) for epoch in epochs
        ]
        series.append(Series(run.label, colour, epochs, means, strong=True))
        series.append(_kept(run, column, colour))
    values = [value for one in series for value in one.y]
    last = max((one.x[-1] for one in series if len(one.x)), default=1)
    y = Axis(0, 1.02, "percent") if unit == "percent" else around(values, zero=min(v or 0 for v in values) >= 0)
    return line_chart(series, Axis(1, max(2, last), "epoch", "epoch"), y, title=title)


def _kept(run: Run, column: str, colour: int) -> Series:
    """A dot per seed at the epoch whose weights were kept, at the curve's value."""
    kept = [(run.history[seed.seed][column], seed.best_epoch + 1) for seed in run.trained.seeds]
    found = [(epoch, curve.values[curve.epochs.index(epoch)]) for curve, epoch in kept if epoch in curve.epochs]
    return Series(f"{run.label}, kept", colour, [x for x, _ in found], [y for _, y in found], dots=True)


def calibrations(runs: list[Run]) -> list[dict[str, Any]]:
    """The reliability diagram of every run whose scores are probabilities, before and after temperature scaling."""
    found = [(colour % 8, run, run.evaluated.calibration) for colour, run in enumerate(runs)]
    return [_calibration(run, kept, colour) for colour, run, kept in found if kept is not None]


def _calibration(run: Run, kept: Calibrated, colour: int) -> dict[str, Any]:
    other = (colour + 4) % 8
    series = [
        Series("as sure as right", GREY, [0, 1], [0, 1], faint=True),
        _reliability("as trained", colour, kept.before),
        *([_reliability("with temperature", other, kept.after)] if kept.after is not None else []),
    ]
    axes = Axis(0, 1.02, "percent", "score of the answer"), Axis(0, 1.02, "percent")
    return {
        "label": run.label,
        "colour": colour,
        "other": other,
        "before": f"{100 * kept.before.error:.1f} %",
        "after": "" if kept.after is None else f"{100 * kept.after.error:.1f} %",
        "temperatures": ", ".join(f"{value:.2f}" for value in kept.temperatures.values()),
        "fitted_on": kept.fitted_on,
        "chart": line_chart(series, *axes, title=f"{run.label}: share of right answers by score"),
    }


def _reliability(name: str, colour: int, found: Calibration) -> Series:
    bins = found.bins
    return Series(
        name,
        colour,
        [one.confidence for one in bins],
        [one.right for one in bins],
        counts=[one.count for one in bins],
    )


def confusion(run: Run, task: Task) -> dict[str, Any]:
    """The matrix shaded by each cell's share of its row; with many classes, only the most frequent confusions."""
    matrix = np.array(run.evaluated.confusion)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    seeds = len(run.evaluated.seeds)
    wide = len(task.classes) > WIDE_MATRIX
    shown: dict[str, Any] = {
        "label": run.label,
        "wide": wide,
        "seeds": seeds,
        "classes": task.classes,
        "rows": [],
        "pairs": [],
    }
    if len(task.classes) <= MOST_CLASSES_AS_MATRIX:
        shown["rows"] = [
            {"name": name, "cells": [{"count": int(c), "share": float(s)} for c, s in zip(counts, parts, strict=True)]}
            for name, counts, parts in zip(task.classes, matrix, shares, strict=True)
        ]
        return shown
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    shown["pairs"] = [
        {"true": task.classes[i], "predicted": task.classes[j], "count": int(wrong[i, j]), "share": float(shares[i, j])}
        for i, j in pairs
        if wrong[i, j]
    ]
    return shown


def classes(runs: list[Run], task: Task) -> dict[str, Any]:
    """One row per class, with each run's figures side by side."""
    named = [{row.name: row for row in run.evaluated.per_class} for run in runs]
    columns = ["recall", "precision", "f1"] + (["average_precision"] if task.kind == "multilabel" else [])
    hint = "Recall: share of a class that was found. Precision: share of the answers of a class that was right."
    if len(columns) * len(runs) > MOST_CLASS_COLUMNS:
        columns, hint = ["f1"], "F1 in percent, between precision and recall, which a report of fewer runs shows."
    return {
        "hint": hint,
        "labels": [run.label for run in runs],
        "counted": "clips" if task.kind == "dense" else "videos",
        "columns": [{"f1": "F1", "average_precision": "AP"}.get(name, name) for name in columns],
        "rows": [
            {
                "name": name,
                "support": row.support // (len(runs[0].evaluated.seeds) if task.kind != "multilabel" else 1),
                "runs": [[getattr(classes[name], column) or 0.0 for column in columns] for classes in named],
            }
            for name, row in named[0].items()
        ],
    }


def run_facts(run: Run) -> dict[str, Any]:
    """The folder of a run, its best epochs, and its recipe."""
    versions = ", ".join(f"{name} {version}" for name, version in run.record.versions.items())
    best = ", ".join(f"seed {s.seed}: epoch {s.best_epoch + 1} of {s.epochs}" for s in run.trained.seeds)
    facts = [("Best epoch by validation", best), ("Folder", run.evaluated.run), ("Versions", versions)]
    return {"label": run.label, "facts": facts, "yaml": run.recipe_yaml}


def features(runs: list[Run]) -> list[dict[str, Any]]:
    """How the features were made, once for all runs that share them."""
    shared: dict[str, list[Run]] = {}
    for run in runs:
        stores = [[store.recipe, store.store] for store in run.record.stores]
        shared.setdefault(json.dumps(stores, sort_keys=True), []).append(run)
    return [
        {
            "label": ", ".join(run.label for run in members) if len(shared) > 1 else "",
            "facts": facts_of_features(members[0].record),
        }
        for members in shared.values()
    ]


def missing(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """Listed videos that were not in the store, by split, over all runs."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for split, keys in run.record.missing.items():
            found.setdefault(split, {}).update(dict.fromkeys(keys))
    return [(split, list(keys)) for split, keys in found.items() if keys]
