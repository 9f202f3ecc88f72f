"""`longvid audit | compare`: what a number and a difference are worth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from longvid.pipelines.cli.console import console, error_console, print_json, table
from longvid.printable import printable

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Page = Annotated[Path | None, typer.Option("--page", help="Also write one self-contained HTML page.")]

MOST_ROWS = 10
"""Classes and videos that the terminal shows; `--json` and `--page` have them all."""


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (audit, compare):
        app.command(rich_help_panel="Stage two: features to answers")(command)


def audit(
    store: Annotated[str, typer.Argument(help="A feature store.")],
    manifest: Annotated[str, typer.Argument(help="Its videos, with splits and labels.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings as for `longvid train`: task.name=lvu/scene split_column=split_1"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each small attentive probe.")] = 600,
    page: Page = None,
    as_json: JSON = False,
) -> int:
    """Ask whether a benchmark is long, clean and large enough, by its features.

    Score against seconds of context, in order, shuffled and reversed; videos that occur in two places; how far apart
    two models must be. Exit status 1 if test videos have copies in training or validation.
    """
    from longvid.pipelines.auditing.audit import audit as run
    from longvid.pipelines.auditing.context import ProbeSettings
    from longvid.pipelines.training.config import load_config

    config = load_config(None, [f"store={store}", f"manifest={manifest}", *(overrides or [])])
    with error_console.status("audit") as status:
        found = run(config, probe=ProbeSettings(steps=steps), say=lambda line: status.update(printable(line)))
    if page is not None:
        from longvid.pipelines.reporting.audit_page import audit_page

        audit_page(found, page)
    if as_json:
        print_json(found)
    else:
        _print_audit(found)
        if page is not None:
            console.print(printable(f"page: {page}"))
    leaking = any(copies.matches for copies in found.clean.copies if copies.split != copies.other_split)
    return 1 if leaking else 0


def _print_audit(found: Any) -> None:
    from longvid.metrics.items import METRICS
    from longvid.pipelines.auditing.noise import noise_in_words
    from longvid.pipelines.auditing.words import clean_in_words, title_of

    for note in found.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    if found.context is not None:
        metric = METRICS[found.context.metric]
        numbers = ("linear", "probe", "shuffled", "reversed", "one place")
        rows = table("seen at once", *numbers, title=f"{metric.label} against seconds", right=numbers)
        for point in found.context.points:
            place = max(point.linear_one_place, point.probe_one_place, key=lambda score: metric.sign * score.value)
            scores = (point.linear, point.probe, point.shuffled, point.reversed, place)
            name = f"{point.seconds:.1f} s" if point.clips is not None else f"whole, {point.seconds:.0f} s"
            rows.add_row(name, *(metric.format(score.value) for score in scores))
        console.print(rows)
        for line in found.context.verdicts:
            console.print(printable(line))
    console.print()
    for line in clean_in_words(found.clean):
        console.print(printable(line))
    for copies in found.clean.copies:
        if copies.matches:
            _print_copies(copies, title_of(copies))
    console.print()
    console.print(noise_in_words(found.noise))


def _print_copies(copies: Any, title: str) -> None:
    rows = table("video", "seconds", "copy", "seconds there", "label", title=title)
    for match in copies.matches[:MOST_ROWS]:
        here = f"{match.start_seconds:.0f} - {match.end_seconds:.0f}"
        there = f"{match.other_start_seconds:.0f} - {match.other_end_seconds:.0f}"
        label = {None: "-", True: "same", False: "another"}[match.same_label]
        rows.add_row(match.key, here, match.other, there, label)
    console.print(rows)
    if len(copies.matches) > MOST_ROWS:
        console.print(f"{len(copies.matches) - MOST_ROWS} more pairs; --json has all", style="dim")


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of evaluated runs of one task; all are compared with the first.")
    ],
    split: Annotated[str, typer.Option(help="Split whose scores are compared.")] = "test",
    page: Page = None,
    as_json: JSON = False,
) -> int:
    """Compare runs on the same videos: paired differences with intervals, classes and videos that changed.

    Says in words when nothing can be said.
    """
    from longvid.pipelines.evaluation.compare import compare as run

    found = run(runs, split=split)
    if page is not None:
        from longvid.pipelines.reporting.comparison import comparison_page

        comparison_page(found, page)
    if as_json:
        print_json(found)
        return 0
    _print_comparison(found)
    if page is not None:
        console.print(printable(f"page: {page}"))
    return 0


def _print_comparison(found: Any) -> None:
    from longvid.metrics.items import METRICS
    from longvid.pipelines.cli.answers import range_of

    for line in found.left_out:
        error_console.print(printable(f"left out: {line}"), style="yellow")
    name = next(iter(found.runs[0].metrics))
    metric = METRICS[name]
    rows = table("run", metric.label, "95 % interval", "ensemble", right=(metric.label, "95 % interval", "ensemble"))
    for run in found.runs:
        value = run.metrics[name]
        shown = metric.format(value.mean, value.std)
        rows.add_row(run.label, shown, range_of(run.intervals.get(name), name), metric.format(run.ensemble[name]))
    console.print(rows)
    console.print(f"{found.videos} videos of {found.split} that all runs scored")
    for label, count in found.elsewhere.items():
        console.print(printable(f"{label} scored {count} more, which are not counted here"), style="yellow")
    for pair in found.pairs:
        console.print()
        _print_pair(pair)


def _print_pair(pair: Any) -> None:
    from longvid.metrics.items import METRICS
    from longvid.pipelines.evaluation.compare import is_real, mcnemar_in_words, shown_difference, shown_p

    console.print(printable(pair.verdict), style="bold")
    rows = table("metric", "difference (95 % interval)", "p", "real?", right=("difference (95 % interval)", "p"))
    for name, one in pair.differences.items():
        rows.add_row(
            METRICS[name].label, shown_difference(name, one), shown_p(one.p_value), "yes" if is_real(one) else "-"
        )
    console.print(rows)
    if pair.mcnemar is not None:
        console.print(printable(mcnemar_in_words(pair)))
    changed = [row for row in pair.classes if row.first != row.other]
    if changed:
        numbers = ("items", pair.first, pair.other, "change")
        classes = table("class", *numbers, right=numbers)
        for row in changed[:MOST_ROWS]:
            shares = [f"{100 * share:.1f} %" for share in (row.first, row.other)]
            classes.add_row(row.name, str(row.support), *shares, f"{100 * (row.other - row.first):+.1f}")
        console.print(classes)
    if pair.flips:
        console.print(printable(f"videos that changed sides (answer of {pair.first} -> of {pair.other}):"))
    for flip in pair.flips[:MOST_ROWS]:
        sign = "+" if flip.gained else "-"
        console.print(printable(f"{sign} {flip.key}: {flip.target}; {flip.first} -> {flip.other}"))
    left_out = max(0, len(pair.flips) - MOST_ROWS)
    if left_out:
        console.print(f"{left_out} more; --json and --page FILE have them", style="dim")
