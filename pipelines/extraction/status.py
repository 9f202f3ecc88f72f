"""The status of runs into a store, while they run and afterwards.

Any machine that reaches the store can read it.

A run writes one document beside the store, `<store>.status.json` (a share: `<store>.status-share-3-of-64.json`), every
few seconds and at its end. A run that was killed cannot say so: its document stays, and its last sign of life grows
old.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from longvid.pipelines.extraction.beside import Beside
from longvid.pipelines.extraction.events import now
from longvid.pipelines.extraction.share import Share
from longvid.pipelines.extraction.tally import Tally
from longvid.stores import StoreError

STATUS = "status"
EVERY_SECONDS = 10.0
"""Time between two documents."""
SILENT_SECONDS = 60.0
"""Time without a new document after which a run counts as ended without a word."""

State = Literal["running", "ended", "interrupted", "failed", "silent"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Videos:
    listed: int | None
    done: int
    kept: int
    failed: int
    under_way: int


@dataclass(frozen=True)
class _VideoSeconds:
    done: float
    kept: float
    left: float | None


@dataclass(frozen=True)
class _FailedKind:
    reason: str
    key: str
    videos: int


@dataclass(frozen=True)
class _WorkerSign:
    name: str
    silent_seconds: float


@dataclass(frozen=True)
class _Document:
    host: str
    pid: int
    started: str
    updated: str
    share: tuple[int, int] | None
    report: str | None
    state: str
    reason: str
    videos: _Videos
    video_seconds: _VideoSeconds
    clips: int
    read_bytes: int
    failed: list[_FailedKind]
    elapsed_seconds: float
    video_seconds_per_second: float
    seconds_left: float | None
    stages: dict[Literal["planning", "decode", "encode", "write"], float]
    limited_by: str | None
    workers: list[_WorkerSign]


_DOCUMENT = TypeAdapter(_Document)
"""The form of a run's document; a file of another form beside a store is none."""


def status_suffix(share: Share | None) -> str:
    """The suffix of a run's document."""
    return STATUS if share is None else f"{STATUS}-{share.suffix}"


class StatusWriter:
    """Writes a run's document, in a thread of its own; `end` writes the last one."""

    def __init__(
        self,
        beside: Beside | None,
        tally: Tally,
        *,
        share: Share | None,
        report: str | None,
        workers: Callable[[], tuple[int, dict[str, float]]],
    ) -> None:
        self._beside = beside
        self._tally = tally
        self._suffix = status_suffix(share)
        self._workers = workers
        self._facts = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": now(),
            "share": None if share is None else [share.index, share.count],
            "report": report,
        }
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False

    def start(self) -> None:
        """Write the first document, and from now on one every few seconds."""
        self._write("running")
        if self._beside is not None:
            self._thread = threading.Thread(target=self._keep_writing, name="longvid-status", daemon=True)
            self._thread.start()

    def end(self, state: State, reason: str = "") -> None:
        """Write the last document."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._write(state, reason)

    def _keep_writing(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._write("running")

    def _write(self, state: State, reason: str = "") -> None:
        if self._beside is None:
            return
        try:
            workers, signs = self._workers() if state == "running" else (0, {})
            counted = self._tally.document(workers=workers, signs_of_life=signs)
            self._beside.put(self._suffix, self._facts | {"state": state, "reason": reason, "updated": now()} | counted)
        except Exception as error:  # noqa: BLE001 -- a run does not end because its status cannot be told
            if not self._told:
                self._told = True
                _log.info("the run's status cannot be written: %s", " ".join(str(error).split()))


@contextmanager
def writing_status(writer: StatusWriter) -> Iterator[None]:
    """The documents of the run in the block, with its end."""
    writer.start()
    try:
        yield
    except KeyboardInterrupt:
        writer.end("interrupted")
        raise
    except BaseException as error:
        writer.end("failed", " ".join(str(error).split()) or type(error).__name__)
        raise
    writer.end("ended")


@dataclass(frozen=True)
class RunStatus:
    """What a run last said of itself."""

    state: State
    share: Share | None
    silent_seconds: float
    """Seconds since it last said something."""
    document: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class StoreStatus:
    """The runs into a store, and the shares that nobody has finished."""

    location: str
    runs: list[RunStatus]
    missing_shares: list[Share]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "location": self.location,
            "runs": [
                run.document | {"state": run.state, "silent_seconds": run.silent_seconds, "share": _words(run.share)}
                for run in self.runs
            ],
            "missing_shares": [str(share) for share in self.missing_shares],
        }


def _words(share: Share | None) -> str | None:
    return None if share is None else str(share)


def read_status(location: str | Path) -> StoreStatus:
    """What the runs into the store last said. Raises `StoreError` where the place cannot be read."""
    beside = Beside.of(location)
    runs = []
    for suffix in beside.suffixes(STATUS) if beside is not None else []:
        assert beside is not None
        document = beside.get(suffix)
        run = None if document is None else _run(document)
        if run is not None and status_suffix(run.share) == suffix:
            runs.append(run)
    runs.sort(key=lambda run: (run.share is not None, run.share or Share(1, 0)))
    return StoreStatus(str(location), runs, _missing(runs))


def all_shares_ended(location: str | Path, share: Share, storage_options: dict[str, Any] | None = None) -> bool:
    """Whether every share of that count has ended. False where that cannot be known."""
    beside = Beside.of(location, storage_options)
    if beside is None:
        return False
    try:
        documents = [beside.get(status_suffix(Share(share.count, index))) for index in range(share.count)]
    except StoreError:
        return False
    return all(document is not None and document.get("state") == "ended" for document in documents)


def _run(document: dict[str, Any]) -> RunStatus | None:
    """The run of a document; None for one that no run wrote."""
    try:
        index_count = document["share"]
        share = None if index_count is None else Share(count=int(index_count[1]), index=int(index_count[0]))
        silent = max(0.0, time.time() - datetime.fromisoformat(document["updated"]).timestamp())
        state = document["state"]
        if state not in ("running", "ended", "interrupted", "failed"):
            return None
        if state == "running" and (silent > SILENT_SECONDS or _is_gone(document)):
            state = "silent"
        return RunStatus(state, share, silent, asdict(_DOCUMENT.validate_python(document)))
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None


def _is_gone(document: dict[str, Any]) -> bool:
    """Whether the run was a process of this machine that no longer exists."""
    if document["host"] != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(document["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _missing(runs: list[RunStatus]) -> list[Share]:
    """Shares of which some siblings exist, and that have not ended and are not running."""
    counts = sorted({run.share.count for run in runs if run.share is not None})
    fine = {run.share for run in runs if run.state in ("ended", "running")}
    return [
        share for count in counts for index in range(count) if (share := Share(count=count, index=index)) not in fine
    ]
