"""A page that draws the trials of a sweep: over time, and by each setting."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from longvid.files import write_bytes
from longvid.pipelines.sweeping.results import TrialResult

COLOURS = {"done": "#1f77b4", "pruned": "#bbbbbb"}


def draw(trials: Sequence[TrialResult], metric: str, path: Path, *, higher: bool) -> None:
    """Write one self-contained HTML page; trials without a value are left out."""
    shown = [trial for trial in trials if trial.value is not None]
    names = list(dict.fromkeys(name for trial in shown for name in trial.settings))
    figure = make_subplots(rows=1 + len(names), cols=1, subplot_titles=["all trials, and the best so far", *names])
    for state, colour in COLOURS.items():
        own = [trial for trial in shown if trial.state == state]
        for row, name in enumerate([None, *names], start=1):
            figure.add_trace(
                go.Scatter(
                    x=[trial.number if name is None else _place(trial.settings.get(name)) for trial in own],
                    y=[trial.value for trial in own],
                    mode="markers",
                    marker={"color": colour},
                    name=state,
                    showlegend=row == 1,
                    text=[_label(trial) for trial in own],
                ),
                row=row,
                col=1,
            )
    done = [trial for trial in shown if trial.state == "done"]
    best = list(accumulate((float(trial.value or 0) for trial in done), max if higher else min))
    figure.add_trace(go.Scatter(x=[trial.number for trial in done], y=best, name="best", mode="lines"), row=1, col=1)
    for row, name in enumerate(names, start=2):
        values = [trial.settings.get(name) for trial in shown]
        if _spans_decade(values):
            figure.update_xaxes(type="log", row=row, col=1)
    figure.update_yaxes(title_text=metric)
    figure.update_layout(height=320 * (1 + len(names)), title=f"{len(trials)} trials by {metric} on validation videos")
    write_bytes(path, figure.to_html(include_plotlyjs=True, full_html=True).encode())


def _place(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _spans_decade(values: list[Any]) -> bool:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return bool(numbers) and len(numbers) == len(values) and min(numbers) > 0 and max(numbers) >= 10 * min(numbers)


def _label(trial: TrialResult) -> str:
    return "<br>".join(f"{name}={value}" for name, value in trial.settings.items())
