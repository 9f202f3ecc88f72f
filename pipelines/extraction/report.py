"""The report of a run: one row per video, written as JSON lines.

The command line also shows it as a table at the end.
"""

import json
import os
import re
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from socket import gethostname
from typing import IO, TYPE_CHECKING, Any, Literal

from longvid.errors import ConfigError
from longvid.notebook import html_list, html_table
from longvid.pipelines.extraction.share import Share
from longvid.video.storage import without_secrets

if TYPE_CHECKING:
    from longvid.pipelines.extraction.piece import PieceResult

Status = Literal["done", "kept", "failed", "unfinished"]

_encoded = json.JSONEncoder(check_circular=False).encode

MOST_SHOWN = 10
"""Failed videos that a notebook lists."""
MOST_ROWS = 10_000
"""Rows that a report holds in memory; those of a longer run are read from its file when they are asked for."""


@dataclass
class VideoRow:
    """What happened to one video. `kept`: the store already held all of it. `unfinished`: the run was interrupted."""

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
        if self.problems:
            self.problems = [without_secrets(problem) for problem in self.problems]


class RunReport:
    """Every video of a run, in the order in which they ended.

    Memory stays that of `MOST_ROWS` videos, however many there are: the others' rows are in the file.
    """

    def __init__(self, path: Path | None = None, stream: IO[str] | None = None) -> None:
        self.path = path
        """The file of JSON lines."""
        self.wall_seconds = 0.0
        self.workers = 0
        """Workers that ran at once."""
        self.counts: Counter[str] = Counter()
        """Videos by status."""
        self.num_clips = 0
        """Clips encoded in this run."""
        self._stream = stream
        self._held: list[VideoRow] | None = []

    def add(self, *rows: VideoRow) -> None:
        """Append rows, also to the file at once: a killed run's report is whole up to its last video."""
        for row in rows:
            row.hide()
        lines = [f"{_encoded(row.__dict__)}\n" for row in rows]
        self.counts.update([row.status for row in rows])
        self.num_clips += sum([row.num_clips for row in rows])
        if self._held is not None:
            self._held += rows
            if len(self._held) > MOST_ROWS:
                lines = self._spill(lines)
        if self._stream is not None:
            with _named_if_unwritable(self.path or Path(tempfile.gettempdir())):
                self._stream.write("".join(lines))
                self._stream.flush()

    def _spill(self, lines: list[str]) -> list[str]:
        """Keep no rows in memory from now on; return what has to be written so that the file has them all."""
        assert self._held is not None
        if self._stream is None:
            self._stream = tempfile.TemporaryFile("w+", encoding="utf-8", prefix="longvid-report-")  # noqa: SIM115
            weakref.finalize(self, self._stream.close)
            lines = [f"{json.dumps(vars(row))}\n" for row in self._held]
        self._held = None
        return lines

    def each_row(self) -> Iterator[VideoRow]:
        """Every row in order, one in memory at a time."""
        if self._held is not None:
            yield from self._held
        elif self.path is not None:
            with self.path.open(encoding="utf-8") as file:
                yield from (VideoRow(**json.loads(line)) for line in file)
        elif self._stream is not None:
            self._stream.seek(0)
            yield from [VideoRow(**json.loads(line)) for line in self._stream]

    @property
    def rows(self) -> list[VideoRow]:
        """Every row, in one list."""
        return list(self.each_row())

    @property
    def failed(self) -> list[VideoRow]:
        """The videos that are not in the store, each with its reason."""
        return [row for row in self.each_row() if row.status == "failed"] if self.counts["failed"] else []

    @property
    def exit_status(self) -> int:
        """0: every video is in the store; 3: some are not."""
        return 3 if self.counts["failed"] else 0

    def __repr__(self) -> str:
        counts = ", ".join(f"{status}={self.counts[status]}" for status in sorted(self.counts))
        return f"RunReport({counts or 'no video'}, {self.num_clips} clips)"

    def _repr_html_(self) -> str:
        failed = [(row.key, row.reason) for row in self.failed]
        facts = [(status, self.counts[status]) for status in sorted(self.counts)]
        table = html_table("extraction", [*facts, ("clips", self.num_clips), ("time", f"{self.wall_seconds:.1f} s")])
        more = f"and {len(failed) - MOST_SHOWN:,} more" if len(failed) > MOST_SHOWN else ""
        return table + (html_list(("failed", "reason"), failed[:MOST_SHOWN], more=more) if failed else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "videos": [asdict(row) for row in self.each_row()],
            "counts": dict(self.counts),
            "clips": self.num_clips,
            "requests": sum(row.requests for row in self.rows),
            "read_bytes": sum(row.read_bytes for row in self.rows),
            "retries": sum(row.retries for row in self.rows),
            "wall_seconds": self.wall_seconds,
            "workers": self.workers,
        }


