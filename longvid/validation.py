"""Frozen settings classes that validate their values.

    @settings(ConfigError)
    class Grid:
        rows: Count = 1
        order: Literal["row", "column"] = "row"

    Grid(rows=0)     ConfigError: Grid.rows=0: should be at least 1

A settings class is a frozen pydantic dataclass, so it is checked wherever one is made, and every fault is in one line.
A list is accepted as a tuple and "12" as a number, as YAML, JSON and command lines give them; a boolean is not accepted
as a number. What annotations cannot express (two fields that exclude each other) is checked by `__post_init__`, which
raises the class's own error.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import field, fields
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticCustomError

from longvid.errors import LongvidError

Settings = TypeVar("Settings", bound=type)
Made = TypeVar("Made")

SHOWN_CHARACTERS = 60
"""Characters of a wrong value that a message repeats."""

UNION_LABELS = ("str", "int", "float", "bool", "callable")
"""Names by which pydantic locates a fault in an alternative of a union."""


def _not_a_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a whole number")
    return value


def _finite(value: Any) -> int | float:
    """An int or a float unchanged, so that what was stored as 1 is stored as 1 again; text as the number it spells."""
    if isinstance(value, str):
        value = _spelt(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("float_type", "Input should be a number")
    if not _is_finite(value):
        raise PydanticCustomError("finite_number", "Input should be a finite number")
    return value


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def _spelt(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


Whole = Annotated[int, BeforeValidator(_not_a_truth_value)]
"""A whole number."""
Count = Annotated[Whole, Field(ge=1)]
"""A whole number of at least 1."""
NonNegative = Annotated[Whole, Field(ge=0)]
"""A whole number of at least 0."""
Number = Annotated[int | float, PlainValidator(_finite)]
"""A finite number; an int stays an int."""
AtLeastZero = Annotated[Number, Field(ge=0)]
"""A finite number of at least 0."""
Positive = Annotated[Number, Field(gt=0)]
"""A finite number above 0."""
Share = Annotated[Number, Field(ge=0, lt=1)]
"""A number in [0, 1), such as a dropout rate."""
Probability = Annotated[Number, Field(ge=0, le=1)]
"""A number in [0, 1]."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def settings(error: type[LongvidError], *, kw_only: bool = False) -> Callable[[Settings], Settings]:
    """Class decorator: makes a frozen dataclass whose values are checked against their annotations.

    An impossible value raises `error`, whose one line lists everything that is wrong. Subclasses must be decorated
    too. Instances can be hashed, compared, pickled and given to `dataclasses.replace`, as of any frozen dataclass.
    """

    def decorate(cls: Settings) -> Settings:
        made: Any = pydantic_dataclass(
            frozen=True, kw_only=kw_only, config=ConfigDict(arbitrary_types_allowed=True, extra="forbid")
        )(cls)
        check = made.__init__

        @functools.wraps(check)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            try:
                check(self, *args, **kwargs)
            except ValidationError as invalid:
                raise _own_error(invalid) or error(_in_one_line(made, invalid)) from None

        made.__init__ = checked
        decorated: Settings = made
        return decorated

    return decorate


def as_type(hint: Any, value: Any) -> Any:
    """The value converted to the type of the annotation `hint`: "12" is accepted as an int, "abc" is not.

    Raises ValueError with what the value should be.
    """
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise ValueError(in_words(error.errors()[0])) from None


def made(kind: type[Made], values: Any) -> Made:
    """A dataclass from the plain values that `longvid.plain.as_json` makes of it.

    Raises ValueError for anything but a dictionary of its fields, and for the first value of a wrong type.
    """
    if not isinstance(values, dict):
        raise ValueError("is not a JSON object")
    derived = getattr(kind, "JSON_PROPERTIES", ())
    given = {name: value for name, value in values.items() if name not in derived}
    unknown = sorted(map(str, given.keys() - {f.name for f in fields(kind)}))  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"holds the unknown name {unknown[0]!r}")
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {in_words(fault)}") from None


def in_words(fault: Any) -> str:
    """A pydantic fault as the end of a sentence that starts with the value: `should be at least 1`."""
    limits = fault.get("ctx", {})
    match fault["type"]:
        case "greater_than_equal":
            return f"should be at least {limits['ge']}"
        case "greater_than":
            return f"should be more than {limits['gt']}"
        case "less_than_equal":
            return f"should be at most {limits['le']}"
        case "less_than":
            return f"should be less than {limits['lt']}"
        case "int_type" | "int_parsing" | "int_from_float":
            return "should be a whole number"
        case "float_type" | "float_parsing":
            return "should be a number"
        case "bool_type" | "bool_parsing":
            return "should be true or false"
        case "string_type":
            return "should be text"
        case "tuple_type" | "list_type":
            return "should be a list"
        case "dict_type":
            return "should be named values"
        case "is_instance_of":
            return f"should be a {limits['class']}"
        case "dataclass_type":
            return f"should be a {limits['class_name']}, or its fields by name"
    message = str(fault["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    return message[0].lower() + message[1:]


def shown(value: Any) -> str:
    """A wrong value as a message repeats it: one line, not too long."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """The text on one line; where it is long its start, which says so."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}..."


def _own_error(invalid: ValidationError) -> LongvidError | None:
    """The error that `__post_init__` raised, which pydantic wraps; None where the annotations refused a value."""
    for fault in invalid.errors(include_url=False):
        raised = fault.get("ctx", {}).get("error")
        if isinstance(raised, LongvidError):
            return raised
    return None


def _in_one_line(cls: Any, invalid: ValidationError) -> str:
    """Every fault as `Class.field=value: what it should be`; the alternatives of a union are joined by `or`."""
    places: dict[str, list[str]] = {}
    for fault in invalid.errors(include_url=False):
        where, what = _place(cls, fault)
        places.setdefault(where, [])
        if what not in places[where]:
            places[where].append(what)
    return "; ".join(f"{where}{' or '.join(what)}" for where, what in places.items())


def _place(cls: Any, fault: Any) -> tuple[str, str]:
    """(place of a fault, what is wrong there)."""
    names = [one.name for one in fields(cls)]
    location, name = fault["loc"], cls.__name__
    if fault["type"] == "unexpected_keyword_argument":
        return f"{name} has no field {location[-1]!r}; ", f"its fields are {', '.join(names)}"
    if fault["type"] == "unexpected_positional_argument":
        return f"{name}: ", f"too many values; its fields are {', '.join(names)}, best given by name"
    if fault["type"] == "multiple_argument_values":
        return f"{name}.{location[-1]}: ", "is given twice"
    # a leading number is the index of a positional argument
    first = names[location[0]] if isinstance(location[0], int) else str(location[0])
    inner = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[1:] if part not in UNION_LABELS]
    where = f"{name}.{first}{''.join(inner)}"
    if fault["type"].startswith("missing"):
        return where, " must be given"
    return f"{where}={shown(fault['input'])}: ", in_words(fault)
