"""Output of `longvid results`: published and own numbers, by protocol."""

from typing import Any

from rich.text import Text

from longvid.benchmarks.protocols import PROTOCOLS, find_protocol
from longvid.benchmarks.published import PublishedResult, results_of
from longvid.metrics.items import METRICS
from longvid.pipelines.cli.console import console, table
from longvid.pipelines.evaluation.results import OwnResult
from longvid.tasks.task import Task


def scoreboard_json(task: Task, own: list[OwnResult], *, protocol: str | None) -> dict[str, Any]:
    """Published and own results as `print_json` prints them."""
    return {
        "task": task.name,
        "published": results_of(task.name, protocol=protocol),
        "own": [result for result in own if protocol is None or result.protocol == protocol],
    }


def print_scoreboard(task: Task, own: list[OwnResult], *, protocol: str | None) -> None:
    """Print one table per protocol, best first; own runs are bold, numbers not checked in their paper are dim."""
    if protocol is not None:
        find_protocol(protocol)
    published = results_of(task.name)
    groups = dict.fromkeys([*(r.protocol for r in published), *(_group(r) for r in own)])
    shown = [name for name in groups if protocol is None or name == protocol]
    metrics = [name for name in task.metrics if any(r.metric == name for r in published)] or [task.metrics[0]]
    for name in shown:
        _print_group(
            task,
            metrics,
            [result for result in published if result.protocol == name],
            [result for result in own if _group(result) == name],
            name,
        )
    if not shown:
        console.print(f"{task.name}: no published number is known")
    elif not own:
        console.print("none of your runs is trained for this and evaluated on test (--runs FOLDER)", style="dim")


def _group(result: OwnResult) -> str | None:
    """The protocol in whose table a run is shown."""
    protocol = PROTOCOLS.get(result.protocol or "")
    return result.protocol if protocol is None or protocol.beside is None else protocol.beside


def _print_group(
    task: Task, metrics: list[str], published: list[PublishedResult], own: list[OwnResult], protocol: str | None
) -> None:
    labels = [METRICS[name].label for name in metrics]
    known = PROTOCOLS.get(protocol or "")
    title = f"{task.name}, {protocol or 'protocol unknown, or its own'}"
    rows = table("model", *labels, "videos", "source, or run", title=title, right=labels)
    lines = [(_value(result.metrics[metrics[0]].mean, metrics[0]), _own_row(result, metrics)) for result in own]
    for model in dict.fromkeys((r.model, r.sources) for r in published):
        found = {r.metric: r for r in published if (r.model, r.sources) == model}
        first = found[metrics[0]]
        lines.append((_value(first.value, metrics[0]), _published_row(first, found, metrics)))
    for _, cells in sorted(lines, key=lambda line: line[0]):
        rows.add_row(*cells)
    console.print(rows)
    if own:
        answers = {METRICS[name].format(result.baseline[name]) for result in own for name in metrics[:1]}
        console.print(f"baseline that ignores the video: {', '.join(sorted(answers))}", style="dim")
    if known is not None:
        console.print(known.summary, style="dim")
    console.print()


def _value(value: float, metric: str) -> float:
    """A number to sort by, best first."""
    return -value if METRICS[metric].higher_is_better else value


def _own_row(result: OwnResult, metrics: list[str]) -> list[Text]:
    numbers = [_own_number(result, name) for name in metrics]
    measured = [f"by {result.protocol}"] if result.protocol != _group(result) else []
    said = "; ".join([*measured, *result.remarks])
    remarks = f" ({said})" if said else ""
    return [Text(cell, "bold") for cell in (result.decoder, *numbers, result.coverage, f"{result.run}{remarks}")]


def _own_number(result: OwnResult, name: str) -> str:
    """`71.4 ± 2.1 % (58.9 - 83.0 %)`: the mean over seeds, and where it lies with 95 % confidence."""
    summary, within = result.metrics[name], result.intervals.get(name)
    shown = METRICS[name].format(summary.mean, summary.std)
    return shown if within is None else f"{shown} ({METRICS[name].format_range(within.low, within.high)})"


def _published_row(first: PublishedResult, found: dict[str, PublishedResult], metrics: list[str]) -> list[Text]:
    style = "" if first.seen else "dim"
    numbers = [_printed(found[name]) if name in found else "-" for name in metrics]
    source = "; ".join(first.sources) + (f" ({first.note})" if first.note else "")
    if not first.seen:
        source += " (not checked there)"
    videos = str(first.videos) if first.videos is not None else ""
    return [Text(cell, style) for cell in (first.model, *numbers, videos, source)]


def _printed(result: PublishedResult) -> str:
    return f"{result.printed} %" if METRICS[result.metric].percent else result.printed
