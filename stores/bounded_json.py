"""JSON from a file, with limits on its length and depth.

Python's own reader raises a RecursionError for deep nesting, which is not a ValueError, and code that walks the value
later (a digest, a copy) would fail in the same way.
"""

import json
import math
from typing import Any, NoReturn

MOST_BYTES = 64 * 2**20
MOST_LEVELS = 64
"""Most levels of nested lists and objects; documents of stores have fewer than ten."""


def parse_json(document: str | bytes, *, most_bytes: int = MOST_BYTES) -> Any:
    """The value of a JSON document. Raises a one-line ValueError for anything else.

    NaN and infinity, which `1e999` becomes too, are not JSON, and no document of a store holds them.
    """
    if len(document) > most_bytes:
        raise ValueError(f"{len(document):,} bytes of JSON where at most {most_bytes:,} are expected")
    try:
        value = json.loads(document, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"JSON nested deeper than {MOST_LEVELS} levels") from None
    if _is_deeper(value, MOST_LEVELS):
        raise ValueError(f"JSON nested deeper than {MOST_LEVELS} levels")
    return value


def parse_json_object(document: str | bytes, *, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """`parse_json` for a document that must be an object."""
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


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text[:40])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
