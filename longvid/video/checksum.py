"""The sha256 of a whole file: the one check that sees any damage, whatever the codec and the container."""

import hashlib
from pathlib import Path

from longvid.errors import DamagedVideo, VideoNotFound


def require_sha256(path: str | Path, expected: str) -> None:
    """Raise DamagedVideo where the file has other bytes than those of which `expected` is the sha256, in hexadecimal.

    Reads the whole file once. Raises VideoNotFound where there is none.
    """
    if not Path(path).exists():
        raise VideoNotFound(f"{path}: no such file")
    with Path(path).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise DamagedVideo(
            f"{path}: its sha256 is {found}, and the manifest lists {expected}; get the file anew, or correct the list"
        )
