"""A grid of settings: every combination of the values listed for each.

    {"optimiser.learning_rate": [5e-3, 1e-3], "optimiser.weight_decay": [0.01, 0.1]}     4 combinations

Only settings of the optimiser and the schedule: all combinations have the same decoder and see the same batches.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from longvid.validation import in_words, shown

QUOTES = "'\""
MOST = 256
"""Combinations that a grid may have."""
ONE_FOR_ALL = ("optimiser.accumulate", "optimiser.average")
"""Settings that all combinations share; they are given outside of the grid."""
OF_PLATEAU = ("schedule.factor", "schedule.patience", "schedule.backwards")
"""Settings of a schedule that follows one validation score, which no grid has."""


@dataclass(frozen=True)
class Combination:
    """One value of every setting of a grid, and the sections of the recipe with these values."""

    values: dict[str, Any]
    sections: dict[str, Any]

    @property
    def label(self) -> str:
        """`optimiser.learning_rate=0.001, optimiser.weight_decay=0.1`."""
        return ", ".join(f"{name}={value}" for name, value in self.values.items())


def flat(grid: Any) -> Any:
    """The grid with dotted names, `{"optimiser": {"learning_rate": [...]}}` as `{"optimiser.learning_rate": [...]}`."""
    if not isinstance(grid, dict):
        return grid
    found: dict[str, Any] = {}
    for name, values in grid.items():
        inner = flat(values)
        found |= {f"{name}.{key}": value for key, value in inner.items()} if isinstance(inner, dict) else {name: values}
    return found


def combinations(grid: Mapping[str, list[Any]], sections: Mapping[str, BaseModel]) -> list[Combination]:
    """Every combination, the last setting moving fastest. Raises ValueError, in one line, for an impossible grid."""
    known = [f"{section}.{field}" for section in sections for field in type(sections[section]).model_fields]
    known = [name for name in known if name not in ONE_FOR_ALL + OF_PLATEAU]
    for name, values in grid.items():
        if name in ONE_FOR_ALL:
            raise ValueError(f"grid: {name} is one for all combinations; give it outside of the grid")
        if name not in known:
            these = ", ".join(known)
            raise ValueError(f"grid: {name} cannot vary within one reading of the store; these can: {these}")
        if not values:
            raise ValueError(f"grid: {name} has no values; list some, such as {name}: [0.1, 0.2]")
    count = 1
    for values in grid.values():
        count *= len(values)
    if count > MOST:
        raise ValueError(f"grid: {count} combinations, more than {MOST}; list fewer values")
    found: list[Combination] = []
    for chosen in itertools.product(*grid.values()):
        combination = _with_values(dict(zip(grid, chosen, strict=True)), sections)
        if any(combination.sections == other.sections for other in found):
            raise ValueError(f"grid: {combination.label} is in it twice")
        found.append(combination)
    return found


def _with_values(values: dict[str, Any], sections: Mapping[str, BaseModel]) -> Combination:
    made: dict[str, Any] = {}
    for section, settings in sections.items():
        own = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{section}.")}
        try:
            made[section] = type(settings).model_validate(settings.model_dump() | own)
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(str(part) for part in fault["loc"])
            what = f"={shown(fault['input'])}: " if field else ": "
            given = ", ".join(f"{name}={shown(value).strip(QUOTES)}" for name, value in values.items())
            place = f"{section}.{field}" if field else section
            raise ValueError(f"grid: {place}{what}{in_words(fault)} (of the combination {given})") from None
    return Combination({name: _held(made, name) for name in values}, made)


def _held(sections: Mapping[str, Any], name: str) -> Any:
    section, _, field = name.partition(".")
    return getattr(sections[section], field)
