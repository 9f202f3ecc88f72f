"""Folders in which a long bench goes on after a stop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from longvid.files import read_json, write_json


@contextmanager
def bench_folder(keep: Path | None, *, quick: bool) -> Iterator[Path]:
    """A folder below `keep`, one for each size of the bench; None: a temporary one, removed at the end."""
    if keep is None:
        with TemporaryDirectory(prefix="longvid-bench-") as temporary:
            yield Path(temporary)
        return
    folder = keep / ("quick" if quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def kept(file: Path, measure: Callable[[], Any]) -> Any:
    """The JSON value in a file; where there is none, `measure()`, written there first."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, measure())
    return read_json(file)
