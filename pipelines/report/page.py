"""The page: what was collected, as tables and charts in one HTML file that needs nothing else."""

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import longvid
from longvid.datasets import Task
from longvid.datasets.manifest_files import write_atomically
from longvid.errors import ConfigError
from longvid.metrics import METRICS
from pipelines.evaluate import VideoTimeline
from pipelines.report.charts import Axis, Series, around, clock, line_chart
from pipelines.report.collect import Run, collect_runs, facts_of_features, has_random_weights
from pipelines.report.thumbnails import thumbnails_or_reason

MOST_CLASSES_AS_MATRIX = 30
MOST_CLASSES_AS_LINES = 6
MOST_CONFUSIONS = 25


def write_report(
    run_dirs: Sequence[str | Path],
    out_html: str | Path,
    *,
    split: str = "test",
    title: str | None = None,
) -> Path:
    """Write one page that compares evaluated runs of one task, and return its path.

    The page holds everything it shows: no network, no files beside it. Raises `ConfigError` for a folder that is no
    finished and evaluated run, and for runs of different tasks.
    """
    runs = collect_runs([Path(path) for path in run_dirs], split)
    tasks = {run.task.name: run.task for run in runs}
    if len({(task.kind, task.classes, task.name) for task in (run.task for run in runs)}) > 1:
        raise ConfigError(f"runs answer different tasks ({', '.join(tasks)}); write one report for each")
    page = _render(_page(runs, split, title or f"{_capital(next(iter(tasks)))}: long\u2011range decoders compared"))
    out = Path(out_html)
    write_atomically(out, page.encode())
    return out


def _render(values: dict[str, Any]) -> str:
    room = files("pipelines.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    assets = {
        "style": Markup(room.joinpath("page.css").read_text("utf-8")),
        "script": Markup(room.joinpath("page.js").read_text("utf-8")),
    }
    return environment.from_string(room.joinpath("page.html").read_text("utf-8")).render(**values, **assets)


def _page(runs: list[Run], split: str, title: str) -> dict[str, Any]:
    """Everything the template shows."""
    task, first = runs[0].task, runs[0]
    return {
        "title": title,
        "split": split,
        "task": task,
        "chips": _chips(runs),
        "random_weights": has_random_weights(first.record),
        "headline": _headline(runs, task),
        "results": _results(runs, task),
        "curves": _curves(runs, task),
        "confusions": [_confusion(run, task) for run in runs if run.evaluated.confusion is not None],
        "classes": _classes(runs, task),
        "videos": _videos(runs, task),
        "features": facts_of_features(first.record),
        "runs": [_run_facts(run) for run in runs],
        "notes": list(dict.fromkeys(note for run in runs for note in run.record.notes)),
        "missing": _missing(runs),
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": longvid.__version__,
    }


def _chips(runs: list[Run]) -> list[tuple[str, str]]:
    evaluated, record = runs[0].evaluated, runs[0].record
    seeds = max(len(run.evaluated.seeds) for run in runs)
    size = evaluated.features
    return [
        (evaluated.coverage, f"scored in the {evaluated.split} split"),
        (f"{record.found('train')} + {record.found('val')}", "training + validation videos"),
        (str(seeds), "seed" if seeds == 1 else "seeds for each decoder"),
        (clock(float(size.get("seconds") or 0)), "of video in the store"),
        (human_bytes(float(size.get("bytes") or 0)), f"of features, {size.get('clips') or 0:,} clips"),
    ]


def _headline(runs: list[Run], task: Task) -> str:
    """One sentence: who is best, by the first metric, and how that compares with not looking."""
    name = task.metrics[0]
    metric = METRICS[name]
    best = (max if metric.higher_is_better else min)(runs, key=lambda run: run.evaluated.metrics[name].mean)
    summary, baseline = best.evaluated.metrics[name], best.evaluated.baseline[name]
    return (
        f"{best.label} reaches {metric.format(summary.mean, summary.std)} {metric.label} on {best.evaluated.coverage}; "
        f"answering without looking gives {metric.format(baseline)}."
    )


