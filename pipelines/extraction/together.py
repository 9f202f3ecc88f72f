"""Several encoders over one decoding, each with its own store.

Every encoder has its own sampling, size, pooling and shards; its store has the bytes that it would have if it were made
alone, and each frame is decoded once. The unit of work holds the shards of all stores that start between two starts of
the longest ones, so that a film is cut where little is decoded twice. What a store holds already costs nothing. A file
that is damaged there is decoded for each encoder alone, since what damage costs depends on the frames that are wanted.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longvid.clips import damaged_clips
from longvid.clips.together import ClipsWanted, iter_clips_together
from longvid.encoders import Encoder
from longvid.errors import ConfigError, DamagedVideo, LongvidError
from longvid.pipelines.extraction.assignments import ExtractPieces, Film
from longvid.pipelines.extraction.encoding import encode_frames
from longvid.pipelines.extraction.executors import EncoderSource, WorkSource
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.measuring import Measure, Measured, Unchanged, Unusable, Wanted
from longvid.pipelines.extraction.outcomes import Outcome, attempted
from longvid.pipelines.extraction.piece import (
    DecodeAhead,
    Piece,
    PieceResult,
    extract_piece,
    require_unchanged,
)
from longvid.pipelines.extraction.plan import VideoPlan, make_recipe
from longvid.pipelines.extraction.report import VideoRow
from longvid.pipelines.extraction.working import OpenVideo, Working, named
from longvid.stores import FeatureStore, StoreAccessError, StoreError
from longvid.video.storage import is_url
from longvid.video.traffic import counted_traffic


@dataclass(frozen=True)
class Target:
    """One more encoder of a run, and the store for its features."""

    job: ExtractionJob
    location: str | Path
    clips_per_shard: int
    compression: str | None = None
    encoder: Encoder | None = field(default=None, repr=False)
    """A built encoder, used instead of the one that the job names."""


class Encoders(Encoder):
    """The encoders of one run, as one."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.each = torch.nn.ModuleList(encoders)
        self.spec = encoders[0].spec


@dataclass(frozen=True)
class EncodersSource(EncoderSource):
    """Where a process gets all encoders of a run from."""

    others: tuple[EncoderSource, ...] = ()

    def load(self) -> Encoder:
        """The encoders, on this process's device."""
        return Encoders([super().load(), *(source.load() for source in self.others)])

    def describe(self) -> Encoder:
        """The encoders for their specs and shapes."""
        return Encoders([super().describe(), *(source.describe() for source in self.others)])


@dataclass(frozen=True)
class WorkTogether(WorkSource):
    """What a worker needs to do the work of several stores."""

    others: tuple[WorkSource, ...] = ()

    @property
    def stores(self) -> list[FeatureStore]:
        """Every store of the run."""
        return [self.store, *(work.store for work in self.others)]

    def working(self, measure_one: Measure) -> Working:
        """A worker's side of the run."""
        return WorkingTogether([self, *self.others], measure_one)


def with_others(
    source: EncoderSource, described: Encoder, work: WorkSource, targets: Sequence[Target], *, inline: bool
) -> tuple[EncodersSource, Encoder, WorkTogether]:
    """A run's encoders and work with more targets: their sources, the described (`inline`: loaded) ones, and the work.

    Raises as `extract` does for each of them, and `ConfigError` for two with one store.
    """
    others = [EncoderSource(target.job, target.encoder) for target in targets]
    sources = EncodersSource(source.job, source.built, tuple(others))
    built = [other.load() if inline else other.describe() for other in others]
    works = []
    for target, encoder in zip(targets, built, strict=True):
        store = FeatureStore.create(
            target.location,
            make_recipe(target.job, encoder),
            clips_per_shard=target.clips_per_shard,
            compression=target.compression,
            made_with=target.job.made_with(),
            storage_options=target.job.storage.options_of(str(target.location)),
        )
        sampling = target.job.sampling_for(encoder.spec)
        works.append(WorkSource(store, replace(target.job, encoder=None), sampling, work.deadline_seconds))
    together = WorkTogether(work.store, work.job, work.sampling, work.deadline_seconds, tuple(works))
    places = [store.location for store in together.stores]
    if len(set(places)) < len(places):
        raise ConfigError(f"{next(one for one in places if places.count(one) > 1)}: each encoder needs its own store")
    return sources, Encoders([described, *built]), together


@dataclass(frozen=True, eq=False)
class PieceTogether:
    """The shards of several stores that one decoding serves: each the number of its store, and its piece."""

    key: str
    path: str
    shard_index: int
    parts: tuple[tuple[int, Piece], ...]

    @property
    def num_clips(self) -> int:
        """Clips of all parts."""
        return sum(piece.num_clips for _, piece in self.parts)


