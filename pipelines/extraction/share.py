"""Shares of an extraction: parts of the videos, by a hash of their keys.

    longvid extract lvu.jsonl ... --share 3/64       # 0 to 63, in a SLURM array or in plain shells

Each share is a run of its own with its own report and status; it may be run twice or late. What is in which share
depends on nothing but the key, so a manifest may be sorted or grow between two shares.
"""

import hashlib
import re
from dataclasses import dataclass

from longvid.errors import ConfigError

_WORD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, order=True)
class Share:
    """Part `index` of `count`, from 0 on."""

    count: int
    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ConfigError(f"share {self}: the shares of {self.count} are 0/{self.count} to {self._last}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def _last(self) -> str:
        return f"{max(self.count - 1, 0)}/{self.count}"

    @property
    def suffix(self) -> str:
        """The share in the name of a file: `share-3-of-64`."""
        return f"share-{self.index}-of-{self.count}"

    def holds(self, key: str) -> bool:
        """Whether the video is in this share."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    @classmethod
    def parse(cls, word: str) -> "Share":
        """The share that `3/64` names. Raises `ConfigError`."""
        found = _WORD.fullmatch(word.strip())
        if found is None:
            raise ConfigError(f"share {word!r}: give INDEX/COUNT, such as 0/64 for the first of 64")
        return cls(count=int(found[2]), index=int(found[1]))
