"""The result of a bench: a titled table and the claimed ratios."""

from dataclasses import dataclass, field
from typing import ClassVar

Cell = str | int | float | None


@dataclass
class BenchTable:
    """Rows of measurements; `claims` holds each ratio and its goal."""

    title: str
    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    claims: list["Claim"] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    panels: list["Panel"] = field(default_factory=list)
    """The panels that `--plot` draws, side by side; empty: nothing to draw."""

    def claim(self, what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Add a measured ratio and its goal."""
        self.claims.append(Claim(what, value, at_least, at_most))

    @property
    def number_columns(self) -> list[str]:
        """Names of the columns that hold only numbers."""
        of_row = [[isinstance(cell, str) for cell in row] for row in self.rows]
        return [name for index, name in enumerate(self.columns) if not any(words[index] for words in of_row)]


@dataclass(frozen=True)
class Claim:
    """One measured ratio beside its goal."""

    JSON_PROPERTIES: ClassVar = ("reached",)

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of its goal."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)


@dataclass(frozen=True)
class Panel:
    """One pair of axes of a bench's plot."""

    title: str
    x_label: str
    y_label: str
    lines: dict[str, list[tuple[int | float, float]]]
    """(x, y) points of each line, by its name."""
    level: float | None = None
    """A dashed horizontal line: chance, or one."""
    log_y: bool = False
