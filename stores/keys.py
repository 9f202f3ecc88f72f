"""Path names of videos, safe for every file system and object store.

A key is any non-empty string: `P03/cam01/P03_cereals`, `../../etc/passwd`, `-dQw4w9WgXcQ`, `映画 (1).mp4`. Its name

* is the key itself where that is already safe and lower case: `p03_cam01`, `clip.0001`, and does not end as the name
  of a temporary file does: `talk.partial`;
* otherwise a readable stem, `--`, and 24 digits of the key's sha256: `p03-cam01-p03-cereals--4d0b…`.

Names of the first kind never contain `--`, so the two kinds cannot collide; every name is lower-case ASCII, so a file
system that folds case or normalises Unicode keeps them apart. A name cannot be converted back: the key is in the
video's attributes, and `FeatureStore` refuses a name whose attributes hold another key.
"""

import hashlib
import re

from longvid.files import PARTIAL
from longvid.stores.errors import InvalidKey

_SAFE = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9_-])?")  # no dot at the end: Windows drops it
_LONGEST_SAFE = 80
_STEM_LENGTH = 40
_HASH_DIGITS = 24
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")  # names of devices on Windows
_RESERVED = {"zarr.json"}
_HASHED = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{_STEM_LENGTH - 1}}}--[0-9a-f]{{{_HASH_DIGITS}}}")


def path_name(key: str) -> str:
    """The path segment under which the video `key` is stored: at most 80 characters of `a-z 0-9 _ . -`.

    Raises InvalidKey if `key` is empty or not a string.
    """
    if not isinstance(key, str) or not key:
        raise InvalidKey(f"video key {key!r}: a key must be a string of at least one character")
    if _is_safe(key):
        return key
    # surrogatepass: a file name that is not UTF-8 reaches Python with lone surrogates
    hashed = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    stem = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[:_STEM_LENGTH].strip("-")
    return f"{stem or 'video'}--{hashed}"


def is_path_name(name: str) -> bool:
    """Whether `path_name` can return this name: other folders among the videos were not made by longvid."""
    return _is_safe(name) or _HASHED.fullmatch(name) is not None


def was_path_name(name: str) -> bool:
    """Whether version 0.1.0 could return this name, which `path_name` no longer does."""
    return name.endswith(PARTIAL) and _is_safe(name.removesuffix(PARTIAL)) and len(name) <= _LONGEST_SAFE


def _is_safe(key: str) -> bool:
    return (
        not key.endswith(PARTIAL)  # a video with such a name would be removed as a temporary file
        and len(key) <= _LONGEST_SAFE
        and _SAFE.fullmatch(key) is not None
        and "--" not in key
        and _DEVICES.fullmatch(key) is None
        and key not in _RESERVED
    )
