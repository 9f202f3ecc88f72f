"""Videos that a rerun keeps at the price of their fingerprint.

A video whose features are complete and whose file is what it was is not read again: its size, the time when it was last
written and its fingerprint (three blocks) are compared with what the store remembers of it, and the pass over its
packets is spared. A file that was copied or touched has another time and is read through, as is every file with
`longvid extract --full-hash` or a sha256 in the manifest, and one that was taken with a fault.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from longvid.errors import LongvidError
from longvid.video.content import modified
from longvid.video.probing import fingerprint


@dataclass(frozen=True)
class Remembered:
    """What a store knows of the file of a complete video."""

    size_bytes: int
    fingerprint: str
    modified: dict[str, Any]
    video_seconds: float
    backend: str
    problems: list[str]

    def is_still(self, path: str) -> bool:
        """Whether the file at `path` is that one, by all that can be known without reading it through."""
        file = Path(path)
        try:
            return (
                bool(self.modified)
                and file.is_file()
                and file.stat().st_size == self.size_bytes
                and modified(path) == self.modified
                and fingerprint(file) == self.fingerprint
            )
        except (LongvidError, OSError):
            return False  # whoever reads it through says why

    @classmethod
    def of(cls, source: dict[str, Any], *, part_seconds: list[float | None] | None) -> "Remembered | None":
        """What the source of a complete video says; None where its file has to be read through.

        `part_seconds`: the part that the manifest lists, where it alone counts. None is given too where the source says
        it in another form (of an earlier version, or made up), and for a file that was taken with a fault.
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
