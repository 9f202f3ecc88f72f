"""Which file below a folder is which video, in any folder layout.

The folder is walked once; then every video is looked up by the last one, two, three or all parts of its path without
suffix, or by the id that yt-dlp puts in brackets: `x/-abc.mkv`, `P03/cam01/P03_tea.avi`, `Title of a clip [-abc].webm`.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from longvid.errors import ConfigError, VideoNotFound
from longvid.tasks.folders import video_files
from longvid.video.storage import is_url, without_secrets

_BRACKETED_ID = re.compile(r".*\[([A-Za-z0-9_-]{11})\]", re.ASCII | re.DOTALL)
_LONGEST_TAIL = 3


class VideoFolder:
    """The video files below a folder, by name."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder_of(folder)
        if not self.folder.is_dir():
            raise VideoNotFound(f"{self.folder}: no such folder; create it, or give the folder that holds the videos")
        self._files: dict[str, list[Path]] = defaultdict(list)
        self.num_files = 0
        for path in video_files(self.folder):
            self.num_files += 1
            for name in _names(path.relative_to(self.folder)):
                self._files[name].append(path)

    def find(self, names: Sequence[str]) -> list[Path]:
        """Files for the first of the names that any file has, sorted by path."""
        for name in names:
            if name in self._files:
                return sorted(self._files[name])
        return []


def folder_of(videos: str | Path) -> Path:
    """The folder as a path. Raises `ConfigError` for a URL: what lies elsewhere is not searched."""
    if isinstance(videos, str) and is_url(videos):
        raise ConfigError(
            f"{without_secrets(videos)}: only a folder of this machine is searched for videos; give `longvid extract` "
            "the URL, or write a table with the URLs in a column `path`"
        )
    return Path(videos)


def _names(relative: Path) -> list[str]:
    parts = relative.with_suffix("").parts
    names = {"/".join(parts[-count:]) for count in range(1, min(_LONGEST_TAIL, len(parts)) + 1)}
    names |= {"/".join(parts), relative.as_posix()}
    bracketed = _BRACKETED_ID.fullmatch(parts[-1])
    return [*names, bracketed[1]] if bracketed else [*names]
