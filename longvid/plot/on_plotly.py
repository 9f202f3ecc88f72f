"""Pictures drawn by plotly, for notebooks and pages: they can be zoomed, and tell each value."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Literal

import numpy as np
from plotly import graph_objects

from longvid.notebook import clock
from longvid.plot.canvas import Frame, Number

DASHES = ("solid", "dash", "dashdot", "dot")
PALETTES = {"similarity": "Viridis", "share": "Blues"}
PIXELS_PER_INCH = 96
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
"""Seconds between the ticks of a time axis."""
MOST_TICKS = 9


class PlotlyCanvas:
    """A canvas on a figure; names are shown as they are, not read as markup."""

    def __init__(self, figure: Any, *, height: float) -> None:
        self.drawn: Any = figure if figure is not None else graph_objects.Figure()
        self.drawn.update_layout(template="plotly_white", barmode="overlay", margin={"t": 40, "r": 20})
        if figure is None:
            self.drawn.update_layout(height=round(height * PIXELS_PER_INCH) + 40)  # its margins are wider

    def line(
        self,
        x: Sequence[Number],
        y: Sequence[Number],
        *,
        colour: str,
        label: str = "",
        dash: int = 0,
        points: bool = False,
    ) -> None:
        self.drawn.add_scatter(
            x=list(x),
            y=list(y),
            name=escape(label),
            showlegend=bool(label),
            mode="lines+markers" if points else "lines",
            line={"color": colour, "dash": DASHES[dash]},
        )

    def marks(self, x: Sequence[Number], y: Sequence[Number], *, colour: str, cross: bool = False) -> None:
        mark = {"color": colour, "size": 9, "symbol": "x-thin-open" if cross else "circle"}
        opacity = 1.0 if cross else 0.6
        self.drawn.add_scatter(x=list(x), y=list(y), mode="markers", marker=mark, opacity=opacity, showlegend=False)

    def band(self, start: float, end: float, *, colour: str) -> None:
        self.drawn.add_vrect(x0=start, x1=end, fillcolor=colour, opacity=0.15, line_width=0, layer="below")

    def bars(self, row: int, spans: Iterable[tuple[float, float]], *, colour: str, label: str) -> None:
        given, name = list(spans), escape(label)
        self.drawn.add_bar(
            base=[start for start, _ in given],
            x=[end - start for start, end in given],
            y=[row] * len(given),
            orientation="h",
            width=0.8,
            name=name,
            legendgroup=name,
            showlegend=all(bar.name != name for bar in self.drawn.data),
            marker={"color": colour},
            hovertext=[f"{clock(start)} - {clock(end)} {name}" for start, end in given],
            hoverinfo="text",
        )

    def matrix(
        self,
        values: np.ndarray,
        *,
        ends: tuple[float, float] | None,
        limits: tuple[float, float],
        colours: Literal["similarity", "share"],
        label: str,
    ) -> None:
        first, last = ends or (-0.5, len(values) - 0.5)
        step = (last - first) / len(values)
        low, high = limits
        self.drawn.add_heatmap(
            z=values,
            x0=first + step / 2,
            dx=step,
            y0=first + step / 2,
            dy=step,
            zmin=low,
            zmax=high,
            colorscale=PALETTES[colours],
            colorbar={"title": {"text": escape(label), "side": "right"}},
            hovertemplate="%{x}, %{y}: %{z:.3f}<extra></extra>",
        )
        self.drawn.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
        self.drawn.update_xaxes(constrain="domain")

    def text(self, x: Number, y: Number, text: str, *, colour: str) -> None:
        self.drawn.add_annotation(x=x, y=y, text=escape(text), font={"color": colour}, showarrow=False)

    def frame(self, frame: Frame) -> None:
        figure = self.drawn
        figure.update_layout(title={"text": escape(frame.title), "font": {"size": 15}}, showlegend=bool(frame.legend))
        grid = {"x": bool(frame.grid), "y": frame.grid == "xy"}
        for name, label in (("x", frame.x_label), ("y", frame.y_label)):
            update = figure.update_xaxes if name == "x" else figure.update_yaxes
            update(title={"text": escape(label)}, showgrid=grid[name], zeroline=False)
            if name in frame.times and frame.x_range:
                at = time_ticks(*frame.x_range)
                update(tickmode="array", tickvals=at, ticktext=list(map(clock, at)))
        if frame.x_range:
            figure.update_xaxes(range=list(frame.x_range))
        if frame.columns:
            figure.update_xaxes(**_names(frame.columns), tickangle=-90)
        if frame.rows:
            figure.update_yaxes(**_names(frame.rows), autorange=None, range=[len(frame.rows) - 0.5, -0.5])


def time_ticks(first: float, last: float) -> list[float]:
    """Round times from `first` to `last`, at most `MOST_TICKS` of them."""
    fitting = (step for step in STEPS if (last - first) / step < MOST_TICKS)
    step = next(fitting, STEPS[-1] * max(1, -(-(last - first) // (STEPS[-1] * MOST_TICKS))))
    return [float(at) for at in np.arange(np.ceil(first / step) * step, last + step * 1e-6, step)]


def _names(names: Sequence[str]) -> dict[str, Any]:
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": list(map(escape, names))}
