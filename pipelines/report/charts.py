"""Line charts as HTML: stretched SVG for the lines, plain text for the labels, so that text keeps its size.

A chart carries its numbers as JSON in `data-chart`; `page.js` shows them under the pointer. Without scripts it is still
a chart.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

Number = int | float
GRID = 1000
"""Units of the stretched SVG on both axes."""


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


@dataclass(frozen=True)
class Axis:
    """A range with ticks; `unit` is one of the formats `page.js` knows: number, percent, seconds, epoch."""

    low: Number
    high: Number
    unit: str = "number"
    label: str = ""

    def place(self, value: Number) -> float:
        """Where a value lies, 0 at the low end and 1 at the high end."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the range."""
        rough = (self.high - self.low) / count
        if self.unit == "seconds":
            step = next((s for s in _CLOCK_STEPS if s >= rough), _CLOCK_STEPS[-1])
        else:
            step = _round_step(rough, whole=self.unit == "epoch")
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def shown(self, value: Number) -> str:
        """A value as the axis writes it."""
        if self.unit == "percent":
            return f"{value * 100:.0f} %"
        if self.unit == "seconds":
            return clock(value)
        return f"{value:.4g}" if self.unit == "number" else f"{value:.0f}"


_CLOCK_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)


def clock(seconds: Number) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def around(values: Sequence[Number | None], *, zero: bool = False, unit: str = "number", label: str = "") -> Axis:
    """An axis that holds the values with a little room; down to zero if asked."""
    finite = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = 0.06 * (high - low) or 0.5
    return Axis(0.0 if zero else low - room, high + room, unit, label)


def line_chart(series: Sequence[Series], x: Axis, y: Axis, *, title: str, height: str = "normal") -> Markup:
    """The chart; `title` is what a screen reader says. `height`: normal or low."""
    lines = "".join(_line(one, x, y) for one in series)
    y_ticks = y.ticks(2 if height == "low" else 5)
    grid = "".join(f'<line x1="0" x2="{GRID}" y1="{_down(y, v)}" y2="{_down(y, v)}"/>' for v in y_ticks)
    y_labels = "".join(f'<span class="y" style="top:{_down(y, v) / 10:.2f}%">{y.shown(v)}</span>' for v in y_ticks)
    x_ticks = [v for v in x.ticks(6) if x.low <= v <= x.high]
    x_labels = "".join(f'<span class="x" style="left:{x.place(v) * 100:.2f}%">{x.shown(v)}</span>' for v in x_ticks)
    axis = f'<span class="axis">{escape(x.label)}</span>' if x.label else ""
    return Markup(
        f'<div class="chart {height}" data-chart="{escape(json.dumps(_numbers(series, x, y)))}">'
        f'<svg viewBox="0 0 {GRID} {GRID}" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f'<g class="grid">{grid}</g>{lines}</svg>{y_labels}{x_labels}{axis}'
        '<i class="cross"></i><div class="tip"></div></div>'
    )


def _line(one: Series, x: Axis, y: Axis) -> str:
    points: list[str] = []
    last: float | None = None
    for at, value in zip(one.x, one.y, strict=True):
        if value is None or not math.isfinite(value):
            continue
        right, down = f"{x.place(at) * GRID:.1f}", _down(y, value)
        if one.step and last is not None:
            points.append(f"{right},{last:g}")
        points.append(f"{right},{down:g}")
        last = down
    if len(points) == 1:  # a single point has no length: draw a short dash
        right, level = points[0].split(",")
        points = [f"{float(right) - 4:g},{level}", f"{float(right) + 4:g},{level}"]
    kind = " faint" if one.faint else " strong" if one.strong else ""
    return f'<polyline class="line c{one.colour % 8}{kind}" points="{" ".join(points)}"/>'


def _down(y: Axis, value: Number) -> float:
    return round((1 - min(1.02, max(-0.02, y.place(value)))) * GRID, 1)


def _numbers(series: Sequence[Series], x: Axis, y: Axis) -> dict[str, object]:
    """What `page.js` shows: every line's value at every place that any line has one."""
    shown = [one for one in series if not one.faint]
    places = sorted({value for one in shown for value in one.x})
    known = [dict(zip(one.x, one.y, strict=True)) for one in shown]
    return {
        "x": [round(value, 4) for value in places],
        "low": x.low,
        "high": x.high,
        "xUnit": x.unit,
        "yUnit": y.unit,
        "series": [
            {"name": one.name, "colour": one.colour % 8, "y": [_rounded(at.get(place)) for place in places]}
            for one, at in zip(shown, known, strict=True)
        ],
    }


def _rounded(value: Number | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 5)


def _round_step(rough: float, *, whole: bool) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(rough, 1e-12)))
    step = next(power * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if power * factor >= rough * 0.95)
    return max(1.0, float(math.ceil(step))) if whole else step
