"""Deals out the work of a run, in assignments of about 20 seconds.

Nothing is known of a video before a worker opens it, so the first assignments hold one video each, or a few that take
seconds where there are many workers, and none is queued behind another before one came back. Later ones hold what is
about `TARGET_SECONDS` of work by what the earlier ones took, and less near the end of a list, so that all workers end
together. Listed videos are taken from their iterator only as there is room for them. A film's index is read for seconds
in which its worker encodes nothing: while pieces are left for all workers, no other film is opened, and before they run
out, at most half of the workers' threads open the next.

An assignment whose process died or hung is taken apart, and each part is run again as an assignment of its own. A
part whose process dies again is run with nothing beside it. So the culprit is named, its neighbours in the same
process are done, and few of them have to wait for each other.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from longvid.pipelines.extraction.assignments import (
    Assignment,
    CompleteVideo,
    Died,
    ExtractPieces,
    Film,
    Opened,
    OpenVideos,
    Returned,
)
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.report import VideoRow

KILLED = "its decoder or encoder killed the worker process"

TARGET_SECONDS = 40.0
"""Time that an assignment stays with a worker: 20 seconds of work, and as long again in which it waits for the encoder,
which the other assignment of the same worker has. With a thousand workers the scheduler handles fifty a second."""
LEAST_TARGET_SECONDS = 4.0
"""The same where few workers leave the scheduler idle: progress is seen sooner."""
SLOTS_OF_TARGET = 100
"""Assignments in work at once from which on they hold `TARGET_SECONDS`."""

FIRST_VIDEOS = 16
"""Videos in each of the first assignments to so many slots: dealing out the next ones to all of them takes seconds. A
worker gives back what it did not open within `LEAST_TARGET_SECONDS`."""

DEALT_A_SECOND = 200
"""Assignments that the scheduler is sure to hand out in a second. Workers are served in turn, so where there are many,
even the last assignments take as long as a turn; shorter ones would leave the other workers waiting."""

MOST_VIDEOS = 512
"""Videos in an assignment, whatever they take: complete ones take milliseconds."""

RESERVE = 1.0
"""Full assignments per slot that the pieces of opened films should make; with fewer, the next films are opened."""

AHEAD = 4096
"""Listed videos that are read ahead, so that the end of a list of unknown length is seen coming."""

NEW_WEIGHT = 0.3
"""Weight of the latest measurement in the mean of all."""


def late(deadline_seconds: float) -> str:
    """Why a late assignment is a suspect."""
    return f"not done after {deadline_seconds:g} s (--deadline-seconds)"


def limit_seconds(assignment: Assignment, deadline_seconds: float) -> float:
    """Time that an assignment may take: one piece has the deadline, others have time to be late in one thing."""
    one_piece = isinstance(assignment, ExtractPieces) and len(assignment.shards) == 1
    return deadline_seconds if one_piece else 2 * deadline_seconds


class Dealer:
    """The work that is left. Every assignment that is taken has to be given back by `returned` or `died`."""

    def __init__(
        self,
        requests: Iterable[VideoRequest],
        *,
        clips_per_shard: int,
        deadline_seconds: float,
        listed: int | None = None,
    ) -> None:
        """`listed`: the number of the requests, where it is known without reading them all."""
        self._source = iter(requests)
        self._num_unread = listed
        self._listed: deque[VideoRequest] = deque()
        self._exhausted = False
        self._clips_per_shard = clips_per_shard
        self._deadline_seconds = deadline_seconds
        self._films: deque[_PiecesLeft] = deque()
        self._num_pieces_left = 0
        self._complete: deque[VideoRow] = deque()
        self._again: deque[Assignment] = deque()
        """Parts of assignments whose process died."""
        self._alone: deque[Assignment] = deque()
        """Those whose process died again: to be run with nothing beside them."""
        self._suspected: set[str] = set()
        self._in_flight: dict[int, Assignment] = {}
        self._num_opening = 0
        """How many of them open videos."""
        self._seconds_per_video = _Mean()
        self._seconds_per_clip = _Mean()

    def take(self, room: int, *, slots: int) -> list[Assignment]:
        """At most `room` assignments; none: there is nothing before one is given back, or at all.

        `slots`: how many assignments are worked on at once.
        """
        taken = []
        for one in islice(self._next(max(1, slots)), room):
            taken.append(one)
            self._num_opening += isinstance(one, OpenVideos)
        if not taken and room and not self._in_flight and self._alone:
            taken = [self._alone.popleft()]
        self._in_flight.update((id(one), one) for one in taken)
        return taken

    def under_way(self) -> Iterator[VideoRequest]:
        """The videos that were dealt out to be opened, and were not given back."""
        for assignment in self._in_flight.values():
            if isinstance(assignment, OpenVideos):
                yield from assignment.requests

    @property
    def num_listed(self) -> int:
        """Listed videos that were read from the iterator and not dealt out yet."""
        return len(self._listed)

    def add(self, opened: Opened) -> None:
        """Deal out the pieces that are left of a film."""
        self._films.append(_PiecesLeft(opened.film, deque(opened.shards)))
        self._num_pieces_left += len(opened.shards)

    def complete(self, row: VideoRow) -> None:
        """Have a worker complete the film."""
        self._complete.append(row)

    def returned(self, assignment: Assignment, returned: Returned) -> None:
        """Take back what was not done of an assignment; learn from the time it took."""
        self._take_back(assignment)
        if isinstance(assignment, OpenVideos):
            self._listed.extendleft(reversed(returned.unopened))
            if returned.ended and not returned.opened:
                self._seconds_per_video.add(returned.seconds / len(returned.ended))
        if isinstance(assignment, ExtractPieces):
            if returned.unfinished:
                self._films.appendleft(_PiecesLeft(assignment.film, deque(returned.unfinished)))
                self._num_pieces_left += len(returned.unfinished)
            done = len(assignment.shards) - len(returned.unfinished)
            self._seconds_per_clip.add(returned.seconds / max(1, done * self._clips_per_shard))

    def died(self, assignment: Assignment, died: Died) -> Returned:
        """Take an assignment back whose process died: to be tried again alone, or, if it was alone, as failed.

        Returned are the failures.
        """
        self._take_back(assignment)
        parts = assignment.apart()
        if not assignment.alone and not parts[0].alone:
            self._again.extend(parts)
            return Returned()
        if not assignment.alone:
            self._alone.extend(parts)
            self._suspected.update(assignment.keys)
            return Returned()
        why = f"{died.why}, also when it ran alone"
        failed = assignment.failed(why)
        keys = set(assignment.keys)
        for queue in (self._alone, self._again):
            for other in [one for one in queue if not keys.isdisjoint(one.keys)]:
                queue.remove(other)
                failed.pieces += other.failed(why).pieces
        for left in [film for film in self._films if film.film.key in keys]:
            self._films.remove(left)
            self._num_pieces_left -= len(left.shards)
            failed.pieces += ExtractPieces(left.film, tuple(left.shards), 0.0).failed(why).pieces
        return failed

    def _take_back(self, assignment: Assignment) -> None:
        del self._in_flight[id(assignment)]
        self._num_opening -= isinstance(assignment, OpenVideos)

    def _next(self, slots: int) -> Iterator[Assignment]:
        target = self._target_seconds(slots)
        while True:
            if self._complete:
                yield CompleteVideo(self._complete.popleft())
            elif self._again:
                part = self._again.popleft()
                if not self._suspected.isdisjoint(part.keys):
                    self._alone.append(replace(part, alone=True))
                    continue
                yield part
            elif self._films and not self._opens_before_pieces(target, slots):
                film = self._films[0]
                if film.film.key in self._suspected:
                    self._films.popleft()
                    self._num_pieces_left -= len(film.shards)
                    self._alone.extend(ExtractPieces(film.film, (shard,), 0.0, alone=True) for shard in film.shards)
                    continue
                number = self._num_pieces(target, slots)
                shards = tuple(film.shards.popleft() for _ in range(min(number, len(film.shards))))
                self._num_pieces_left -= len(shards)
                if not film.shards:
                    self._films.popleft()
                yield ExtractPieces(film.film, shards, target)
            else:
                self._read_ahead()
                number = min(self._num_videos(target, slots), len(self._listed))
                known = self._seconds_per_video.is_known
                if not number or (not known and self._num_opening >= slots):
                    return
                requests = tuple(self._listed.popleft() for _ in range(number))
                yield OpenVideos(requests, target if known else min(target, LEAST_TARGET_SECONDS))

    def _opens_before_pieces(self, target_seconds: float, slots: int) -> bool:
        """Whether films are to be opened although pieces of others are left: these will not last for long."""
        if 2 * self._num_opening >= slots or (self._exhausted and not self._listed):
            return False
        seconds = self._seconds_per_clip.of(self._num_pieces_left * self._clips_per_shard)
        if seconds is None or seconds >= RESERVE * slots * target_seconds:
            return False
        self._read_ahead()
        return bool(self._listed)

    def _target_seconds(self, slots: int) -> float:
        target = min(TARGET_SECONDS, max(LEAST_TARGET_SECONDS, TARGET_SECONDS * slots / SLOTS_OF_TARGET))
        return min(target, self._deadline_seconds / 4)

    def _read_ahead(self) -> None:
        if not self._exhausted and len(self._listed) < AHEAD // 2:
            wanted = AHEAD - len(self._listed)
            before = len(self._listed)
            self._listed.extend(islice(self._source, wanted))
            self._exhausted = len(self._listed) < AHEAD
            if self._num_unread is not None:
                self._num_unread = max(0, self._num_unread - len(self._listed) + before)

    def _num_videos(self, target_seconds: float, slots: int) -> int:
        number = self._seconds_per_video.number_in(target_seconds, most=MOST_VIDEOS)
        if not self._seconds_per_video.is_known and slots >= SLOTS_OF_TARGET:
            number = FIRST_VIDEOS
        unread = 0 if self._exhausted else self._num_unread
        if unread is None:
            return number
        least = self._seconds_per_video.number_in(_turn_seconds(slots), most=MOST_VIDEOS)
        return min(number, max(least, _fair_share(unread + len(self._listed), slots)))

    def _num_pieces(self, target_seconds: float, slots: int) -> int:
        number = self._seconds_per_clip.number_in(target_seconds / self._clips_per_shard, most=MOST_VIDEOS)
        if not self._exhausted or self._listed:
            return number
        least = self._seconds_per_clip.number_in(_turn_seconds(slots) / self._clips_per_shard, most=MOST_VIDEOS)
        return min(number, max(least, _fair_share(self._num_pieces_left, slots)))


class _PiecesLeft:
    """The pieces of a film that no worker has yet."""

    def __init__(self, film: Film, shards: deque[int]) -> None:
        self.film = film
        self.shards = shards


class _Mean:
    """A mean in which later measurements count more."""

    def __init__(self) -> None:
        self._value: float | None = None

    def add(self, value: float) -> None:
        """Take a measurement in."""
        self._value = value if self._value is None else (1 - NEW_WEIGHT) * self._value + NEW_WEIGHT * value

    @property
    def is_known(self) -> bool:
        """Whether anything was measured."""
        return self._value is not None

    def of(self, number: int) -> float | None:
        """What so many take together; None while nothing was measured."""
        return None if self._value is None else number * self._value

    def number_in(self, target: float, *, most: int) -> int:
        """How many fit into the target, at least one; one while nothing was measured."""
        if self._value is None or not target:
            return 1
        return max(1, min(most, int(target / max(self._value, target / most))))


def _turn_seconds(slots: int) -> float:
    """Time in which each slot is given an assignment once; 0 where few leave the scheduler idle."""
    return slots / DEALT_A_SECOND if slots >= SLOTS_OF_TARGET else 0.0


def _fair_share(left: int, slots: int) -> int:
    """Half of what each slot would get of all that is left, at least one: the last assignments are small."""
    return max(1, -(-left // (2 * slots)))
