"""Many records kept as columns.

A million rows of a manifest take 0.2 GB; as objects they take 0.8.
"""

from array import array
from collections.abc import Iterator, Mapping
from typing import Any

_SHARED = 10_000
"""So many distinct texts of a column are kept once each; beyond that they are names, not classes."""


class Columns:
    """Values by column, row after row, each row with a number; a column holds None where a row has no value."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {}
        self._shared: dict[str, dict[str, str]] = {}
        self._numbers = array("q")

    def __len__(self) -> int:
        return len(self._numbers)

    def append(self, values: Mapping[str, Any], number: int) -> None:
        """One more row."""
        count = len(self._numbers)
        for name, value in values.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = []
                self._shared[name] = {}
            if len(column) < count:
                column.extend([None] * (count - len(column)))
            shared = self._shared[name]
            if len(shared) < _SHARED and type(value) is str:
                value = shared.setdefault(value, value)
            column.append(value)
        self._numbers.append(number)

    def close(self) -> None:
        """Let go of what is only needed while rows are added."""
        self._shared.clear()
        for column in self._columns.values():
            column.extend([None] * (len(self) - len(column)))

    def column(self, name: str) -> list[Any]:
        """A value for each row; None for those that have none."""
        return self._columns.get(name) or [None] * len(self)

    def row(self, index: int) -> tuple[int, dict[str, Any]]:
        """Number and values of one row, without those that are None."""
        values = {name: column[index] for name, column in self._columns.items() if column[index] is not None}
        return self._numbers[index], values

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """`row` of each in order."""
        names, columns = list(self._columns), list(self._columns.values())
        for number, values in zip(self._numbers, zip(*columns, strict=True), strict=True):
            yield number, {name: value for name, value in zip(names, values, strict=True) if value is not None}
