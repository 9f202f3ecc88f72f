"""The plan of an extraction: each video's clips, shards and bytes."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import tee
from typing import Any, Literal

import numpy as np

from longvid.clips import damaged_clips
from longvid.clips.sampling import ClipPlan, Sampling
from longvid.encoders import Encoder
from longvid.encoders.origin import WeightsOrigin
from longvid.errors import DamagedVideo, EncoderError, LongvidError
from longvid.pipelines.extraction.encoding import encode_frames
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.made_with import made_with
from longvid.pipelines.extraction.measuring import (
    Measure,
    Measured,
    Unchanged,
    Unusable,
    Wanted,
    measure,
    measure_ahead,
)
from longvid.pipelines.extraction.outcomes import unexpected
from longvid.pipelines.extraction.piece import Piece
from longvid.pipelines.extraction.unchanged import Remembered
from longvid.plain import as_json
from longvid.stores import DamagedStore, FeatureStore, Recipe, StoreError
from longvid.stores.layout import Layout
from longvid.video import VideoProbe, require_sound
from longvid.video.backends import BACKENDS

DECODER = "decoder"
"""Name in a recipe's preprocessing of the decoder that made its pixels, where others make different ones."""
ALLOW_DAMAGED = "or use --allow-damaged to extract the rest of it"


@dataclass(frozen=True)
class VideoPlan:
    """A probed video and its clips."""

    request: VideoRequest
    video: VideoProbe
    clips: ClipPlan
    backend: str
    span: Literal["whole", "listed"] = "whole"
    checks: dict[str, str] = field(default_factory=dict)
    """Checksums of the whole file's content; see `longvid.video.content`."""
    modified: dict[str, Any] = field(default_factory=dict)
    """When the file was last written, asked before it was read."""
    read_bytes: int = 0
    """Bytes of the file that were read for the plan, where the system counts them."""
    requests: int = 0
    retries: int = 0
    """Requests to a place elsewhere, and how many of them were repeated."""

    def source(self, made_with: dict[str, str] | None = None) -> dict[str, Any]:
        """What the store records of the file and its listed part: enough to notice that either was replaced.

        `made_with`: what decodes and encodes it, see `longvid.pipelines.extraction.made_with`.

        Entries of `checks` are compared where both sides have them. Entries of `about` are only shown: they follow from
        a file that its fingerprint identifies, or are prose, or (when the file was last written) say nothing about its
        content.
        """
        listed = {"listed_seconds": [self.request.start_seconds, self.request.end_seconds]}
        about = {
            "height": self.video.height,
            "width": self.video.width,
            "begin_seconds": self.video.begin_seconds,
            "end_seconds": self.video.end_seconds,
            "num_frames": self.video.measured.num_frames,
            "backend": self.backend,
            "problems": list(self.video.problems),
            "modified": self.modified,
            "whole": not self.video.truncated and not self.video.damage,
            **({"made_with": made_with} if made_with else {}),
        }
        return (listed if self.span == "listed" else {}) | {
            "size_bytes": self.video.size_bytes,
            "fingerprint": self.video.fingerprint,
            "stream_index": self.video.stream_index,
            "checks": self.checks,
            "about": about,
        }

    def pieces(self, store: FeatureStore) -> Iterator[Piece]:
        """The pieces whose shards are missing in the store."""
        for shard_index in store.missing(self.request.key):
            yield self.piece(shard_index, store.layout)

    def piece(self, shard_index: int, layout: Layout) -> Piece:
        """The piece of one shard."""
        first, stop = layout.shard_clips(len(self.clips), shard_index)
        clips = self.clips[first:stop]
        return Piece(self.request.key, self.request.path, shard_index, clips, self.backend, self.video, self.modified)


@dataclass(frozen=True)
class VideoKept:
    """A complete video whose file is unchanged: nothing is to be done."""

    request: VideoRequest
    remembered: Remembered
    read_bytes: int = 0
    requests: int = 0
    retries: int = 0


@dataclass(frozen=True)
class PlanFailure:
    """A video that cannot be extracted, and why."""

    request: VideoRequest
    reason: str


def refusal(plan: VideoPlan, job: ExtractionJob, store: FeatureStore) -> PlanFailure | None:
    """Why a video is not to be extracted, by the damage that its container shows; None if it is.

    Refused are damaged clips, unless they are allowed or the store holds the video already; and where no clip is sound.
    """
    damaged = damaged_clips(plan.video, plan.clips)
    if not damaged or (len(damaged) < len(plan.clips) and job.allow_damaged):
        return None
    try:
        if store.status(plan.request.key) == "complete":
            return None
        require_sound(plan.video, plan.clips.frame_seconds)
    except DamagedStore:
        return None  # planning the video in the store says so
    except DamagedVideo as error:
        what = f"none of the {len(plan.clips)} clips is sound" if len(damaged) == len(plan.clips) else ALLOW_DAMAGED
        return PlanFailure(plan.request, f"{error}; {what}")
    return None


