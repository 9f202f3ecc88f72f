"""JSON out of a file: what is longer or deeper than a document can be is refused before it is used.

Python's own reader ends deep nesting with a RecursionError, which is no ValueError, and whatever walks the value later
(a digest, a copy) would meet the same.
"""

import json
from typing import Any, NoReturn

MOST_BYTES = 64 * 2**20
MOST_LEVELS = 64
"""Lists and objects inside each other; documents of stores have fewer than ten."""


def parse_json(document: str | bytes, *, most_bytes: int = MOST_BYTES) -> Any:
    """The value that the document holds. Raises ValueError, in one line, for anything else.

    NaN and infinity are not JSON, and no document of a store holds them.
    """
    if len(document) > most_bytes:
        raise ValueError(f"{len(document):,} bytes of JSON where at most {most_bytes:,} are expected")
    try:
        value = json.loads(document, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"JSON nested deeper than {MOST_LEVELS} levels") from None
    if _is_deeper(value, MOST_LEVELS):
        raise ValueError(f"JSON nested deeper than {MOST_LEVELS} levels")
    return value


def parse_json_object(document: str | bytes, *, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """`parse_json` of a document that must be an object."""
    value = parse_json(document, most_bytes=most_bytes)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, not a {type(value).__name__}")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(item, levels - 1) for item in value)
    return False


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
