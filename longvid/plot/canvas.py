"""What a picture is made of, and the choice of the library that draws.

`pictures.py` says what is drawn, by the few verbs of `Canvas`; `on_matplotlib.py` and `on_plotly.py` draw it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from longvid.errors import BackendUnavailable

Number = int | float
Backend = Literal["matplotlib", "plotly"]
"""The library that draws."""
EXTRAS = {"matplotlib": "plot", "plotly": "plotly"}
"""Backend -> the extra of longvid that brings it."""


@dataclass(frozen=True)
class Frame:
    """What stands around a picture: title, axes, names, legend."""

    x_label: str = ""
    y_label: str = ""
    title: str = ""
    x_range: tuple[float, float] | None = None
    times: Literal["", "x", "xy"] = ""
    """Axes whose numbers are seconds, written as on a clock."""
    rows: Sequence[str] = ()
    """Names of the rows 0, 1, ..., from the top; none: the axis has numbers."""
    columns: Sequence[str] = ()
    """Names of the columns 0, 1, ..."""
    grid: Literal["", "x", "xy"] = ""
    legend: Literal["", "inside", "beside"] = ""


@runtime_checkable
class Canvas(Protocol):
    """A picture that is being drawn. Colours are `#rrggbb`; what has no label is not in the legend."""

    @property
    def drawn(self) -> Any:
        """What the caller gets: matplotlib's axes, or plotly's figure."""

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
        """A line through points; `dash`: 0 solid, 1 dashed, 2 dotted and dashed, 3 dotted. `points`: a dot at each."""

    def marks(self, x: Sequence[Number], y: Sequence[Number], *, colour: str, cross: bool = False) -> None:
        """Dots, or crosses."""

    def band(self, start: float, end: float, *, colour: str) -> None:
        """A shade from `start` to `end` of the horizontal axis, behind everything."""

    def bars(self, row: int, spans: Iterable[tuple[float, float]], *, colour: str, label: str) -> None:
        """Bars from start to end in a row; bars of one label have one entry in the legend."""

    def matrix(
        self,
        values: np.ndarray,
        *,
        ends: tuple[float, float] | None,
        limits: tuple[float, float],
        colours: Literal["similarity", "share"],
        label: str,
    ) -> None:
        """A matrix as colours, row 0 on top; `ends`: where both axes start and end (none: rows are 0, 1, ...).

        `limits`: the numbers of the lowest and the highest colour. NaN stays white.
        """

    def text(self, x: Number, y: Number, text: str, *, colour: str) -> None:
        """A text around a point."""

    def frame(self, frame: Frame) -> None:
        """What stands around; to be called last."""


def canvas(backend: Backend | None, axes: Any, *, height: float, width: float = 8.0) -> Canvas:
    """A canvas on `axes`, or on a new figure of this size in inches.

    Without `backend` it is the one of `axes`, or matplotlib. Raises ValueError for an unknown backend and for one that
    `axes` does not belong to, and `BackendUnavailable` where it is not installed.
    """
    of_axes: Backend = "plotly" if type(axes).__module__.partition(".")[0] == "plotly" else "matplotlib"
    chosen = backend or of_axes
    if chosen not in get_args(Backend):
        raise ValueError(f"backend {backend!r} is not one of {', '.join(get_args(Backend))}")
    if axes is not None and chosen != of_axes:
        raise ValueError(f"backend={chosen!r} cannot draw into a {type(axes).__name__}; leave backend out")
    try:
        if chosen == "plotly":
            from longvid.plot.on_plotly import PlotlyCanvas

            return PlotlyCanvas(axes, height=height)
        from longvid.plot.on_matplotlib import MatplotlibCanvas

        return MatplotlibCanvas(axes, height=height, width=width)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != chosen:
            raise
        raise BackendUnavailable(f"longvid.plot needs {chosen}: pip install 'longvid[{EXTRAS[chosen]}]'") from None