@dataclass
class PlanSummary:
    """What `longvid extract --plan` prints: one row per video and the totals."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[PlanFailure] = field(default_factory=list)

    @property
    def totals(self) -> dict[str, int | float]:
        """Sums over the videos that can be extracted."""
        names = ("video_seconds", "clips", "files", "bytes", "disk_bytes")
        return {name: sum(row[name] for row in self.rows) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "videos": self.rows,
            "failed": [asdict(failure) for failure in self.failures],
            "totals": self.totals,
        }


def make_recipe(job: ExtractionJob, encoder: Encoder) -> Recipe:
    """The recipe of the features that `job` makes with `encoder`; one blank clip gives the token count."""
    spec, sampling, pooling = encoder.spec, job.sampling_for(encoder.spec), job.pooling_for(encoder.spec)
    geometry = spec.preprocessing
    blank = np.zeros((1, sampling.frames, geometry.height, geometry.width, 3), np.uint8)
    try:
        _, num_tokens, dim = encode_frames(blank, encoder=encoder, pooling=pooling).shape
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        if isinstance(error, LongvidError):
            raise
        size = f"{sampling.frames} x {geometry.height} x {geometry.width}"
        raise EncoderError(
            f"{spec.name}: cannot encode a clip of {size} (frames, height, width): {' '.join(str(error).split())}; "
            "choose another sampling or preprocessing"
        ) from error
    return Recipe(
        encoder=spec.name,
        encoder_config={**spec.config, "weights": WeightsOrigin.of_spec(spec).phrase},
        weights_sha256=spec.weights_sha256,
        sampling=sampling.to_dict(),
        preprocessing=as_json(geometry) | decoder_in_recipe(job.backend),
        pooling=pooling,
        num_tokens=num_tokens,
        dim=dim,
        dtype=job.dtype,
    )


def decoder_in_recipe(backend: str) -> dict[str, Any]:
    """The decoder, where its pixels are so different that features of another one are not interchangeable."""
    return {DECODER: backend} if backend in BACKENDS and BACKENDS[backend].has_own_pixels else {}


def plan_ahead(
    requests: Iterable[VideoRequest],
    *,
    sampling: Sampling,
    job: ExtractionJob,
    measure_one: Measure,
    store: FeatureStore | None = None,
) -> Generator[VideoPlan | VideoKept | PlanFailure, None, None]:
    """Each request's plan or failure, in order, while the next files are read.

    `measure_one`: what reads a file, `MeasuringProcesses` or (in this process) `measure`. Any error with a file is that
    video's failure. With `store`, an unchanged file whose features are complete there is not read through.
    """
    planned, wanted = tee(requests)
    measured = measure_ahead((_wanted(request, sampling, job, store) for request in wanted), measure_one)
    for request, future in zip(planned, measured, strict=True):
        yield _settle(request, future.result, sampling)


def plan_one(
    request: VideoRequest, *, sampling: Sampling, job: ExtractionJob, measure_one: Measure, store: FeatureStore
) -> VideoPlan | VideoKept | PlanFailure:
    """One request's plan or failure, as `plan_ahead` makes them."""
    wanted = _wanted(request, sampling, job, store)
    return _settle(request, lambda: measure_one(wanted), sampling)


def _settle(
    request: VideoRequest, measured: Callable[[], Measured | Unchanged], sampling: Sampling
) -> VideoPlan | VideoKept | PlanFailure:
    try:
        found = measured()
    except Unusable as error:
        return PlanFailure(request, str(error))
    except Exception as error:  # noqa: BLE001 -- one video must not end the others
        return PlanFailure(request, f"{request.path}: {unexpected(error)}")
    if isinstance(found, Unchanged):
        return VideoKept(request, found.remembered, found.read_bytes, found.requests, found.retries)
    return VideoPlan(
        request,
        found.video,
        found.clips,
        found.backend,
        sampling.span,
        found.checks,
        found.modified,
        found.read_bytes,
        found.requests,
        found.retries,
    )


def _wanted(request: VideoRequest, sampling: Sampling, job: ExtractionJob, store: FeatureStore | None) -> Wanted:
    known = None if store is None else _remembered(store, request, sampling)
    part_seconds = (request.start_seconds, request.end_seconds)
    return Wanted(
        request.path,
        part_seconds,
        sampling,
        job.backend,
        job.allow_truncated,
        job.full_hash,
        request.sha256,
        known,
        job.storage,
    )


def _remembered(store: FeatureStore, request: VideoRequest, sampling: Sampling) -> Remembered | None:
    try:
        record = store.whole_record(request.key)
    except StoreError:
        return None  # planning the video names the fault
    listed = [request.start_seconds, request.end_seconds] if sampling.span == "listed" else None
    return None if record is None else Remembered.of(record.source, part_seconds=listed)


def summarise_plan(
    requests: Iterable[VideoRequest],
    job: ExtractionJob,
    *,
    store: FeatureStore,
    sampling: Sampling,
    measure_one: Measure = measure,
) -> PlanSummary:
    """The bytes, files and clips that an extraction would write into `store`; nothing is written."""
    summary = PlanSummary()
    for planned in plan_ahead(requests, sampling=sampling, job=job, measure_one=measure_one):
        if isinstance(planned, PlanFailure):
            summary.failures.append(planned)
            continue
        assert isinstance(planned, VideoPlan)  # without a store to keep from, every file is planned
        refused = refusal(planned, job, store)
        if refused is not None:
            summary.failures.append(refused)
            continue
        num_clips = len(planned.clips)
        key, seconds = planned.request.key, planned.clips.seconds
        source = planned.source(made_with(job, planned.backend))
        size = store.estimate(num_clips, key=key, seconds=seconds, source=source)
        summary.rows.append(
            {
                "key": planned.request.key,
                "path": planned.request.path,
                "video_seconds": planned.video.end_seconds - planned.video.begin_seconds,
                "clips": num_clips,
                "files": size.files,
                "bytes": size.token_bytes,
                "disk_bytes": size.disk_bytes,
                "backend": planned.backend,
                "problems": list(planned.video.problems),
            }
        )
    return summary
