"""Blocks of files at URLs on this machine's disk, shared by its processes.

All processes of a machine together, that which measures a video and those that decode its pieces, read each block over
the network once. The folder is `longvid-staging-UID` among the temporary files, or what `LONGVID_STAGING` names;
only its owner can look into it. It holds 4 GiB, or a tenth of the free disk where that is less: what was not used for
the longest time makes room. Blocks of a video go when it is complete, others after a day.
"""

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import google_crc32c

from longvid.files import write_bytes

VARIABLE = "LONGVID_STAGING"
MOST_BYTES = 4 << 30
SHARE_OF_FREE = 0.1
KEPT_SECONDS = 24 * 3600.0
PUTS_A_TIDYING = 64
CHECKSUM_BYTES = 4


def staging() -> "Staging | None":
    """This machine's staging; None where its folder cannot be had for this user alone."""
    return _staging(os.environ.get(VARIABLE) or str(Path(tempfile.gettempdir(), f"longvid-staging-{_user()}")))


class Staging:
    """Blocks by file and number. A block that cannot be written or read is fetched again, so no error is raised."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._puts = 0

    def get(self, file: str, number: int) -> bytes | None:
        """The block, if it is there and its checksum is right."""
        path = self._folder / file / str(number)
        try:
            stored = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        data = stored[:-CHECKSUM_BYTES]
        return data if _checksum(data) == stored[-CHECKSUM_BYTES:] else None

    def holds(self, file: str, number: int) -> bool:
        """Whether there is such a block."""
        return (self._folder / file / str(number)).exists()

    def put(self, file: str, number: int, data: bytes) -> None:
        """Keep the block; now and then, make room."""
        try:
            if self._puts % PUTS_A_TIDYING == 0:
                self._tidy()
            self._puts += 1
            write_bytes(self._folder / file / str(number), data + _checksum(data))
        except OSError:  # a full disk: what is not kept is fetched again
            return

    def drop(self, file: str) -> None:
        """Forget the file."""
        shutil.rmtree(self._folder / file, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove what is old, and the least recently used of what is too much."""
        blocks = sorted(self._blocks())
        held = sum(size for _, size, _ in blocks)
        oldest = time.time() - KEPT_SECONDS
        for used, size, path in blocks:
            if used >= oldest and held <= self._most_bytes:
                break
            path.unlink(missing_ok=True)
            held -= size
            with suppress(OSError):  # it has other blocks
                path.parent.rmdir()

    def _blocks(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._folder.glob("*/*"):
            try:
                status = path.stat()
            except OSError:  # another process has just removed it
                continue
            yield status.st_mtime, status.st_size, path


def file_id(url: str, *version: object) -> str:
    """The name of one version of a file; it tells nothing of the URL, which may be signed."""
    return hashlib.sha256(repr((url, *version)).encode()).hexdigest()[:32]


@lru_cache(maxsize=4)
def _staging(name: str) -> Staging | None:
    folder = Path(name).absolute()
    try:
        folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        status = folder.lstat()
        mine = stat.S_ISDIR(status.st_mode) and status.st_uid == _user() and not status.st_mode & 0o077
        free_bytes = shutil.disk_usage(folder).free
    except OSError:
        return None
    return Staging(folder, min(MOST_BYTES, int(SHARE_OF_FREE * free_bytes))) if mine else None


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _checksum(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(CHECKSUM_BYTES, "big")
