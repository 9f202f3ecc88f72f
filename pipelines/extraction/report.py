"""The report of a run: one row per video, written as JSON lines.

The command line also shows it as a table at the end.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from socket import gethostname
from typing import IO, TYPE_CHECKING, Any, Literal

from longvid.errors import ConfigError
from longvid.video.storage import without_secrets

if TYPE_CHECKING:
    from longvid.pipelines.extraction.piece import PieceResult

Status = Literal["done", "kept", "failed"]


@dataclass
class VideoRow:
    """What happened to one video. `kept`: the store already held all of it."""

    key: str
    path: str
    status: Status = "done"
    reason: str = ""
    num_clips: int = 0
    """Clips encoded in this run; for a resumed video only those that were missing."""
    damaged_clips: int = 0
    """Clips of the whole video that are absent because its file is damaged."""
    video_seconds: float = 0.0
    plan_seconds: float = 0.0
    """For reading the file through and planning it in the store."""
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    write_seconds: float = 0.0
    read_bytes: int = 0
    """Bytes of the file that were read, for planning and decoding; 0 where the system does not count."""
    requests: int = 0
    retries: int = 0
    """Requests to the place of a video elsewhere, and how many of them were repeated."""
    backend: str = ""
    problems: list[str] = field(default_factory=list)

    def add(self, piece: "PieceResult") -> None:
        """Count a piece in."""
        self.num_clips += piece.num_clips
        self.decode_seconds += piece.decode_seconds
        self.encode_seconds += piece.encode_seconds
        self.write_seconds += piece.write_seconds
        self.read_bytes += piece.read_bytes
        self.requests += piece.requests
        self.retries += piece.retries

    def hide(self) -> None:
        """Take signatures and passwords out of the URLs in its texts."""
        self.path, self.reason = without_secrets(self.path), without_secrets(self.reason)
        self.problems = [without_secrets(problem) for problem in self.problems]


@dataclass
class RunReport:
    """Every video of a run, in the order in which they ended."""

    rows: list[VideoRow] = field(default_factory=list)
    wall_seconds: float = 0.0
    workers: int = 0
    """Workers that ran at once."""
    path: Path | None = None
    """The file of JSON lines."""
    stream: IO[str] | None = field(default=None, repr=False)

    def add(self, row: VideoRow) -> None:
        """Append a row, also to the file at once: a killed run's report is whole up to its last video."""
        row.hide()
        self.rows.append(row)
        if self.stream is not None:
            with _named_if_unwritable(Path(self.stream.name)):
                self.stream.write(json.dumps(asdict(row)) + "\n")
                self.stream.flush()

    @property
    def failed(self) -> list[VideoRow]:
        """The videos that are not in the store, each with its reason."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def counts(self) -> Counter[str]:
        """Videos by status."""
        return Counter(row.status for row in self.rows)

    @property
    def num_clips(self) -> int:
        """Clips encoded in this run."""
        return sum(row.num_clips for row in self.rows)

    @property
    def exit_status(self) -> int:
        """0: every video is in the store; 3: some are not."""
        return 3 if self.failed else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "videos": [asdict(row) for row in self.rows],
            "counts": dict(self.counts),
            "clips": self.num_clips,
            "requests": sum(row.requests for row in self.rows),
            "read_bytes": sum(row.read_bytes for row in self.rows),
            "retries": sum(row.retries for row in self.rows),
            "wall_seconds": self.wall_seconds,
            "workers": self.workers,
        }


def default_report_path(location: str) -> Path:
    """The report's path: beside a local store, in the working folder for a store elsewhere."""
    name = location.rstrip("/")
    return Path(f"{name.rsplit('/', 1)[-1] if '://' in name else name}.report.jsonl")


def failed_before(location: str) -> dict[str, str]:
    """The reasons for which videos failed in the last extraction into the store, by key; empty if not known."""
    path = default_report_path(location)
    rows: dict[str, VideoRow] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = VideoRow(**json.loads(line))
            rows[row.key] = row
        except (ValueError, TypeError, RecursionError):  # the last line of a run that was killed, or no report of ours
            continue
    return {row.key: row.reason for row in rows.values() if row.status == "failed"}


@contextmanager
def open_report(path: Path | None) -> Iterator[RunReport]:
    """A report whose rows also go to `path`, one JSON object per line; an earlier run's file is replaced.

    While another run writes to that file, this one writes beside it (`x.report.2.jsonl`), so that no file holds rows of
    two runs; `RunReport.path` says where.
    """
    if path is None:
        yield RunReport()
        return
    with _named_if_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = _own_file(path)
    try:
        yield RunReport(path=Path(stream.name), stream=stream)
    finally:
        with suppress(OSError):  # `add` has said that its row could not be written
            stream.close()


@contextmanager
def _named_if_unwritable(path: Path) -> Iterator[None]:
    """Raise ConfigError, with the remedy, where the report's file cannot be written in the block."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path}: the report cannot be written: {error.strerror or error}; make room or permit writing there, or "
            "name another place (--report), then run the same command again: what is extracted already stays"
        ) from error


def _own_file(path: Path) -> IO[str]:
    """The file at the path, or the first numbered one that no other process writes to; locked and emptied."""
    for number in count(1):
        own = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        stream = own.open("a", encoding="utf-8")  # not "w": another run's rows must not vanish
        try:
            lock(stream)
        except BlockingIOError:
            stream.close()
            continue
        except OSError:  # a file system without locks: a name that no other process has
            stream.close()
            own = path.with_name(f"{path.stem}.{gethostname()}-{os.getpid()}{path.suffix}")
            stream = own.open("a", encoding="utf-8")
        stream.truncate(0)
        return stream
    raise AssertionError("numbers have no end")


def lock(stream: IO[str]) -> None:
    """Lock the open file for this process until it is closed. Raises `BlockingIOError` if another process has it."""
    try:
        import fcntl
    except ImportError as error:  # not on Windows
        raise OSError("no file locks here") from error
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True)
class FailedTogether:
    """Videos that failed for reasons that differ only in names and numbers."""

    reason: str
    """The first video's reason."""
    keys: list[str]


def failed_together(rows: list[VideoRow]) -> list[FailedTogether]:
    """The failed videos, grouped by kind of reason, the most frequent kind first."""
    kinds: dict[str, FailedTogether] = {}
    for row in rows:
        together = kinds.setdefault(_kind(row), FailedTogether(row.reason, []))
        together.keys.append(row.key)
    return sorted(kinds.values(), key=lambda together: -len(together.keys))


def _kind(row: VideoRow) -> str:
    """The reason without what is particular to this video: its path, its key and all numbers."""
    reason = _without_numbers(row.reason.replace(row.path, "..."))
    own = {_without_numbers(name) for name in (Path(row.path).name, Path(row.path).stem, row.key)} - {"", "#"}
    for name in sorted(own, key=len, reverse=True):
        reason = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "...", reason)
    return reason


def _without_numbers(text: str) -> str:
    return re.sub(r"[0-9]+([.][0-9]+)?", "#", text)
