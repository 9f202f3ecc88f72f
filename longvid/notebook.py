"""How values look in a notebook: tables, and strips of time."""

from collections.abc import Iterable, Sequence
from html import escape

Cell = str | int | float
Span = tuple[float, float, str]
"""Start and end in seconds, and what lies there."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000")
"""Paul Tol's bright colours, which colour-blind people tell apart."""


def html_table(title: str, facts: Iterable[tuple[str, Cell]]) -> str:
    """A table of facts under a title."""
    rows = "".join(f"<tr><th style='text-align:left'>{_text(name)}</th><td>{_text(v)}</td></tr>" for name, v in facts)
    return f"<div><b>{_text(title)}</b><table>{rows}</table></div>"


def html_list(headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, more: str = "") -> str:
    """A table with headings; `more` says what was left out."""
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>{_text(more)}"


def html_strip(spans: Sequence[Span], names: Sequence[str]) -> str:
    """A strip of time in which each span has its name's colour; empty without spans.

    Names beyond the colours share them; a tooltip gives the name and the time of each span.
    """
    if not spans:
        return ""
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    width = max(last - first, 1e-9)
    drawn = "".join(
        f"<rect x='{1000 * (start - first) / width:.2f}' width='{1000 * (end - start) / width:.2f}' height='24' "
        f"fill='{colour_of(name, names)}'><title>{_text(name)}, {clock(start)} to {clock(end)}</title></rect>"
        for start, end, name in spans
    )
    there = [name for name in names if any(span[2] == name for span in spans)]
    key = " ".join(f"<span style='color:{colour_of(name, names)}'>\u25a0</span> {_text(name)}" for name in there)
    strip = f"<svg viewBox='0 0 1000 24' preserveAspectRatio='none' style='width:100%;height:24px'>{drawn}</svg>"
    return f"<div>{strip}<div>{clock(first)} to {clock(last)} {key}</div></div>"


def colour_of(name: str, names: Sequence[str]) -> str:
    """The colour of a name among others."""
    return COLOURS[names.index(name) % len(COLOURS)] if name in names else COLOURS[-1]


def clock(seconds: float) -> str:
    """`1:02:05`, `2:05`."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02d}" if whole >= 3600 else str(whole // 60)
    return f"{whole // 3600}:{minutes}:{whole % 60:02d}" if whole >= 3600 else f"{minutes}:{whole % 60:02d}"


def _text(value: Cell) -> str:
    """A value as text: names come from files, and may hold markup or characters that turn a line around."""
    text = value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return escape(text if text.isprintable() else repr(text)[1:-1])
