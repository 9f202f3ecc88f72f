"""The report: the collected data as tables and charts in one HTML file."""

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import longvid
from longvid.errors import ConfigError
from longvid.files import write_bytes
from longvid.pipelines.reporting.collect import Run, collect_runs, has_random_weights
from longvid.pipelines.reporting.published import published_rows
from longvid.pipelines.reporting.rendering import render
from longvid.pipelines.reporting.sections import (
    chips,
    classes,
    confusion,
    curves,
    features,
    headline,
    missing,
    results,
    run_facts,
)
from longvid.pipelines.reporting.videos import videos


def report(
    run_dirs: Sequence[str | Path],
    out_html: str | Path,
    *,
    split: str = "test",
    title: str | None = None,
) -> Path:
    """Write one page that compares evaluated runs of one task, and return its path.

    The page is self-contained: it needs no network and no other files. Raises `ConfigError` for a folder that is not a
    finished and evaluated run, and for runs of different tasks.
    """
    runs = collect_runs([Path(path) for path in run_dirs], split)
    questions = {(run.task.name, run.task.kind, run.task.classes) for run in runs}
    if len(questions) > 1:
        names = ", ".join(sorted({name for name, *_ in questions}))
        raise ConfigError(f"runs answer different tasks ({names}); write one report for each")
    task = runs[0].task.name
    title = title or f"{task[:1].upper()}{task[1:]}: long\u2011range decoders compared"
    out = Path(out_html)
    write_bytes(out, _render(_page(runs, split, title)).encode())
    return out


def _render(values: dict[str, Any]) -> str:
    return render(files("longvid.pipelines.reporting").joinpath("page.html").read_text("utf-8"), values)


def _page(runs: list[Run], split: str, title: str) -> dict[str, Any]:
    """All values that the template shows."""
    task = runs[0].task
    return {
        "title": title,
        "split": split,
        "task": task,
        "chips": chips(runs),
        "random_weights": any(has_random_weights(run.record) for run in runs),
        "headline": headline(runs, task),
        "results": results(runs, task),
        "published": published_rows(runs, task),
        "curves": curves(runs, task),
        "confusions": [confusion(run, task) for run in runs if run.evaluated.confusion is not None],
        "classes": classes(runs, task),
        "videos": videos(runs, task),
        "features": features(runs),
        "runs": [run_facts(run) for run in runs],
        "chosen_on_test": any(run.chosen_on_test for run in runs),
        "notes": list(dict.fromkeys(note for run in runs for note in run.record.notes)),
        "missing": missing(runs),
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": longvid.__version__,
    }
