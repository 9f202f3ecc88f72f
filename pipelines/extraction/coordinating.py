"""The coordinator's state in a run.

It has the films under way, and writes down what comes back. It opens no video and reads no feature.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from longvid.errors import ConfigError
from longvid.pipelines.extraction.assignments import Assignment, Died, Returned
from longvid.pipelines.extraction.dealing import Dealer
from longvid.pipelines.extraction.events import Events
from longvid.pipelines.extraction.executors import Executor
from longvid.pipelines.extraction.outcomes import Outcome, PieceFailure
from longvid.pipelines.extraction.report import RunReport, VideoRow
from longvid.pipelines.extraction.tally import Tally
from longvid.stores import StoreAccessError

MOST_NAMED = 20
"""Videos that an event names."""


@runtime_checkable
class Progress(Protocol):
    """Receives a run's progress; the command line draws it."""

    def planned(self, *, clips: int) -> None:
        """This many more clips have to be encoded."""
        ...

    def encoded(self, *, clips: int) -> None:
        """This many more clips are in the store."""
        ...

    def ended(self, row: VideoRow) -> None:
        """A video is done, kept or failed."""
        ...


class Silent:
    """A `Progress` that does nothing."""

    def planned(self, *, clips: int) -> None:
        """Do nothing."""

    def encoded(self, *, clips: int) -> None:
        """Do nothing."""

    def ended(self, row: VideoRow) -> None:
        """Do nothing."""


@dataclass
class _Film:
    """A film whose pieces are under way."""

    row: VideoRow
    waiting: int
    reasons: list[str]


class Run:
    """The coordinator's state: the films under way. It opens no video and reads no feature."""

    def __init__(self, report: RunReport, progress: Progress, tally: Tally, events: Events) -> None:
        self._report = report
        self._progress = progress
        self._tally = tally
        self._events = events
        self._films: dict[str, _Film] = {}
        self._executor: Executor | None = None
        self._loaded = False

    def workers(self) -> tuple[int, dict[str, float]]:
        """How many workers there are, and for each the seconds since it was heard of; for another thread."""
        executor = self._executor
        return (0, {}) if executor is None else (executor.workers, executor.signs_of_life())

    def skip(self, rows: Sequence[VideoRow]) -> None:
        """Close videos that are not tried."""
        self._end(*rows)

    def execute(self, executor: Executor, dealer: Dealer) -> None:
        """Have all of the dealer's work done. Raises `StoreAccessError` if the store cannot be written.

        However it ends, every video that was dealt out has a row in the report.
        """
        self._executor = executor
        self._count_workers(executor)
        try:
            for assignment, outcome in executor.run(dealer):
                self._take(assignment, outcome, executor, dealer)
        except BaseException:
            with suppress(ConfigError):  # the report cannot be written: the error that is raised says so
                self._report.add(*self._unfinished(dealer))
            raise
        finally:
            self._executor = None

    def _take(self, assignment: Assignment, outcome: Returned | Died, executor: Executor, dealer: Dealer) -> None:
        if isinstance(outcome, Died):
            self._events.emit("worker died", why=outcome.why, videos=assignment.keys[:MOST_NAMED])
            self._settle(dealer.died(assignment, outcome), dealer)
            return
        if outcome.fatal:
            raise StoreAccessError(outcome.fatal)
        self._tally.heard(outcome.worker)
        if outcome.needs_encoder and not self._loaded:
            executor.load_encoder()
            self._loaded = True
            self._events.emit("encoder loaded")
            self._count_workers(executor)
        dealer.returned(assignment, outcome)
        self._settle(outcome, dealer)

    def _count_workers(self, executor: Executor) -> None:
        self._report.workers = executor.workers
        self._events.emit("workers", number=executor.workers)

    def _settle(self, returned: Returned, dealer: Dealer) -> None:
        for row in returned.ended:
            if row.num_clips and row.key not in self._films:
                self._progress.planned(clips=row.num_clips)
                self._progress.encoded(clips=row.num_clips)
            self._films.pop(row.key, None)
        self._end(*returned.ended)
        for opened in returned.opened:
            row = opened.row
            self._films[row.key] = _Film(row, len(opened.shards), opened.reasons)
            self._tally.opened(row, opened.num_clips)
            self._events.emit("film opened", key=row.key, video_seconds=row.video_seconds, pieces=len(opened.shards))
            self._progress.planned(clips=opened.num_clips + row.num_clips)
            if row.num_clips:
                self._progress.encoded(clips=row.num_clips)
            dealer.add(opened)
        for piece in returned.pieces:
            self._settle_piece(piece, dealer)
        if returned.pieces:
            self._events.emit(
                "pieces done", key=returned.pieces[0].key, pieces=len(returned.pieces), worker=returned.worker
            )

    def _settle_piece(self, piece: Outcome, dealer: Dealer) -> None:
        film = self._films[piece.key]
        film.waiting -= 1
        if isinstance(piece, PieceFailure):
            film.reasons.append(piece.reason)
        else:
            film.row.add(piece)
            self._tally.piece(piece)
            self._progress.encoded(clips=piece.num_clips)
        if film.waiting:
            return
        if film.reasons:
            film.row.status, film.row.reason = "failed", film.reasons[0]
            del self._films[piece.key]
            self._end(film.row)
        else:
            dealer.complete(film.row)

    def _end(self, *rows: VideoRow) -> None:
        if not rows:
            return
        self._report.add(*rows)
        self._tally.ended(*rows)
        for row in rows:
            self._progress.ended(row)
        if self._events.are_wanted:
            for row in rows:
                self._events.emit("video ended", **vars(row))

    def _unfinished(self, dealer: Dealer) -> Iterator[VideoRow]:
        """A row for each video that was dealt out and is not done: the same command goes on from there."""
        for film in self._films.values():
            left = f"{film.waiting} of its pieces are left" if film.waiting else "it is to be completed"
            yield replace(film.row, status="unfinished", reason=f"{film.row.path}: {left}")
        for request in dealer.under_way():
            reason = f"{request.path}: a worker had it when the run ended"
            yield VideoRow(request.key, request.path, "unfinished", reason)
