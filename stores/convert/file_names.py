"""Names of exported files, readable and valid on every system.

| key                   | file                     | why                                                       |
|-----------------------|--------------------------|-----------------------------------------------------------|
| `P03/cam01`           | `P03/cam01.npy`          | nothing to change                                         |
| `Film Nr. 1 (neu)`    | `Film Nr. 1 (neu).npy`   | nothing to change                                         |
| `../who?: a`          | `who__ a.npy`            | a name leads nowhere, and Windows knows no `?` and no `:` |
| `clip`, `Clip`        | `clip-2.npy`, `Clip.npy` | Windows and macOS take one for the other                  |
"""

import re
import unicodedata
from collections import Counter

MOST_BYTES = 120
"""Longest part of a path, in UTF-8: an encrypting file system allows 143, and `.json` and a number come after it."""
_FORBIDDEN = re.compile(r'[<>:"\\|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_LIKE_A_FILE = re.compile(r"\.(npy|json|csv)$", re.IGNORECASE)


def file_stems(keys: list[str]) -> list[str]:
    """A relative path without suffix for each key, in their order.

    No two differ only in case or in the way a letter is written in Unicode. A key that can be a path stays as it is;
    of two that would meet, the first in sorted order does, and the other ends in a number.
    """
    wanted = {key: "/".join(_parts(key)) for key in keys}
    met = Counter(map(_folded, wanted.values()))
    # those that nothing changes come first, so that no number takes the name of another key
    order = sorted(wanted, key=lambda key: (wanted[key] != key, met[_folded(wanted[key])] > 1, key))
    taken: set[str] = set()
    stems: dict[str, str] = {}
    for key in order:
        stem, number = wanted[key], 1
        while _folded(stem) in taken:
            number += 1
            stem = f"{wanted[key]}-{number}"
        taken.add(_folded(stem))
        stems[key] = stem
    return [stems[key] for key in keys]


def _parts(key: str) -> list[str]:
    """The folders and the stem that a key asks for, with only what every file system can hold."""
    parts = [part for given in key.split("/") if (part := _part(given))] or ["video"]
    return [*(_LIKE_A_FILE.sub(r"_\1", folder) for folder in parts[:-1]), parts[-1]]


def _part(given: str) -> str:
    text = unicodedata.normalize("NFC", given)
    text = "".join(letter if letter == " " or letter.isprintable() else "_" for letter in text)
    # a leading dot hides a file, a dash makes it an option, and _store.json describes the store
    text = _FORBIDDEN.sub("_", text).lstrip("._- ")
    text = text.encode()[:MOST_BYTES].decode(errors="ignore").rstrip(". ")
    return f"{text}_" if _DEVICES.fullmatch(text) else text


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", stem.casefold())
