"""The one way to write a file: it appears whole, or not at all.

    write_bytes(path, content)
    write_json(path, {"seeds": [0, 1]})
    with replacing(path) as temporary:      # for a library that wants a path
        save_file(state, temporary)

The content goes to a temporary file beside the path, which is renamed at the end: a reader sees the old file, the new
one or none, and a write that fails leaves what was there. Parent folders are made. Failures are `OSError`.
"""

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Ending of a file that is being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` that takes its name when the block ends, and is removed when the block fails.

    Nothing is there when the block starts. Two writers of one path do not meet: the later one's file stays.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; give a file name", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes, *, flush: bool = False) -> None:
    """Write bytes, whole or not at all; `flush`: they are on the disk before the file has its name."""
    with replacing(path) as temporary, temporary.open("xb") as file:  # with any other file's permissions
        file.write(content)
        if flush:
            file.flush()
            os.fsync(file.fileno())


def write_new(path: Path, content: bytes) -> bool:
    """Write bytes where there is no file yet, onto the disk; False: there is one by now, which stays.

    Of several writers one wins. A file system without hard links cannot tell who was first: there the last one's stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        write_bytes(path, content, flush=True)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def write_json(path: Path, value: Any, *, sort_keys: bool = False) -> None:
    """Write a JSON document, whole or not at all. Raises ValueError for what JSON has no word for (NaN)."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys)
    write_bytes(path, f"{text}\n".encode())


def read_json(path: Path, *, most_bytes: int = 256 * 2**20) -> Any:
    """The JSON document of a file; those that longvid writes have a few megabytes at most.

    Raises `OSError` where it cannot be read, and ValueError or RecursionError for one that is longer than `most_bytes`,
    not UTF-8 or not JSON, which has no NaN and no number that becomes infinite (`1e999`).
    """
    if path.stat().st_size > most_bytes:
        raise ValueError(f"longer than {most_bytes:,} bytes")
    return json.loads(path.read_text("utf-8"), parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a number of JSON")
    return value
