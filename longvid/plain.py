"""Conversion of values to plain JSON."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np


def as_json(value: Any) -> Any:
    """`value` as dictionaries, lists, text, numbers, booleans and None.

    A dataclass becomes its fields in order, then the properties that its `JSON_PROPERTIES` names, if it has such a
    list. Tuples and arrays become lists, paths text. Floats stay as they are, so that they survive JSON exactly.
    Raises TypeError for a value without such a form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)] + list(getattr(value, "JSON_PROPERTIES", ()))
        return {name: as_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a {type(value).__name__} has no plain form")
