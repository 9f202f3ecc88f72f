"""Where the command line prints: tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


class PlainConsole(Console):
    """Prints file names and messages as they are: no markup, and no control character reaches the terminal.

    Sentences fold at words in a terminal; in a file each stays one line.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Rich's own, see above."""
        if all(isinstance(given, str) for given in objects) and not self.is_terminal:
            options.setdefault("soft_wrap", True)
        super().print(
            *(printable(given, keep="\n") if isinstance(given, str) else given for given in objects), **options
        )


class PlainTable(Table):
    """A table whose cells hold file names: what cannot be printed is shown as in Python's `repr`."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Rich's own, see above."""
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def printable(text: str, *, keep: str = "") -> str:
    """`text` with its control characters, and bytes that are no text, written as escapes, but for those of `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def failed_line(key: str, reason: str) -> str:
    """How a video that failed is named, on one line whatever its name holds."""
    return printable(f"failed: {key}: {reason}")


console = PlainConsole()
error_console = PlainConsole(stderr=True, soft_wrap=True)


def print_json(value: Any) -> None:
    """Plain JSON on standard output, one document."""
    print(json.dumps(value, indent=2, default=str))


def table(*columns: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """An empty table in the one style all commands use; `right` names the columns of numbers."""
    made = PlainTable(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="bold"
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def counted(count: int, noun: str) -> str:
    """`1 video`, `2 videos`, `1,000 videos`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def human_bytes(count: float) -> str:
    """`1.2 GB`: decimal units, three digits at most."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """`9 s`, `2 min 05 s`, `3 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
