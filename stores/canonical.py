"""Canonical JSON: equal values have equal bytes and equal digests."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """`value` as JSON: keys sorted, no spaces, ASCII only.

    Raises ValueError for NaN and infinity and TypeError for what JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def document_bytes(document: dict[str, Any]) -> bytes:
    """A metadata document as it is written into the store: indented for people, keys in the given order."""
    return json.dumps(document, indent=2, allow_nan=False).encode("ascii")


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def plain(value: Any) -> Any:
    """A deep copy of `value` as after a round trip through JSON: tuples become lists."""
    return json.loads(canonical_json(value))


def differences(before: Any, now: Any, *, name: str = "") -> list[str]:
    """One line `field: before != now` per leaf in which two plain JSON values differ; nested fields are dotted."""
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
        for key in sorted(before.keys() | now.keys()):
            inner = f"{name}.{key}" if name else key
            lines += differences(before.get(key, ABSENT), now.get(key, ABSENT), name=inner)
        return lines
    if before is now or (before is not ABSENT and now is not ABSENT and canonical_json(before) == canonical_json(now)):
        return []
    return [f"{name}: {_shown(before)} != {_shown(now)}"]


class _Absent:
    """Stands for a field that one of two dictionaries does not have."""


ABSENT = _Absent()


def _shown(value: Any, limit: int = 80) -> str:
    text = "absent" if value is ABSENT else canonical_json(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
