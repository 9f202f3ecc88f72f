"""How stores and videos look in a notebook: tables with names as text."""

from collections.abc import Iterable, Sequence
from html import escape

Cell = str | int


def html_table(title: str, facts: Iterable[tuple[str, Cell]]) -> str:
    """A table of facts under a title."""
    rows = "".join(f"<tr><th style='text-align:left'>{_text(name)}</th><td>{_text(v)}</td></tr>" for name, v in facts)
    return f"<div><b>{_text(title)}</b><table>{rows}</table></div>"


def html_list(headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, more: str = "") -> str:
    """A table with headings; `more` says what was left out."""
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>{_text(more)}"


def clock(seconds: float) -> str:
    """`1:02:05`, `2:05`."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02d}" if whole >= 3600 else str(whole // 60)
    return f"{whole // 3600}:{minutes}:{whole % 60:02d}" if whole >= 3600 else f"{minutes}:{whole % 60:02d}"


def _text(value: Cell) -> str:
    """A value as text: names come from files, and may hold markup or characters that turn a line around."""
    text = f"{value:,}" if isinstance(value, int) else value
    return escape(text if text.isprintable() else repr(text)[1:-1])
