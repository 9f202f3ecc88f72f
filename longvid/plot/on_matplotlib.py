"""Pictures drawn by matplotlib, for files and papers."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import pyplot

from longvid.notebook import clock
from longvid.plot.canvas import Frame, Number

DASHES = ("-", "--", "-.", ":")
PALETTES = {"similarity": "viridis", "share": "Blues"}


class MatplotlibCanvas:
    """A canvas on axes; texts are shown as they are, not read as mathematics."""

    def __init__(self, axes: Any, *, height: float, width: float) -> None:
        self.drawn: Any = (
            axes if axes is not None else pyplot.subplots(figsize=(width, height), layout="constrained")[1]
        )
        self._named: dict[str, Any] = {}

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
        (drawn,) = self.drawn.plot(x, y, color=colour, linestyle=DASHES[dash], marker="." if points else "")
        if label:
            drawn.set_label(_plain(label))
            self._named[label] = drawn

    def marks(self, x: Sequence[Number], y: Sequence[Number], *, colour: str, cross: bool = False) -> None:
        self.drawn.plot(x, y, "x" if cross else "o", alpha=1.0 if cross else 0.6, color=colour)

    def band(self, start: float, end: float, *, colour: str) -> None:
        self.drawn.axvspan(start, end, color=colour, alpha=0.15, linewidth=0)

    def bars(self, row: int, spans: Iterable[tuple[float, float]], *, colour: str, label: str) -> None:
        bars = [(start, end - start) for start, end in spans]
        self._named[label] = self.drawn.broken_barh(bars, (row - 0.4, 0.8), facecolors=colour)

    def matrix(
        self,
        values: np.ndarray,
        *,
        ends: tuple[float, float] | None,
        limits: tuple[float, float],
        colours: Literal["similarity", "share"],
        label: str,
    ) -> None:
        extent = None if ends is None else (*ends, *reversed(ends))
        low, high = limits
        picture = self.drawn.imshow(values, extent=extent, vmin=low, vmax=high, cmap=PALETTES[colours])
        self.drawn.figure.colorbar(picture, ax=self.drawn, label=label)

    def text(self, x: Number, y: Number, text: str, *, colour: str) -> None:
        self.drawn.text(x, y, _plain(text), ha="center", va="center", color=colour)

    def frame(self, frame: Frame) -> None:
        axes = self.drawn
        axes.set(xlabel=_plain(frame.x_label), ylabel=_plain(frame.y_label))
        axes.set_title(_plain(frame.title), fontsize="medium")
        if frame.x_range:
            axes.set_xlim(*frame.x_range)
        for name in frame.times:
            (axes.xaxis if name == "x" else axes.yaxis).set_major_formatter(lambda value, _: clock(value))
        if frame.columns:
            axes.set_xticks(range(len(frame.columns)), list(map(_plain, frame.columns)), rotation=90)
        if frame.rows:
            axes.set_yticks(range(len(frame.rows)), list(map(_plain, frame.rows)))
            axes.set_ylim(len(frame.rows) - 0.5, -0.5)
        if frame.grid:
            axes.grid(axis="x" if frame.grid == "x" else "both", alpha=0.3)
        if frame.legend and self._named:
            beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if frame.legend == "beside" else {}
            axes.legend(list(self._named.values()), list(map(_plain, self._named)), frameon=False, **beside)


def _plain(text: str) -> str:
    """The text for matplotlib, which takes what stands between two dollar signs for mathematics."""
    return text.replace("$", r"\$")
