"""Where the command line prints: tables for people, JSON for programs."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich import filesize
from rich.console import Console, ConsoleOptions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from longvid.printable import printable

LINE_EVERY_SECONDS = 15.0
"""Minimum time between two progress lines when the output is not a terminal."""


LONG_WORD = re.compile(r"(\S{200})\S{1800,}")
"""A name that would fill the screen, as members of tar shards may have; what it starts with is a group."""


class PlainConsole(Console):
    """Prints file names and messages as they are: no markup, no emoji from `:cat:`, no control characters.

    Sentences fold at words in a terminal; in a file each stays one line. Of a word of thousands of characters the
    first 200 are shown.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich prints, with the class's rules."""
        if all(isinstance(given, str) for given in objects) and not self.is_terminal:
            options.setdefault("soft_wrap", True)
        super().print(*(_plain(given, keep="\n") for given in objects), **options)

    def on_broken_pipe(self) -> None:
        """End the command well: who reads only the first lines has what he wants."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(0) from None


class PlainTable(Table):
    """A table whose cells hold file names: what cannot be printed is shown as in Python's `repr`.

    With `whole_words` no word is broken in a table that is too wide, so that names can be copied.
    """

    whole_words = False

    def __init__(self, *headers: Any, title: Any = None, **options: Any) -> None:
        super().__init__(*headers, title=_plain(title), **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """As rich adds a row, with printable cells."""
        super().add_row(*(_plain(cell) for cell in cells), **options)

    def add_column(self, header: Any = "", *arguments: Any, **options: Any) -> None:
        """As rich adds a column, with a printable header."""
        super().add_column(_plain(header), *arguments, **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Any]:
        """As rich draws it, with columns at least as wide as their longest word."""
        if self.whole_words:
            texts = [[str(column.header), *map(str, column.cells)] for column in self.columns]
            least = [max(len(word) for text in column for word in [*text.split(), ""]) for column in texts]
            most = [max(map(len, column)) for column in texts]
            room = options.max_width - COLUMN_GAP * (len(texts) - 1)
            for column, width in zip(self.columns, _widths(least, most, room), strict=True):
                column.width = width
        return super().__rich_console__(console, options)


COLUMN_GAP = 2
"""Characters between two columns of a table."""


def _widths(least: list[int], most: list[int], room: int) -> list[int]:
    """Widths of columns: the least that each needs, then the spare room, one character at a time, to the neediest."""
    widths = list(least)
    while sum(widths) < room and widths != most:
        column = max(range(len(widths)), key=lambda i: most[i] / widths[i] if widths[i] < most[i] else 0)
        widths[column] += 1
    return widths


def _plain(given: Any, *, keep: str = "") -> Any:
    """Text and styled text without what a terminal would obey; anything else as it is."""
    if isinstance(given, str):
        return LONG_WORD.sub(_shortened, printable(given, keep=keep))
    if isinstance(given, Text) and not given.plain.isprintable():
        shown = printable(given.plain, keep=keep)
        return given if shown == given.plain else Text(shown, given.style)
    return given


def _shortened(found: re.Match[str]) -> str:
    return f"{found[1]}... ({len(found[0]):,} characters)"


def failed_line(key: str, reason: str) -> str:
    """The line that names a failed video; one line whatever its name contains."""
    return printable(f"failed: {key}: {reason}")


console = PlainConsole()
error_console = PlainConsole(stderr=True, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print `value` as one JSON document on standard output."""
    from longvid.plain import as_json

    print(json.dumps(as_json(value), indent=2))


def epoch_bar(console: Console) -> Progress:
    """An empty bar that counts epochs, with the field `figures` beside it; it disappears when it is stopped."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )


def table(*columns: str, title: str | None = None, right: Sequence[str] = (), whole_words: bool = False) -> PlainTable:
    """An empty table in the style that all commands share; `right` names the columns of numbers."""
    made = PlainTable(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="bold"
    )
    made.whole_words = whole_words
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def counted(count: int, noun: str) -> str:
    """`1 video`, `2 videos`, `1,000 videos`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def human_bytes(count: int | float) -> str:
    """`1.2 GB`: decimal units."""
    return filesize.decimal(round(count))


def human_seconds(seconds: int | float) -> str:
    """`9 s`, `2 min 05 s`, `3 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