def _results(runs: list[Run], task: Task) -> dict[str, Any]:
    """The table of runs by metrics, with the answer that never looks as its last row."""
    metrics = [(name, METRICS[name]) for name in task.metrics]
    windows = any(run.evaluated.windows > run.evaluated.evaluated for run in runs)
    rows = [
        {
            "label": run.label,
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
        "metrics": [{"label": metric.label, "up": metric.higher_is_better} for _, metric in metrics],
        "windows": windows,
        "rows": rows,
        "baseline": [METRICS[name].format(baseline[name]) for name, _ in metrics],
        "answer": runs[0].evaluated.baseline_answer,
    }


def _cell(run: Run, name: str) -> dict[str, Any]:
    metric, summary = METRICS[name], run.evaluated.metrics[name]
    seeds = [seed.metrics[name] for seed in run.evaluated.seeds]
    return {
        "text": metric.format(summary.mean, summary.std),
        "bar": summary.mean if metric.percent else None,
        "seeds": seeds if metric.percent else [],
        "baseline": run.evaluated.baseline[name],
        "hint": ", ".join(f"seed {s.seed}: {metric.format(s.metrics[name])}" for s in run.evaluated.seeds),
    }


def _window_cell(run: Run, name: str) -> str:
    summary = run.evaluated.window_metrics.get(name)
    return "" if summary is None else f"{METRICS[name].format(summary.mean, summary.std)} of {run.evaluated.windows}"


def _curves(runs: list[Run], task: Task) -> list[dict[str, Any]]:
    """Training loss and the first validation metric of every run: a thin line a seed, a strong one for their mean."""
    metric = METRICS[task.metrics[0]]
    columns = [("train_loss", "Training loss", "number"), (task.metrics[0], f"Validation {metric.label}", "number")]
    if metric.percent:
        columns[1] = (task.metrics[0], f"Validation {metric.label}", "percent")
    return [{"title": name, "chart": _curve(runs, column, unit, name)} for column, name, unit in columns]


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
    values = [value for one in series for value in one.y]
    last = max((one.x[-1] for one in series if len(one.x)), default=1)
    y = Axis(0, 1.02, "percent") if unit == "percent" else around(values, zero=min(v or 0 for v in values) >= 0)
    return line_chart(series, Axis(1, max(2, last), "epoch", "epoch"), y, title=title)


def _confusion(run: Run, task: Task) -> dict[str, Any]:
    """The matrix with a shade for each cell's share of its row; only the most frequent confusions of many classes."""
    matrix = np.array(run.evaluated.confusion)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    seeds = len(run.evaluated.seeds)
    shown: dict[str, Any] = {"label": run.label, "seeds": seeds, "classes": task.classes, "rows": [], "pairs": []}
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


def _classes(runs: list[Run], task: Task) -> dict[str, Any]:
    """One row a class, with each run's figures side by side."""
    named = [{row.name: row for row in run.evaluated.per_class} for run in runs]
    columns = ["recall", "precision", "f1"] + (["average_precision"] if task.kind == "multilabel" else [])
    return {
        "hint": "Recall: how many of a class were found. Precision: how many answers of a class were right.",
        "labels": [run.label for run in runs],
        "items": "clips" if task.kind == "dense" else "videos",
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


def _videos(runs: list[Run], task: Task) -> list[dict[str, Any]]:
    """The videos whose scores over time the first run kept, with what every run says along them."""
    along = [{line.key: line for line in run.evaluated.timelines} for run in runs]
    return [_video(line, [lines.get(line.key) for lines in along], runs, task) for line in along[0].values()]


def _video(line: VideoTimeline, others: list[VideoTimeline | None], runs: list[Run], task: Task) -> dict[str, Any]:
    seconds = np.array(line.timeline["seconds"])
    begin, end = float(seconds.min()), float(seconds.max())
    pictures, reason = thumbnails_or_reason(line.path, begin, end)
    shown = [other for other in others if other is not None]
    classes = _drawn_classes(shown, task)
    return {
        "key": line.key,
        "length": clock(end - begin),
        "truth": _truth(line, task),
        "pictures": pictures,
        "reason": reason,
        "kind": line.timeline["kind"],
        "legend": [(task.output_names[index], colour % 8) for colour, index in enumerate(classes)],
        "left_out": len(task.output_names) - len(classes),
        "plots": [
            {
                "label": run.label,
                "answer": _answer(other, task),
                "chart": _timeline_chart(other, classes, task, begin, end, f"{run.label} along {line.key}"),
            }
            for run, other in zip(runs, others, strict=True)
            if other is not None
        ],
    }


def _drawn_classes(lines: list[VideoTimeline], task: Task) -> list[int]:
    """Classes drawn as lines: all if they are few, else the true one and those that score highest somewhere."""
    if len(task.output_names) <= MOST_CLASSES_AS_LINES:
        return list(range(len(task.output_names)))
    peaks = np.max([np.max(line.timeline["scores"], axis=0) for line in lines], axis=0)
    ranked = np.argsort(-peaks, kind="stable").tolist()
    true = [lines[0].target] if task.kind == "classification" and isinstance(lines[0].target, int) else []
    return sorted({*true, *ranked[: MOST_CLASSES_AS_LINES - len(true)]})


def _truth(line: VideoTimeline, task: Task) -> str:
    if task.kind == "classification" and isinstance(line.target, int):
        return task.classes[line.target]
    if task.kind == "multilabel" and isinstance(line.target, list):
        return ", ".join(name for name, flag in zip(task.classes, line.target, strict=True) if flag) or "none"
    if task.kind == "regression" and isinstance(line.target, list):
        return ", ".join(f"{value:.4g}" for value in line.target)
    return ""


def _answer(line: VideoTimeline, task: Task) -> dict[str, Any]:
    """What a run says about the whole video, and whether that is right (None where it is a matter of degree)."""
    total = np.array(line.timeline["total"])
    if task.kind == "classification":
        best = int(total.argmax())
        return {"text": f"{task.classes[best]} ({total[best] * 100:.0f} %)", "right": best == line.target}
    if task.kind == "multilabel":
        named = [name for name, value in zip(task.classes, total, strict=True) if value >= 0.5]
        return {"text": ", ".join(named) or "none", "right": None}
    if task.kind == "regression":
        return {"text": ", ".join(f"{value:.4g}" for value in total), "right": None}
    return {"text": "", "right": None}


def _timeline_chart(
    line: VideoTimeline, classes: list[int], task: Task, begin: float, end: float, title: str
) -> Markup:
    rows, scores = np.array(line.timeline["seconds"]), np.array(line.timeline["scores"])
    times = rows[:, 1] if line.timeline["kind"] == "so far" else rows.mean(axis=1)
    step = line.timeline["kind"] == "clips"
    series = [
        Series(
            task.output_names[index], colour, times.tolist(), scores[:, index].tolist(),
            step=step, strong=index == line.target,
        )
        for colour, index in enumerate(classes)
    ]  # fmt: skip
    y = around(scores.ravel().tolist()) if task.kind == "regression" else Axis(0, 1.02, "percent")
    return line_chart(series, Axis(begin, end, "seconds"), y, title=title, height="low")


def _run_facts(run: Run) -> dict[str, Any]:
    versions = ", ".join(f"{name} {version}" for name, version in run.record.versions.items())
    best = ", ".join(f"seed {s.seed}: epoch {s.best_epoch + 1} of {s.epochs}" for s in run.trained.seeds)
    facts = [("Best epoch by validation", best), ("Folder", run.evaluated.run), ("Versions", versions)]
    return {"label": run.label, "facts": facts, "yaml": run.recipe_yaml}


def _missing(runs: list[Run]) -> list[tuple[str, list[str]]]:
    missing = runs[0].record.missing
    return [(split, keys) for split, keys in missing.items() if keys]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def human_bytes(count: float) -> str:
    """`1.2 GB`: decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