def pieces_together(plans: dict[int, VideoPlan], stores: Sequence[FeatureStore]) -> list[PieceTogether]:
    """The missing shards of a video in all stores, by number of the piece; a piece may have no part left.

    Pieces are cut at the starts of the shards of the store whose shards are longest, so every worker cuts alike.
    """
    spans = {number: _shard_starts(plan, stores[number]) for number, plan in plans.items()}
    cuts = min(spans.values(), key=len)
    parts: list[list[tuple[int, Piece]]] = [[] for _ in cuts]
    for number, plan in plans.items():
        at = np.maximum(np.searchsorted(cuts, spans[number], side="right") - 1, 0)
        for shard_index in stores[number].missing(plan.request.key):
            parts[int(at[shard_index])].append((number, plan.piece(shard_index, stores[number].layout)))
    request = next(iter(plans.values())).request
    return [PieceTogether(request.key, request.path, number, tuple(own)) for number, own in enumerate(parts)]


def _shard_starts(plan: VideoPlan, store: FeatureStore) -> np.ndarray:
    """When each shard of the video starts, in seconds."""
    return np.asarray(plan.clips.seconds[:: store.clips_per_shard, 0])


def extract_together(
    piece: PieceTogether,
    *,
    encoders: Sequence[Encoder],
    stores: Sequence[FeatureStore],
    jobs: Sequence[ExtractionJob],
    model_lock: Any,
) -> PieceResult:
    """Decode once, encode and write every part; each store then holds its shards. Raises as `extract_piece` does."""

    def alone() -> PieceResult:
        results = [
            extract_piece(part, encoder=encoders[at], store=stores[at], job=jobs[at], model_lock=model_lock)
            for at, part in piece.parts
        ]
        return _sum(piece, results)

    backends = {part.backend for _, part in piece.parts}
    damaged = any(damaged_clips(part.video, part.plan) for _, part in piece.parts)
    if len(piece.parts) < 2 or len(backends) > 1 or damaged:
        return alone()
    try:
        return _decoded_once(piece, encoders, stores, jobs, model_lock)
    except DamagedVideo:
        return alone()


def _decoded_once(
    piece: PieceTogether,
    encoders: Sequence[Encoder],
    stores: Sequence[FeatureStore],
    jobs: Sequence[ExtractionJob],
    model_lock: Any,
) -> PieceResult:
    with counted_traffic() as traffic:  # of what the thread opens that is made here
        decoded = DecodeAhead(_batches(piece, encoders, jobs, stores))
    encoded: list[list[np.ndarray]] = [[] for _ in piece.parts]
    encode_seconds = write_seconds = 0.0
    with decoded:
        for number, frames in decoded:
            at, part = piece.parts[number]
            with model_lock:
                begin = time.perf_counter()
                pooling = jobs[at].pooling_for(encoders[at].spec)
                encoded[number].append(encode_frames(frames, encoder=encoders[at], pooling=pooling))
                encode_seconds += time.perf_counter() - begin
            if sum(map(len, encoded[number])) == part.num_clips:
                begin = time.perf_counter()
                stores[at].write_shard(part.key, part.shard_index, np.concatenate(encoded[number]))
                encoded[number] = []
                write_seconds += time.perf_counter() - begin
    return PieceResult(
        piece.key,
        piece.shard_index,
        piece.num_clips,
        decoded.busy_seconds,
        encode_seconds,
        write_seconds,
        traffic.read_bytes if is_url(piece.path) else decoded.read_bytes,
        traffic.requests,
        traffic.retries,
    )


def _batches(
    piece: PieceTogether, encoders: Sequence[Encoder], jobs: Sequence[ExtractionJob], stores: Sequence[FeatureStore]
) -> Iterator[tuple[int, np.ndarray]]:
    """The number of a part and a batch of its clips, counted from the part's first clip as when it is made alone.

    The last batch of a part comes only after the file was seen to be the planned one still: its shard is written then.
    """
    first_at, first = piece.parts[0]
    job = jobs[first_at]
    require_unchanged(first, stores[first_at].location, job.storage)
    wanted = [ClipsWanted(part.plan, encoders[at].spec.preprocessing) for at, part in piece.parts]
    waiting: list[list[np.ndarray]] = [[] for _ in wanted]
    left = [part.num_clips for _, part in piece.parts]
    for number, clip in iter_clips_together(
        first.video, wanted, backend=first.backend, allow_truncated=job.allow_truncated
    ):
        waiting[number].append(clip)
        left[number] -= 1
        if len(waiting[number]) == jobs[piece.parts[number][0]].batch_clips or not left[number]:
            if not left[number]:
                require_unchanged(first, stores[first_at].location, job.storage)
            yield number, np.stack(waiting[number])
            waiting[number] = []


