"""The account of a run: one row a video, as JSON lines while it runs and as a table at the end."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from socket import gethostname
from typing import IO, Any, Literal

Status = Literal["done", "kept", "failed"]


@dataclass
class VideoRow:
    """What happened to one video. `kept`: the store already held all of it."""

    key: str
    path: str
    status: Status = "done"
    reason: str = ""
    num_clips: int = 0
    """Clips encoded in this run; a resumed video counts only what was missing."""
    video_seconds: float = 0.0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    write_seconds: float = 0.0
    backend: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass
class RunReport:
    """Every video of a run, in the order in which they ended."""

    rows: list[VideoRow] = field(default_factory=list)
    wall_seconds: float = 0.0
    workers: int = 0
    """Encoders that ran at once; none where nothing was left to do."""
    path: Path | None = None
    """Where the JSON lines are."""
    stream: IO[str] | None = field(default=None, repr=False)

    def add(self, row: VideoRow) -> None:
        """Append a row, to the file at once: a killed run's report ends with the last video that ended."""
        self.rows.append(row)
        if self.stream is not None:
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
            "wall_seconds": self.wall_seconds,
            "workers": self.workers,
        }


def default_report_path(location: str) -> Path:
    """Beside a local store; for a store elsewhere, in the working folder."""
    name = location.rstrip("/")
    return Path(f"{name.rsplit('/', 1)[-1] if '://' in name else name}.report.jsonl")


def failed_before(location: str) -> dict[str, str]:
    """Why the videos failed that the last extraction into the store could not make, by key; none if it is not known."""
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
    """A report whose rows also go to `path`, one JSON object a line; an earlier run's file is replaced.

    Where another run writes to that file at the moment, this one writes beside it (`x.report.2.jsonl`), so that no
    file ever holds rows of two runs; `RunReport.path` says where.
    """
    if path is None:
        yield RunReport()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _own_file(path) as stream:
        yield RunReport(path=Path(stream.name), stream=stream)


def _own_file(path: Path) -> IO[str]:
    """The file at the path, or the first beside it that no other process writes to, locked and emptied."""
    for number in count(1):
        own = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        stream = own.open("a", encoding="utf-8")  # not "w": another run's rows must not vanish
        try:
            lock(stream)
        except BlockingIOError:
            stream.close()
            continue
        except OSError:  # a file system without locks: a name that nobody else has
            stream.close()
            own = path.with_name(f"{path.stem}.{gethostname()}-{os.getpid()}{path.suffix}")
            stream = own.open("a", encoding="utf-8")
        stream.truncate(0)
        return stream
    raise AssertionError("numbers have no end")


def lock(stream: IO[str]) -> None:
    """Have the open file for this process until it is closed. Raises BlockingIOError where another has it."""
    try:
        import fcntl
    except ImportError as error:  # not on Windows
        raise OSError("no file locks here") from error
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True)
class FailedTogether:
    """Videos that failed for reasons that differ in nothing but names and numbers."""

    reason: str
    """In the words of the first of them."""
    keys: list[str]


def failed_together(rows: list[VideoRow]) -> list[FailedTogether]:
    """The failed videos, those of one kind of reason in one entry, the most frequent kind first."""
    kinds: dict[str, FailedTogether] = {}
    for row in rows:
        together = kinds.setdefault(_kind(row), FailedTogether(row.reason, []))
        together.keys.append(row.key)
    return sorted(kinds.values(), key=lambda together: -len(together.keys))


def _kind(row: VideoRow) -> str:
    """The reason without what is of this video alone: its path and key, and all numbers."""
    reason = _without_numbers(row.reason.replace(row.path, "..."))
    own = {_without_numbers(name) for name in (Path(row.path).name, Path(row.path).stem, row.key)} - {"", "#"}
    for name in sorted(own, key=len, reverse=True):
        reason = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "...", reason)
    return reason


def _without_numbers(text: str) -> str:
    return re.sub(r"[0-9]+([.][0-9]+)?", "#", text)
