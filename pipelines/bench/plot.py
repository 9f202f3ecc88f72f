"""The plot of a bench, with two panels per row.

It is written as PNG, SVG or PDF, by the suffix of the file.
"""

from pathlib import Path
from typing import Any

from longvid.errors import LongvidError
from longvid.pipelines.bench.table import BenchTable, Panel

SUFFIXES = (".png", ".svg", ".pdf")
PANEL_INCHES = (5.0, 4.2)
COLUMNS = 2
COLOURS = [*(f"C{index}" for index in range(10)), "black", "0.6"]
MARKS = "osD^vPX*<>h"


class PlotError(LongvidError, ValueError):
    """A plot that cannot be drawn, or not at the requested path."""


def require_drawable(path: Path) -> None:
    """Raises PlotError for an unknown suffix or a folder that does not exist; call it before measuring."""
    if path.suffix not in SUFFIXES:
        raise PlotError(f"a plot cannot be written as {path.name!r}; its name must end in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise PlotError(f"the folder {path.parent} for the plot does not exist; make it first")


def draw(table: BenchTable, path: Path) -> None:
    """Draws all panels of `table`; lines of one name have one colour in all. Raises PlotError if there are none."""
    # only the object interface: no window system, no state shared with a caller's own plots
    from matplotlib.figure import Figure

    require_drawable(path)
    if not table.panels:
        raise PlotError(f"the bench of {table.title!r} has no plot; leave --plot out")
    width, height = PANEL_INCHES
    columns = min(COLUMNS, len(table.panels))
    rows = -(-len(table.panels) // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    names = list(dict.fromkeys(name for panel in table.panels for name in panel.lines))
    styles = {
        name: {"color": COLOURS[index % len(COLOURS)], "marker": MARKS[index % len(MARKS)]}
        for index, name in enumerate(names)
    }
    drawn: dict[str, Any] = {}
    for panel, axes in zip(table.panels, grid, strict=False):
        drawn |= _draw_panel(panel, axes, styles)
    for axes in grid[len(table.panels) :]:
        axes.set_axis_off()
    figure.legend(
        [drawn[name] for name in names], names, loc="outside lower center", ncols=min(len(names), 2 * columns)
    )
    figure.suptitle(table.title)
    figure.savefig(path, dpi=150)


def _draw_panel(panel: Panel, axes: Any, styles: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from matplotlib.ticker import LogLocator, NullFormatter

    handles = {
        name: axes.plot(*zip(*points, strict=True), label=name, markersize=5, **styles[name])[0]
        for name, points in panel.lines.items()
    }
    if panel.level is not None:
        axes.axhline(panel.level, color="0.5", linestyle="--", linewidth=1, zorder=0)
    lengths = sorted({x for points in panel.lines.values() for x, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{x:,.0f}" for x in lengths], rotation=30)
    axes.minorticks_off()
    if panel.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    axes.grid(alpha=0.3)
    return handles
