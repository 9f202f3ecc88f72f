"""What an extraction will do to each video, before it does it: clips, shards and bytes."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from longvid.clips.sampling import ClipPlan, Sampling
from longvid.encoders import Encoder
from longvid.encoders.origin import WeightsOrigin
from longvid.errors import LongvidError, TruncatedVideo
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.probes import probe_once
from longvid.pipelines.extraction.segment import Segment, encode_frames
from longvid.plain import as_json
from longvid.stores import FeatureStore, Recipe
from longvid.video import VideoProbe
from longvid.video.backends import resolve_backend
from longvid.video.content import checks, modified

PROBES_AHEAD = 8
"""Videos whose demux pass may run ahead of the segments: enough that workers never wait for one."""


@dataclass(frozen=True)
class VideoPlan:
    """A probed video and its clips."""

    request: VideoRequest
    video: VideoProbe
    clips: ClipPlan
    backend: str
    span: Literal["whole", "listed"] = "whole"
    checks: dict[str, str] = field(default_factory=dict)
    """What is known of the whole file's content; see `longvid.video.content`."""

    def source(self) -> dict[str, Any]:
        """What the store remembers of the file and of its part: enough to notice that either was replaced.

        What stands under `checks` is compared where both sides know it. What stands under `about` is told and never
        compared: it is measured from a file that is known by its fingerprint, or is prose, or (when the file was last
        written) says nothing of what is in it.
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
            "modified": modified(self.request.path),
        }
        return (listed if self.span == "listed" else {}) | {
            "size_bytes": self.video.size_bytes,
            "fingerprint": self.video.fingerprint,
            "stream_index": self.video.stream_index,
            "checks": self.checks,
            "about": about,
        }

    def segments(self, store: FeatureStore) -> Iterator[Segment]:
        """The segments whose shards the store does not hold yet."""
        for shard_index in store.missing(self.request.key):
            first, stop = store.shard_clips(self.request.key, shard_index)
            yield Segment(
                self.request.key,
                self.request.path,
                shard_index,
                self.clips[first:stop],
                self.backend,
                self.video.fingerprint,
            )


@dataclass(frozen=True)
class PlanFailure:
    """A video that cannot be extracted, and why."""

    request: VideoRequest
    reason: str


@dataclass
class PlanSummary:
    """What `longvid extract --plan` prints: one row a video and the totals."""

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
    """The recipe of what `job` makes with `encoder`; the token count is measured on one blank clip."""
    spec, sampling, pooling = encoder.spec, job.sampling_for(encoder.spec), job.pooling_for(encoder.spec)
    geometry = spec.preprocessing
    blank = np.zeros((1, sampling.frames, geometry.height, geometry.width, 3), np.uint8)
    _, num_tokens, dim = encode_frames(blank, encoder=encoder, pooling=pooling).shape
    return Recipe(
        encoder=spec.name,
        encoder_config={**spec.config, "weights": WeightsOrigin.of_spec(spec).phrase},
        weights_sha256=spec.weights_sha256,
        sampling=sampling.to_dict(),
        preprocessing=as_json(geometry),
        pooling=pooling,
        num_tokens=num_tokens,
        dim=dim,
        dtype=job.dtype,
    )


def plan_video(request: VideoRequest, *, sampling: Sampling, job: ExtractionJob) -> VideoPlan:
    """Probe one video and choose its clips and its decoder. Raises `VideoError` for one that cannot be used."""
    video = probe_once(request.path)
    if video.truncated and not job.allow_truncated:
        raise TruncatedVideo(
            f"{request.path}: {'; '.join(video.problems)}; use --allow-truncated to extract what is there"
        )
    clips = sampling.plan_video(video, (request.start_seconds, request.end_seconds))
    known = checks(video.packets_crc32c, path=video.path if job.full_hash else None)
    return VideoPlan(request, video, clips, resolve_backend(video, job.backend), sampling.span, known)


def plan_ahead(
    requests: Iterable[VideoRequest], *, sampling: Sampling, job: ExtractionJob
) -> Iterator[VideoPlan | PlanFailure]:
    """Each request's plan or failure, in order, while the next ones are probed in threads."""
    with ThreadPoolExecutor(PROBES_AHEAD, thread_name_prefix="longvid-probe") as pool:
        waiting: deque[tuple[VideoRequest, Future[VideoPlan]]] = deque()
        for request in requests:
            waiting.append((request, pool.submit(plan_video, request, sampling=sampling, job=job)))
            if len(waiting) >= PROBES_AHEAD:
                yield _settle(*waiting.popleft())
        while waiting:
            yield _settle(*waiting.popleft())


def _settle(request: VideoRequest, planned: "Future[VideoPlan]") -> VideoPlan | PlanFailure:
    try:
        return planned.result()
    except (LongvidError, OSError) as error:
        return PlanFailure(request, str(error))


def summarise_plan(
    requests: Iterable[VideoRequest], job: ExtractionJob, *, store: FeatureStore, sampling: Sampling
) -> PlanSummary:
    """Bytes, files and clips an extraction would make in a store of this recipe and layout, without making any."""
    summary = PlanSummary()
    for planned in plan_ahead(requests, sampling=sampling, job=job):
        if isinstance(planned, PlanFailure):
            summary.failures.append(planned)
            continue
        num_clips = len(planned.clips)
        key, seconds = planned.request.key, planned.clips.seconds
        size = store.estimate(num_clips, key=key, seconds=seconds, source=planned.source())
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
