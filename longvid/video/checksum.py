"""The sha256 of a whole file: the only check that finds any damage."""

import hashlib
from pathlib import Path

from longvid.errors import DamagedVideo, VideoNotFound
from longvid.video.source import Source, open_source


def require_sha256(path: str | Source, expected: str) -> None:
    """Raise DamagedVideo unless `expected` is the sha256 of the file, in hexadecimal.

    Reads the whole file once. Raises VideoNotFound where there is no file.
    """
    path = Path(path) if isinstance(path, str) else path
    if isinstance(path, Path) and not path.exists():
        raise VideoNotFound(f"{path}: no such file")
    with open_source(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise DamagedVideo(
            f"{path}: its sha256 is {found}, and the manifest lists {expected}; get the file anew, or correct the list"
        )
