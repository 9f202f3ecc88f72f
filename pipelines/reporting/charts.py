"""Line charts by plotly, for a page that needs no network.

Each has hover, zoom by dragging, and a button to save it as SVG. A chart is a `div` that holds its figure as JSON;
`page.js` draws it in the colours of the page. plotly.js is included in the page once, compressed: 2.0 MB instead of
4.8 MB.
"""

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from typing import Any

from markupsafe import Markup
from plotly import graph_objects
from plotly.offline import get_plotlyjs

from longvid.printable import printable

Number = int | float
HEIGHTS = {"normal": 290, "low": 140, "bands": 190}
"""Pixels, including the axis labels."""
MARGIN = {"l": 52, "r": 8, "t": 8, "b": 24}
"""Pixels; `page.css` uses them to align the pictures above a chart with its lines."""


@dataclass(frozen=True)
class Series:
    """One line. `colour` is an index into the page's palette; `step` draws it as constant until the next point."""

    name: str
    colour: int
    x: Sequence[Number]
    y: Sequence[Number | None]
    faint: bool = False
    step: bool = False
    strong: bool = False
    dots: bool = False
    """Whether only points are drawn, no line."""
    band: bool = False
    """Whether the line is broad, and interrupted where it has no value."""
    counts: Sequence[int] = ()
    """How many things each point stands for, shown by the area of a dot; none: the line has no dots."""


@dataclass(frozen=True)
class Axis:
    """A range; `unit`: number, percent, epoch, or seconds (shown as on a clock)."""

    low: Number
    high: Number
    unit: str = "number"
    label: str = ""
    ticks: tuple[tuple[Number, str], ...] = ()
    """Values and what is written beside them; none: where plotly puts them."""

    def value(self, value: Number) -> Number | str:
        """A value in plotly's form: times of a video become dates of 1970, so that ticks look like those of a clock.

        Written in full, because plotly.js reads a number of four digits as a year.
        """
        if self.unit == "seconds":
            return (datetime(1970, 1, 1) + timedelta(milliseconds=round(value * 1000))).isoformat(sep=" ")
        return round(value * (100 if self.unit == "percent" else 1), 6)

    def layout(self) -> dict[str, Any]:
        """The axis as plotly settings."""
        ends = [self.value(self.low), self.value(self.high)]
        about: dict[str, Any] = {"range": ends, "title": {"text": escape(self.label), "standoff": 6}}
        if self.unit == "seconds":
            shown = "%-H:%M:%S" if self.high >= 3600 else "%-M:%S"
            return about | {"type": "date", "tickformat": shown, "hoverformat": shown}
        if self.ticks:
            at, written = zip(*self.ticks, strict=True)
            about |= {
                "tickmode": "array",
                "tickvals": [self.value(v) for v in at],
                "ticktext": list(map(escape, written)),
            }
        if self.unit == "percent":
            return about | {"ticksuffix": " %", "hoverformat": ".1f"}
        if self.unit == "epoch":
            few = {"dtick": 1} if self.high - self.low <= 6 else {}
            return about | few | {"tickformat": "d", "hoverformat": "d", "unifiedhovertitle": {"text": "epoch %{x:d}"}}
        return about | {"hoverformat": ".4~g"}


def clock(seconds: Number) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def around(values: Sequence[Number | None], *, zero: bool = False, unit: str = "number", label: str = "") -> Axis:
    """An axis that covers the values with a small margin; down to zero if requested."""
    finite = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = 0.06 * (high - (0.0 if zero else low)) or 0.5
    return Axis(0.0 if zero else low - room, high + room, unit, label)


def line_chart(series: Sequence[Series], x: Axis, y: Axis, *, title: str, height: str = "normal") -> Markup:
    """The chart; screen readers read `title` and the last value of each line. `height`: a key of `HEIGHTS`."""
    figure = graph_objects.Figure(
        [_trace(one, x, y) for one in series],
        {
            "template": graph_objects.layout.Template(),
            "height": HEIGHTS[height],
            "margin": MARGIN | ({"b": 42} if x.label else {}),
            "xaxis": x.layout() | {"showgrid": False},
            "yaxis": y.layout()
            | {"fixedrange": True, "nticks": 4 if height == "low" else 6, "zeroline": False, "showspikes": False},
            "showlegend": False,
            "hovermode": "x unified",
            "dragmode": "zoom",
        },
    )
    # a JSON document in a script: only what could end the script must be escaped
    document = figure.to_json().replace("<", "\\u003c")
    said = escape(printable(f"{title}. {_in_words(series, y)}"), quote=True)
    return Markup(
        f'<div class="chart {height}" role="img" aria-label="{said}">'
        f'<script type="application/json">{document}</script></div>'
    )


@lru_cache(maxsize=1)
def plotly_script() -> str:
    """plotly.js of the installed plotly, as gzip in base64."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _trace(one: Series, x: Axis, y: Axis) -> graph_objects.Scatter:
    finite = [(at, v if v is not None and math.isfinite(v) else None) for at, v in zip(one.x, one.y, strict=True)]
    known = [(at, v) for at, v in finite if v is not None or one.band]
    counted = bool(one.counts)
    width = 1.0 if one.faint else 8 if one.band else 2.8 if one.strong else 1.6
    return graph_objects.Scatter(
        x=[x.value(at) for at, _ in known],
        y=[None if value is None else y.value(value) for _, value in known],
        name=escape(printable(one.name), quote=False),
        meta=one.colour % 8,
        mode="lines+markers" if counted else "markers" if one.dots or (len(known) == 1 and not one.faint) else "lines",
        line={"width": width, "shape": "hv" if one.step else "linear"},
        marker={"size": [3 + 15 * math.sqrt(n / max(one.counts)) for n in one.counts] if counted else 7},
        cliponaxis=not (one.dots or counted),
        opacity=0.4 if one.faint else 1.0,
        hoverinfo="skip" if one.faint else None,
        customdata=list(one.counts) or None,
        hovertemplate="%{fullData.name}<extra></extra>"
        if one.band
        else "%{fullData.name}: %{y} of %{customdata:,}<extra></extra>"
        if counted
        else None,
    )


def _in_words(series: Sequence[Series], y: Axis) -> str:
    """The last value of each line."""
    ends = [
        (one.name, [v for v in one.y if v is not None and math.isfinite(v)])
        for one in series
        if not (one.faint or one.band)
    ]
    shown = [f"{name} ends at {_shown(values[-1], y)}" for name, values in ends if values and name]
    return "; ".join(shown)


def _shown(value: Number, y: Axis) -> str:
    return f"{value * 100:.1f} %" if y.unit == "percent" else f"{value:.4g}"
