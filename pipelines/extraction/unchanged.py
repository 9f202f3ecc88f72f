"""Unchanged videos, which a rerun keeps without reading them through.

A video whose features are complete and whose file is unchanged is not read again: its size, the time when it was last
written and its fingerprint (three blocks) are compared with the store's record, which spares the pass over its packets.
A file that was copied or touched has another time and is read through; so is every file with
`longvid extract --full-hash` or a sha256 in the manifest, and one that was extracted with a fault.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from longvid.errors import LongvidError
from longvid.video.content import modified
from longvid.video.probing import fingerprint
from longvid.video.source import source_of
from longvid.video.storage import Storage


@dataclass(frozen=True)
class Remembered:
    """A store's record of the file of a complete video."""

    size_bytes: int
    fingerprint: str
    modified: dict[str, Any]
    video_seconds: float
    backend: str
    problems: list[str]

    def is_still(self, path: str, storage: Storage | None = None) -> bool:
        """Whether the file at `path` is unchanged, as far as can be known without reading it through.

        Where a place gives ETags, its size and ETag are enough: nothing of the file is read.
        """
        try:
            file = source_of(path, storage)
            if not isinstance(file, Path):
                same = bool(self.modified) and file.look().modified == self.modified
                same = same and file.size_bytes == self.size_bytes
                return same and ("etag" in self.modified or fingerprint(file) == self.fingerprint)
            return (
                bool(self.modified)
                and file.is_file()
                and file.stat().st_size == self.size_bytes
                and modified(path) == self.modified
                and fingerprint(file) == self.fingerprint
            )
        except (LongvidError, OSError):
            return False  # reading it through will say why

    @classmethod
    def of(cls, source: dict[str, Any], *, part_seconds: list[float | None] | None) -> "Remembered | None":
        """The record in the source of a complete video; None if its file has to be read through.

        `part_seconds`: the part that the manifest lists, if only that is sampled. Also None for a source in another
        form (an earlier version's, or made up), and for a file that was extracted with a fault.
        """
        about = source.get("about")
        if (
            not isinstance(about, dict)
            or about.get("whole") is not True
            or source.get("listed_seconds") != part_seconds
        ):
            return None
        try:
            return TypeAdapter(cls).validate_python(
                {
                    "size_bytes": source["size_bytes"],
                    "fingerprint": source["fingerprint"],
                    "modified": about["modified"],
                    "video_seconds": about["end_seconds"] - about["begin_seconds"],
                    "backend": about["backend"],
                    "problems": about["problems"],
                }
            )
        except (KeyError, TypeError, ValueError):
            return None
