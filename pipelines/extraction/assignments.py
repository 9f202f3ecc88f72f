"""What a worker is given at once, and what it gives back.

An assignment is about 20 seconds of work: many short videos, or some pieces of a film. A worker opens a video itself
(it reads the file through and plans it in the store), extracts its pieces and completes it. A film with more pieces
than fit is given back with its measured timing, packed, and its pieces become further assignments.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from longvid.clips.sampling import Sampling
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.outcomes import Outcome, PieceFailure
from longvid.pipelines.extraction.packing import pack, unpack
from longvid.pipelines.extraction.plan import VideoPlan
from longvid.pipelines.extraction.report import VideoRow

FILMS_KEPT = 16
"""Films whose timing a process keeps unpacked: more than it works on at once. Three hours take 5 MB."""


@dataclass(frozen=True)
class Film:
    """A video that was opened and planned in the store, as it travels from worker to worker."""

    request: VideoRequest
    packed: bytes
    """Its probe, packed: the measured timing of every frame, so that no other worker reads the file through."""
    backend: str
    modified: dict[str, Any]

    @property
    def key(self) -> str:
        """The video's id in the store."""
        return self.request.key

    @classmethod
    def of(cls, plan: VideoPlan) -> "Film":
        """The film of a plan."""
        return cls(plan.request, pack(plan.video), plan.backend, plan.modified)

    def plan(self, sampling: Sampling) -> VideoPlan:
        """The plan again, with the same clips; kept by this process."""
        return _unpacked(self.packed, self.request, self.backend, tuple(self.modified.items()), sampling)


@lru_cache(maxsize=FILMS_KEPT)
def _unpacked(
    packed: bytes, request: VideoRequest, backend: str, modified: tuple[tuple[str, Any], ...], sampling: Sampling
) -> VideoPlan:
    video = unpack(packed)
    clips = sampling.plan_video(video, (request.start_seconds, request.end_seconds))
    return VideoPlan(request, video, clips, backend, sampling.span, modified=dict(modified))


@dataclass(frozen=True)
class OpenVideos:
    """Videos to open, and to extract as far as they fit into the budget."""

    requests: tuple[VideoRequest, ...]
    budget_seconds: float
    alone: bool = False
    """Whether the one video is only opened: a process that worked on it died or hung before."""

    @property
    def keys(self) -> list[str]:
        """Keys of the videos."""
        return [request.key for request in self.requests]

    def apart(self) -> "list[Assignment]":
        """An assignment per video; of one video, the same to be run alone."""
        if len(self.requests) == 1:
            return [replace(self, alone=True)]
        return [replace(self, requests=(request,)) for request in self.requests]

    def failed(self, why: str) -> "Returned":
        """What is given back for it if its process dies again."""
        rows = [VideoRow(one.key, one.path, "failed", f"{one.path}: {why}") for one in self.requests]
        return Returned(ended=rows)


@dataclass(frozen=True)
class ExtractPieces:
    """Some pieces of a film."""

    film: Film
    shards: tuple[int, ...]
    budget_seconds: float
    alone: bool = False

    @property
    def keys(self) -> list[str]:
        """The film's key."""
        return [self.film.key]

    def apart(self) -> "list[Assignment]":
        """An assignment per piece; of one piece, the same to be run alone."""
        if len(self.shards) == 1:
            return [replace(self, alone=True)]
        return [replace(self, shards=(shard,)) for shard in self.shards]

    def failed(self, why: str) -> "Returned":
        """What is given back for it if its process dies again."""
        reason = f"{self.film.request.path}: {why}"
        return Returned(pieces=[PieceFailure(self.film.key, shard, reason) for shard in self.shards])


@dataclass(frozen=True)
class CompleteVideo:
    """A film whose pieces are all in the store."""

    row: VideoRow
    alone: bool = False

    @property
    def keys(self) -> list[str]:
        """The film's key."""
        return [self.row.key]

    def apart(self) -> "list[Assignment]":
        """The same, to be run alone."""
        return [replace(self, alone=True)]

    def failed(self, why: str) -> "Returned":
        """What is given back for it if its process dies again."""
        return Returned(ended=[replace(self.row, status="failed", reason=f"{self.row.path}: {why}")])


Assignment = OpenVideos | ExtractPieces | CompleteVideo


@dataclass
class Opened:
    """A video with pieces left for other assignments."""

    film: Film
    row: VideoRow
    """What was done of it so far."""
    shards: tuple[int, ...]
    """The pieces that are left."""
    num_clips: int
    """Clips of these pieces."""
    reasons: list[str] = field(default_factory=list)
    """Why pieces failed that were tried."""


@dataclass
class Returned:
    """What an assignment came to. Small values only, since all of it travels."""

    ended: list[VideoRow] = field(default_factory=list)
    """Videos that are done, kept or failed."""
    opened: list[Opened] = field(default_factory=list)
    pieces: list[Outcome] = field(default_factory=list)
    """The pieces that were tried, where the assignment was pieces of a film."""
    unopened: tuple[VideoRequest, ...] = ()
    """Videos for which no time was left."""
    unfinished: tuple[int, ...] = ()
    """Pieces of the film for which no time was left."""
    needs_encoder: bool = False
    """The worker has no encoder yet, and came to a video that has to be encoded."""
    fatal: str = ""
    """Why the store cannot be written: no other assignment can succeed either."""
    seconds: float = 0.0
    worker: str = ""
    """The worker's name, as people know it."""


@dataclass(frozen=True)
class Died:
    """The process of an assignment died or hung; a neighbour in the same process may have been the cause."""

    why: str
