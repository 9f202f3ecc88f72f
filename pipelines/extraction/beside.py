"""Small documents beside a store, in which runs speak of themselves.

They lie beside the store and not in it, so that the store holds features only and two runs make equal stores.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from longvid.stores.place import Place, open_place

MOST_BYTES = 16 * 2**20


class Beside:
    """Documents next to the store at `location`: a folder or a URL that other processes can reach."""

    def __init__(self, location: str | Path, storage_options: dict[str, Any] | None = None) -> None:
        self._storage_options = storage_options
        text = str(location).removeprefix("file://").rstrip("/")
        if "://" in text:
            self._parent, _, self._name = text.rpartition("/")
        else:
            path = Path(text).absolute()
            self._parent, self._name = str(path.parent), path.name

    @classmethod
    def of(cls, location: Any, storage_options: dict[str, Any] | None = None) -> "Beside | None":
        """The documents; None for a store in this process's memory, or at a place without neighbours."""
        if not isinstance(location, str | Path) or str(location).startswith("memory:"):
            return None
        beside = cls(location, storage_options)
        return None if not beside._name or beside._parent.endswith("/") else beside

    def _place(self, *, writable: bool) -> Place:
        return open_place(self._parent, writable=writable, storage_options=self._storage_options)

    def put(self, suffix: str, document: dict[str, Any]) -> None:
        """Write `<store>.<suffix>.json` in one step. Raises `StoreAccessError`."""
        data = json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
        self._place(writable=True).put(f"{self._name}.{suffix}.json", data, flush=False)

    def get(self, suffix: str) -> dict[str, Any] | None:
        """The document `<store>.<suffix>.json`; None where there is none, or one that is not a JSON object."""
        data = self._place(writable=False).get(f"{self._name}.{suffix}.json")
        if data is None or len(data) > MOST_BYTES:
            return None
        with suppress(ValueError, RecursionError):
            document = json.loads(data)
            return document if isinstance(document, dict) else None
        return None

    def suffixes(self, start: str) -> list[str]:
        """The suffixes of the documents there are that start like this, sorted."""
        head = f"{self._name}."
        names = [name for name in self._place(writable=False).sizes("") if name.startswith(head + start)]
        return sorted(name.removeprefix(head).removesuffix(".json") for name in names if name.endswith(".json"))
