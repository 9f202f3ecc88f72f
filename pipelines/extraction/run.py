"""Stage one as a whole: plan every video, run the missing segments, complete what is there, report what is not."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

from longvid.encoders import Encoder
from longvid.errors import ConfigError
from longvid.pipelines.extraction.cluster import connect
from longvid.pipelines.extraction.dask_executor import DaskExecutor, EncoderPlugin
from longvid.pipelines.extraction.executors import Executor, SegmentFailure, SerialExecutor
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.plan import PlanFailure, VideoPlan, make_recipe, plan_ahead
from longvid.pipelines.extraction.report import RunReport, VideoRow, open_report
from longvid.pipelines.extraction.segment import Segment, SegmentResult
from longvid.stores import FeatureStore, SourceChanged, StoreAccessError
from longvid.stores.layout import DEFAULT_CLIPS_PER_SHARD
from longvid.video.backends import require_backend


@runtime_checkable
class Progress(Protocol):
    """Hears how far a run is; the command line draws it."""

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
    """A `Progress` that says nothing."""

    def planned(self, *, clips: int) -> None:
        """Say nothing."""

    def encoded(self, *, clips: int) -> None:
        """Say nothing."""

    def ended(self, row: VideoRow) -> None:
        """Say nothing."""


def extract(
    requests: Sequence[VideoRequest],
    job: ExtractionJob,
    location: str | Path,
    *,
    scheduler: str = "serial",
    workers: int | None = None,
    clips_per_shard: int = DEFAULT_CLIPS_PER_SHARD,
    compression: str | None = None,
    report_path: Path | None = None,
    progress: Progress | None = None,
    deadline_seconds: float = 3600.0,
) -> RunReport:
    """Features of every video in the store at `location`; what it already holds is kept, never encoded again.

    `scheduler`: `serial` (this process, no dask), `local`, `cuda`, `slurm` or `tcp://host:port`.
    Videos that cannot be extracted are rows of the report with their reason; the others go on.
    Raises `stores.RecipeMismatch` where the store holds other features, `StoreError` where it cannot be written, and
    `ConfigError` for a setting that is impossible; workers are started only where there is something to encode.
    """
    _check(job, clips_per_shard=clips_per_shard, workers=workers, deadline_seconds=deadline_seconds)
    # with workers, this process only describes the encoder: a CUDA context here would take a worker's memory
    encoder = (job if scheduler == "serial" else replace(job, device="cpu")).build()
    recipe = make_recipe(job, encoder)
    store = FeatureStore.create(location, recipe, clips_per_shard=clips_per_shard, compression=compression)
    sampling = job.sampling_for(encoder.spec)
    with open_report(report_path) as report:
        run = _Run(store, report, progress or Silent())
        begin = time.perf_counter()
        segments = run.segments(plan_ahead(requests, sampling=sampling, job=job))
        first = next(segments, None)
        if first is not None:
            with _executor(
                scheduler, encoder, store, job, workers=workers, deadline_seconds=deadline_seconds
            ) as executor:
                report.workers = executor.workers
                run.execute(executor, chain([first], segments))
        store.update_catalogue()
        report.wall_seconds = time.perf_counter() - begin
        return report


def _check(job: ExtractionJob, *, clips_per_shard: int, workers: int | None, deadline_seconds: float) -> None:
    """Refuse what would fail for every video, before anything is made."""
    require_backend(job.backend)
    for name, value in (("clips_per_shard", clips_per_shard), ("workers", workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")
    if not deadline_seconds > 0:
        raise ConfigError(f"deadline_seconds={deadline_seconds}: must be more than 0")


@contextmanager
def _executor(
    scheduler: str,
    encoder: Encoder,
    store: FeatureStore,
    job: ExtractionJob,
    *,
    workers: int | None,
    deadline_seconds: float,
) -> Iterator[Executor]:
    """The executor of that name; a cluster started for it ends with the block."""
    if scheduler == "serial":
        yield SerialExecutor(encoder=encoder, store=store, job=job)
        return
    with (
        connect(scheduler, workers=workers) as client,
        DaskExecutor(client, EncoderPlugin(job, store), deadline_seconds=deadline_seconds) as executor,
    ):
        yield executor


@dataclass
class _Open:
    """A video whose segments are under way."""

    row: VideoRow
    waiting: int
    reasons: list[str] = field(default_factory=list)


class _Run:
    """The coordinator's memory: which videos are under way, and what their rows will say."""

    def __init__(self, store: FeatureStore, report: RunReport, progress: Progress) -> None:
        self._store = store
        self._report = report
        self._progress = progress
        self._open: dict[str, _Open] = {}

    def execute(self, executor: Executor, segments: Iterator[Segment]) -> None:
        """Run the segments, and close each video with its last one."""
        for outcome in executor.run(segments):
            self._settle(outcome)

    def segments(self, planned: Iterator[VideoPlan | PlanFailure]) -> Iterator[Segment]:
        """Every missing segment of every planned video; a video without any is closed when its turn comes."""
        for plan in planned:
            if isinstance(plan, PlanFailure):
                self._end(VideoRow(plan.request.key, plan.request.path, "failed", plan.reason))
                continue
            segments = self._begin(plan)
            yield from segments

    def _begin(self, plan: VideoPlan) -> list[Segment]:
        """Plan the video in the store; its missing segments."""
        row = VideoRow(
            plan.request.key,
            plan.request.path,
            video_seconds=plan.video.end_seconds - plan.video.begin_seconds,
            backend=plan.backend,
            problems=list(plan.video.problems),
        )
        try:
            self._store.plan(row.key, plan.clips.seconds, plan.source())
        except SourceChanged as error:
            row.status, row.reason = "failed", str(error)
            self._end(row)
            return []
        segments = list(plan.segments(self._store))
        if not segments:
            row.status = "kept"
            self._store.complete(row.key)
            self._end(row)
            return []
        self._open[row.key] = _Open(row, len(segments))
        self._progress.planned(clips=sum(len(segment.plan) for segment in segments))
        return segments

    def _settle(self, outcome: SegmentResult | SegmentFailure) -> None:
        video = self._open[outcome.key]
        video.waiting -= 1
        if isinstance(outcome, SegmentFailure):
            if outcome.fatal:
                raise StoreAccessError(outcome.reason)
            video.reasons.append(outcome.reason)
        else:
            row = video.row
            row.num_clips += outcome.num_clips
            row.decode_seconds += outcome.decode_seconds
            row.encode_seconds += outcome.encode_seconds
            row.write_seconds += outcome.write_seconds
            self._progress.encoded(clips=outcome.num_clips)
        if video.waiting == 0:
            self._close(self._open.pop(outcome.key))

    def _close(self, video: _Open) -> None:
        if video.reasons:
            video.row.status = "failed"
            video.row.reason = video.reasons[0]
        else:
            self._store.complete(video.row.key)
        self._end(video.row)

    def _end(self, row: VideoRow) -> None:
        self._report.add(row)
        self._progress.ended(row)
