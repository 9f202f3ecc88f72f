"""The report: the collected data as tables and charts in one HTML file."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from longvid.errors import ConfigError, LongvidError
from longvid.files import write_bytes
from longvid.hub import local_run
from longvid.pipelines.reporting.collect import Run, collect_runs, has_random_weights
from longvid.pipelines.reporting.published import published_rows
from longvid.pipelines.reporting.rendering import render
from longvid.pipelines.reporting.sections import (
    calibrations,
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

_log = logging.getLogger(__name__)


_UNEXPECTED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What values raise that are not of the kind that longvid writes."""


def report(
    run_dirs: Sequence[str | Path],
    out_html: str | Path,
    *,
    split: str = "test",
    title: str | None = None,
    say: Callable[[str], Any] = _log.warning,
) -> Path:
    """Write one page that compares evaluated runs of one task, and return its path.

    The page is self-contained: it needs no network and no other files. A folder that is not a finished and evaluated
    run is left out, `say` gets a line about it, and the page has it too. Raises `ConfigError` if nothing else is left,
    and for runs of different tasks.
    """
    runs, left_out = collect_runs([local_run(path) for path in run_dirs], split)
    for line in left_out:
        say(f"left out: {line}")
    questions = {(run.task.name, run.task.kind, run.task.classes) for run in runs}
    if len(questions) > 1:
        names = ", ".join(sorted({name for name, *_ in questions}))
        raise ConfigError(f"runs answer different tasks ({names}); write one report for each")
    task = runs[0].task.name
    title = title or f"{task[:1].upper()}{task[1:]}: long\u2011range decoders compared"
    out = Path(out_html)
    try:
        page = render("page.html", _page(runs, split, title, left_out))
    except LongvidError:
        raise
    except _UNEXPECTED as error:  # all that the page shows is from files
        raise ConfigError(
            f"{', '.join(map(str, run_dirs))}: a document of a run does not hold what longvid writes there "
            f"({error!r:.200}); run `longvid evaluate` again for each of these runs"
        ) from error
    write_bytes(out, page.encode())
    return out


def _page(runs: list[Run], split: str, title: str, left_out: list[str]) -> dict[str, Any]:
    """All values that the template shows."""
    task = runs[0].task
    return {
        "kind": "report",
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
        "calibrations": calibrations(runs),
        "notes": [
            *(f"Left out: {line}" for line in left_out),
            *dict.fromkeys(note for run in runs for note in run.record.notes),
        ],
        "missing": missing(runs),
    }
