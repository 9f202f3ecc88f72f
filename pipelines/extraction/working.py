"""A worker's side of a run: opens, extracts and completes videos.

Nothing here knows of executors: `Working.do` is called in this process, in a second one, or by a dask worker.
"""

import os
import shlex
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from longvid.clips.sampling import Sampling
from longvid.encoders import Encoder
from longvid.pipelines.extraction.assignments import (
    Assignment,
    CompleteVideo,
    ExtractPieces,
    Film,
    Opened,
    OpenVideos,
    Returned,
)
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.made_with import made_with
from longvid.pipelines.extraction.measuring import Measure
from longvid.pipelines.extraction.outcomes import AnyPiece, Outcome, PieceFailure, attempt_piece, unexpected
from longvid.pipelines.extraction.piece import PieceResult
from longvid.pipelines.extraction.plan import PlanFailure, VideoKept, VideoPlan, plan_one, refusal
from longvid.pipelines.extraction.report import VideoRow
from longvid.stores import DamagedStore, FeatureStore, StoreAccessError, StoreError, StoreReadOnly
from longvid.video.source import forget

OVERTIME = 2.0
"""An assignment that takes this many times its budget gives back what it has not started."""


class Working:
    """What a worker does with assignments. Several threads may call `do` at once; they share the encoder."""

    def __init__(self, store: FeatureStore, job: ExtractionJob, sampling: Sampling, measure_one: Measure) -> None:
        self._store = store
        self._job = job
        self._sampling = sampling
        self._measure_one = measure_one
        self._model_lock = threading.Lock()
        self._seconds_per_clip: float | None = None

    def do(self, assignment: Assignment, encoder: Encoder | None) -> Returned:
        """What the assignment came to. Without an encoder nothing is encoded, and what has to be is given back."""
        started, returned = time.perf_counter(), Returned(worker=f"{socket.gethostname()}:{os.getpid()}")
        try:
            if isinstance(assignment, OpenVideos):
                self._videos(assignment, encoder, returned)
            elif isinstance(assignment, ExtractPieces):
                self._pieces(assignment, encoder, returned)
            else:
                self._finish(assignment, returned)
        except (StoreAccessError, StoreReadOnly) as error:
            returned.fatal = str(error)
        returned.seconds = time.perf_counter() - started
        return returned

    def _videos(self, assignment: OpenVideos, encoder: Encoder | None, returned: Returned) -> None:
        clock = _Clock(assignment.budget_seconds)
        waiting = deque(assignment.requests)
        while waiting and not returned.needs_encoder and not ((returned.ended or returned.opened) and clock.is_over):
            opened = self._open(waiting.popleft(), returned)
            if opened is None:
                continue
            if not assignment.alone and encoder is not None:
                self._extract(opened, encoder, clock, returned)
            else:
                returned.opened.append(opened.left())
                returned.needs_encoder = encoder is None
        returned.unopened = tuple(waiting)

    def _open(self, request: VideoRequest, returned: Returned) -> "OpenVideo | None":
        """The video with its missing pieces; None if nothing is left to do, and its row says why."""
        begin = time.perf_counter()
        row = VideoRow(request.key, request.path)
        video = None
        with named(row):
            video = self._planned(request, row)
        row.plan_seconds = time.perf_counter() - begin
        if video is None or row.status == "failed":
            forget(row.path, self._job.storage)
            returned.ended.append(row)
            return None
        return video

    def _planned(self, request: VideoRequest, row: VideoRow) -> "OpenVideo | None":
        found = plan_one(
            request, sampling=self._sampling, job=self._job, measure_one=self._measure_one, store=self._store
        )
        if isinstance(found, VideoPlan):
            found = refusal(found, self._job, self._store) or found
        if isinstance(found, PlanFailure):
            row.status, row.reason = "failed", found.reason
            return None
        row.read_bytes, row.requests, row.retries = found.read_bytes, found.requests, found.retries
        if isinstance(found, VideoKept):
            known = found.remembered
            row.status, row.video_seconds, row.backend = "kept", known.video_seconds, known.backend
            row.problems = list(known.problems)
            self._note_partial(row)
            return None
        row.video_seconds = found.video.end_seconds - found.video.begin_seconds
        row.backend, row.problems = found.backend, list(found.video.problems)
        self._store.plan(row.key, found.clips.seconds, found.source(made_with(self._job, found.backend)))
        pieces = list(found.pieces(self._store))
        if not pieces:
            self._complete(row)
            row.status = "kept"
            return None
        if row.key in self._store:
            # its digests are recorded and nothing is written into it: only `repair` knows what of the rest is sound
            lost = ", ".join(str(piece.shard_index) for piece in pieces[:8])
            raise DamagedStore(
                f"{self._store.location}: video {row.key!r} is complete, but shards of it are missing ({lost}); "
                f"run `longvid repair {shlex.quote(self._store.location)}`, then extract it again"
            )
        return OpenVideo(found, row, pieces)

    def _extract(self, video: "OpenVideo", encoder: Encoder, clock: "_Clock", returned: Returned) -> None:
        """Extract the video's pieces and complete it, or give back what does not fit into the time that is left."""
        while video.pieces:
            fits = self._fits(video.pieces, clock)
            if not fits and (video.was_tried or self._seconds_per_clip is not None):
                returned.opened.append(video.left())
                return
            video.settle(self._attempt(video.pieces.popleft(), encoder))
        row = video.row
        if video.reasons:
            row.status, row.reason = "failed", video.reasons[0]
        else:
            with named(row):
                self._complete(row)
        forget(row.path, self._job.storage)
        returned.ended.append(row)

    def _fits(self, pieces: "deque[AnyPiece]", clock: "_Clock") -> bool:
        if self._seconds_per_clip is None:
            return False
        return self._seconds_per_clip * sum(piece.num_clips for piece in pieces) <= clock.left_seconds

    def _pieces(self, assignment: ExtractPieces, encoder: Encoder | None, returned: Returned) -> None:
        if encoder is None:
            returned.needs_encoder, returned.unfinished = True, assignment.shards
            return
        clock = _Clock(assignment.budget_seconds)
        waiting, made = deque(assignment.shards), self._made(assignment)
        while waiting and not (returned.pieces and clock.is_over and not assignment.alone):
            piece = self._piece(assignment.film, waiting.popleft())
            if piece.shard_index in made:
                returned.pieces.append(PieceResult(piece.key, piece.shard_index, piece.num_clips, 0.0, 0.0, 0.0))
            else:
                returned.pieces.append(self._attempt(piece, encoder))
        returned.unfinished = tuple(waiting)

    def _made(self, assignment: ExtractPieces) -> set[int]:
        """Pieces that are in the store already: a worker that died made them and could not say so."""
        try:
            return set(assignment.shards).difference(self._store.missing(assignment.film.key))
        except (StoreAccessError, StoreReadOnly):
            raise
        except StoreError:  # the piece's own attempt says what is wrong
            return set()

    def _piece(self, film: Film, number: int) -> AnyPiece:
        """One of the film's pieces."""
        return film.plan(self._sampling).piece(number, self._store.layout)

    def _tried(self, piece: Any, encoder: Encoder) -> Outcome:
        """The outcome of a piece that `_planned` or `_piece` made."""
        return attempt_piece(piece, encoder=encoder, store=self._store, job=self._job, model_lock=self._model_lock)

    def _attempt(self, piece: AnyPiece, encoder: Encoder) -> Outcome:
        begin = time.perf_counter()
        outcome = self._tried(piece, encoder)
        if isinstance(outcome, PieceFailure):
            if outcome.fatal:
                raise StoreAccessError(outcome.reason)
        else:
            self._seconds_per_clip = (time.perf_counter() - begin) / max(1, outcome.num_clips)
        return outcome

    def _finish(self, assignment: CompleteVideo, returned: Returned) -> None:
        with named(assignment.row):
            self._complete(assignment.row)
        forget(assignment.row.path, self._job.storage)
        returned.ended.append(assignment.row)

    def _complete(self, row: VideoRow) -> None:
        """Complete the video in the store, and say where it lacks clips."""
        self._store.complete(row.key)
        self._note_partial(row)

    def _note_partial(self, row: VideoRow) -> None:
        """Say in the row which clips of a complete video are absent."""
        record = self._store.record(row.key)
        if record is not None and record.damaged:
            row.damaged_clips = record.num_damaged
            row.problems.append(
                f"partial: {record.num_damaged} of {record.num_clips} clips are not there: "
                f"{'; '.join(map(str, record.damaged))}"
            )