def default_report_path(location: str, share: Share | None = None) -> Path:
    """The report's path: beside a local store, in the working folder for a store elsewhere; each share has its own."""
    name = location.rstrip("/")
    ending = "report.jsonl" if share is None else f"report-{share.suffix}.jsonl"
    return Path(f"{name.rsplit('/', 1)[-1] if '://' in name else name}.{ending}")


def failed_before(location: str) -> dict[str, str]:
    """The reasons for which videos failed in the last extraction into the store, by key; empty if not known."""
    rows = rows_of_report(default_report_path(location))
    return {row.key: row.reason for row in rows if row.status == "failed"}


def rows_of_report(path: Path) -> list[VideoRow]:
    """The last row of each video in a report's file; none if there is no such file."""
    rows: dict[str, VideoRow] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = VideoRow(**json.loads(line))
        except (ValueError, TypeError, RecursionError):  # the last line of a run that was killed, or no report of ours
            continue
        if all(isinstance(text, str) for text in (row.key, row.path, row.status, row.reason)):
            rows[row.key] = row
    return list(rows.values())


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


@dataclass
class FailedTogether:
    """Videos that failed, or were noted, for reasons that differ only in names and numbers."""

    reason: str
    """The first video's reason."""
    keys: list[str]
    """Keys of the first of them."""
    reasons: list[str] = field(default_factory=list)
    """Each of these videos' own reason."""
    count: int = 0


MOST_KEYS = 100
"""Keys that are kept per kind of reason."""


def failed_together(rows: Iterable[VideoRow]) -> list[FailedTogether]:
    """The failed videos, grouped by kind of reason, the most frequent kind first."""
    return _together((row, row.reason) for row in rows)


def noted_together(rows: Iterable[VideoRow]) -> list[FailedTogether]:
    """The notes about videos that did not fail, grouped in the same way; a video has one entry per note."""
    return _together((row, problem) for row in rows if row.status != "failed" for problem in row.problems)


def _together(reasons: Iterable[tuple[VideoRow, str]]) -> list[FailedTogether]:
    kinds: dict[str, FailedTogether] = {}
    for row, reason in reasons:
        together = kinds.setdefault(kind_of_reason(row, reason), FailedTogether(reason, []))
        together.count += 1
        if together.count <= MOST_KEYS:
            together.keys.append(row.key)
            together.reasons.append(reason)
    return sorted(kinds.values(), key=lambda together: -together.count)


def kind_of_reason(row: VideoRow, reason: str) -> str:
    """The reason without what is particular to this video: its path, its key and all numbers."""
    reason = _without_numbers(reason.replace(row.path, "..."))
    own = {_without_numbers(name) for name in (Path(row.path).name, Path(row.path).stem, row.key)} - {"", "#"}
    for name in sorted(own, key=len, reverse=True):
        reason = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "...", reason)
    return reason


def _without_numbers(text: str) -> str:
    return re.sub(r"[0-9]+([.][0-9]+)?", "#", text)
