"""Where the command line prints: tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

# what is printed holds file names and messages: never markup
console = Console(markup=False, highlight=False)
error_console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


def print_json(value: Any) -> None:
    """Plain JSON on standard output, one document."""
    print(json.dumps(value, indent=2, default=str))


def table(*columns: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """An empty table in the one style all commands use; `right` names the columns of numbers."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


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