class OpenVideo:
    """A video that this worker has opened."""

    def __init__(self, plan: VideoPlan, row: VideoRow, pieces: Sequence[AnyPiece]) -> None:
        self.plan = plan
        self.row = row
        self.pieces: deque[AnyPiece] = deque(pieces)
        self.reasons: list[str] = []
        self.was_tried = False

    def settle(self, outcome: Outcome) -> None:
        """Take a piece's outcome into the row."""
        self.was_tried = True
        if isinstance(outcome, PieceFailure):
            self.reasons.append(outcome.reason)
        else:
            self.row.add(outcome)

    def left(self) -> Opened:
        """The pieces that are left, for other assignments."""
        shards = tuple(piece.shard_index for piece in self.pieces)
        num_clips = sum(piece.num_clips for piece in self.pieces)
        return Opened(Film.of(self.plan), self.row, shards, num_clips, self.reasons)


class _Clock:
    """The time of one assignment."""

    def __init__(self, budget_seconds: float) -> None:
        self._budget_seconds = budget_seconds
        self._started = time.monotonic()

    @property
    def left_seconds(self) -> float:
        """Time for another video: half the budget at its end, so that what is short is not given back."""
        return max(self._budget_seconds - self._passed, self._budget_seconds / 2)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be started."""
        return self._passed > OVERTIME * self._budget_seconds

    @property
    def _passed(self) -> float:
        return time.monotonic() - self._started


@contextmanager
def named(row: VideoRow) -> Iterator[None]:
    """An error in the block is this video's failure, unless the store as a whole cannot be written."""
    try:
        yield
    except (StoreAccessError, StoreReadOnly):
        raise
    except StoreError as error:
        row.status, row.reason = "failed", str(error)
    except Exception as error:  # noqa: BLE001 -- one video must not end the others
        row.status, row.reason = "failed", f"{row.path}: {unexpected(error)}"