def _sum(piece: PieceTogether, results: Sequence[PieceResult]) -> PieceResult:
    names = ("num_clips", "decode_seconds", "encode_seconds", "write_seconds", "read_bytes", "requests", "retries")
    sums = {name: sum(getattr(result, name) for result in results) for name in names}
    return PieceResult(piece.key, piece.shard_index, **sums)


class WorkingTogether(Working):
    """What a worker does for several stores at once."""

    def __init__(self, works: Sequence[WorkSource], measure_one: Measure) -> None:
        first = works[0]
        super().__init__(first.store, first.job, first.sampling, measure_one)
        self._measured = _MeasuredOnce(measure_one)
        self._each = [Working(work.store, work.job, work.sampling, self._measured) for work in works]
        self._stores = [work.store for work in works]
        self._jobs = [work.job for work in works]
        self._samplings = [work.sampling for work in works]

    def _planned(self, request: VideoRequest, row: VideoRow) -> OpenVideo | None:
        """The video with the pieces that are missing in any of the stores."""
        self._measured.forget()
        plans: dict[int, VideoPlan] = {}
        reasons: list[str] = []
        for number, working in enumerate(self._each):
            own = VideoRow(request.key, request.path)
            with named(own):
                video = working._planned(request, own)
                if video is not None:
                    plans[number] = video.plan
            if own.status == "failed":
                reasons.append(own.reason)
            row.read_bytes, row.requests, row.retries = (
                row.read_bytes + own.read_bytes,
                row.requests + own.requests,
                row.retries + own.retries,
            )
            row.video_seconds, row.backend = own.video_seconds or row.video_seconds, own.backend or row.backend
            row.problems += [problem for problem in own.problems if problem not in row.problems]
            row.damaged_clips += own.damaged_clips
        row.reason = "; ".join(dict.fromkeys(reasons))
        if not plans:
            row.status = "failed" if reasons else "kept"
            return None
        pieces = [piece for piece in pieces_together(plans, self._stores) if piece.parts]
        return OpenVideo(next(iter(plans.values())), row, pieces)

    def _piece(self, film: Film, number: int) -> PieceTogether:
        plans = {
            at: film.plan(sampling)
            for at, (store, sampling) in enumerate(zip(self._stores, self._samplings, strict=True))
            if store.record(film.key) is not None
        }
        return pieces_together(plans, self._stores)[number]

    def _made(self, assignment: ExtractPieces) -> set[int]:
        """None: a piece has only those shards that are missing."""
        return set()

    def _tried(self, piece: Any, encoder: Encoder) -> Outcome:
        assert isinstance(encoder, Encoders)
        encoders = [one for one in encoder.each if isinstance(one, Encoder)]
        return attempted(
            piece,
            lambda: extract_together(
                piece, encoders=encoders, stores=self._stores, jobs=self._jobs, model_lock=self._model_lock
            ),
        )

    def _complete(self, row: VideoRow) -> None:
        """Complete the video in every store that could plan it; the others' reasons make it a failed one."""
        reasons = [row.reason] if row.reason else []
        for working, store in zip(self._each, self._stores, strict=True):
            if reasons and store.record(row.key) is None:
                continue
            try:
                working._complete(row)
            except StoreAccessError:
                raise
            except (StoreError, LongvidError) as error:
                reasons.append(str(error))
        if reasons:
            row.status, row.reason = "failed", "; ".join(dict.fromkeys(reasons))


class _MeasuredOnce:
    """Reads a video once for all stores: what was measured for one is planned anew for the next. One per thread."""

    def __init__(self, measure_one: Measure) -> None:
        self._measure_one = measure_one
        self._known = threading.local()

    def forget(self) -> None:
        """Start with another video."""
        self._known.measured = None

    def __call__(self, wanted: Wanted) -> Measured | Unchanged:
        """As `measure`."""
        measured: Measured | None = getattr(self._known, "measured", None)
        if measured is not None:
            return replace(measured, clips=_clips(wanted, measured), read_bytes=0, requests=0, retries=0)
        found = self._measure_one(wanted)
        if isinstance(found, Measured):
            self._known.measured = found
        return found


def _clips(wanted: Wanted, measured: Measured) -> Any:
    try:
        return wanted.sampling.plan_video(measured.video, wanted.part_seconds)
    except LongvidError as error:
        raise Unusable(str(error)) from error
