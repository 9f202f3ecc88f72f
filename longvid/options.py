"""Options that are given by name: each value as its annotation wants it, and in words what is wrong with it."""

from typing import Any

from pydantic import TypeAdapter, ValidationError


def as_type(hint: Any, value: Any) -> Any:
    """The value as the annotation `hint` wants it: "12" is a good int, "abc" is not.

    Raises ValueError with what the value should be.
    """
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise ValueError(in_words(error.errors()[0])) from None


def in_words(fault: Any) -> str:
    """One of pydantic's faults as the end of a sentence that began with the value."""
    message = str(fault["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    return message[0].lower() + message[1:]
