"""Stage one as a whole: plan every video, run what is missing, report.

A video whose pieces are all in the store is completed; a video that fails becomes a row of the report.
"""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from longvid.encoders import Encoder
from longvid.errors import ConfigError
from longvid.pipelines.extraction.cluster import ClusterSettings, connect
from longvid.pipelines.extraction.dask_executor import DaskExecutor, EncoderPlugin
from longvid.pipelines.extraction.executors import EncoderSource, Executor, InlineExecutor, SerialExecutor
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.measuring import Measure, MeasuringProcesses, measure
from longvid.pipelines.extraction.outcomes import PieceFailure, unexpected
from longvid.pipelines.extraction.piece import Piece, PieceResult
from longvid.pipelines.extraction.plan import PlanFailure, VideoKept, VideoPlan, make_recipe, plan_ahead, refusal
from longvid.pipelines.extraction.report import RunReport, VideoRow, open_report
from longvid.stores import DamagedStore, FeatureStore, StoreAccessError, StoreError, StoreReadOnly
from longvid.stores.layout import DEFAULT_CLIPS_PER_SHARD
from longvid.video.backends import require_backend
from longvid.video.traffic import Traffic

DEADLINE_SECONDS = 3600.0
"""Default time limit per piece."""


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


def extract(
    requests: Sequence[VideoRequest],
    job: ExtractionJob,
    location: str | Path,
    *,
    encoder: Encoder | None = None,
    scheduler: str = "serial",
    workers: int | None = None,
    interface: str | None = None,
    dashboard: bool = False,
    keys: Path | None = None,
    slurm_options: Mapping[str, Any] | None = None,
    clips_per_shard: int = DEFAULT_CLIPS_PER_SHARD,
    compression: str | None = None,
    report_path: Path | None = None,
    progress: Progress | None = None,
    deadline_seconds: float | None = None,
) -> RunReport:
    """Write the features of every video into the store at `location`; what it already holds is kept.

    `encoder`: a built encoder, used instead of the one that `job` names; it is pickled for other processes.
    `scheduler`: `serial` (a second process, no dask), `local`, `cuda`, `slurm`, `tcp://host:port` or `tls://host:port`;
    or `inline` (this process; a decoder that hangs or crashes ends the run).
    `workers`, `interface`, `dashboard`, `keys`, `slurm_options`: see `ClusterSettings`.
    `deadline_seconds`: a piece that takes longer is given up; None: an hour.
    Videos that cannot be extracted are rows of the report with their reason; the others go on.
    Raises `stores.RecipeMismatch` if the store holds other features, `StoreError` if it cannot be written, and
    `ConfigError` for impossible settings. Workers are started only if there is something to encode.
    """
    settings = ClusterSettings(workers, interface, dashboard, keys, slurm_options or {})
    if str(location).startswith("memory:") and scheduler != "inline":
        raise ConfigError(f"{location}: other processes cannot write to this one's memory; use scheduler='inline'")
    deadline = _check(job, scheduler, settings, clips_per_shard=clips_per_shard, deadline_seconds=deadline_seconds)
    source = EncoderSource(job, encoder)
    # with workers, this process only needs the encoder's spec: a CUDA context here would take a worker's memory
    described = source.load() if scheduler == "inline" else source.describe()
    recipe = make_recipe(job, described)
    store = FeatureStore.create(
        location,
        recipe,
        clips_per_shard=clips_per_shard,
        compression=compression,
        made_with=job.made_with(),
        storage_options=job.storage.options_of(str(location)),
    )
    sampling = job.sampling_for(described.spec)
    with (
        open_report(report_path) as report,
        _measuring(scheduler, deadline) as measure_one,
        closing(plan_ahead(requests, sampling=sampling, job=job, measure_one=measure_one, store=store)) as planned,
    ):
        run = _Run(store, job, report, progress or Silent())
        begin = time.perf_counter()
        pieces = run.pieces(planned)
        first = next(pieces, None)
        if first is not None:
            with ExitStack() as stack:
                executor = _executor(scheduler, stack, described, source, store, settings, deadline)
                report.workers = executor.workers
                run.execute(executor, chain([first], pieces))
        store.update_catalogue()
        report.wall_seconds = time.perf_counter() - begin
        return report


def _check(
    job: ExtractionJob,
    scheduler: str,
    settings: ClusterSettings,
    *,
    clips_per_shard: int,
    deadline_seconds: float | None,
) -> float:
    """Refuse settings that would fail for every video or be ignored; return the deadline in force."""
    require_backend(job.backend)
    for name, value in (("clips_per_shard", clips_per_shard), ("workers", settings.workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")
    if deadline_seconds is not None and not deadline_seconds > 0:
        raise ConfigError(f"deadline_seconds={deadline_seconds}: must be more than 0")
    if scheduler == "inline" and deadline_seconds is not None:
        raise ConfigError("deadline_seconds: scheduler='inline' cannot end what runs in its own process; use 'serial'")
    if scheduler in ("serial", "inline"):
        if settings.workers not in (None, 1):
            raise ConfigError(f"workers={settings.workers}: scheduler={scheduler!r} has one; use 'local'")
        for name in ("interface", "dashboard", "keys", "slurm_options"):
            if getattr(settings, name):
                raise ConfigError(f"{name}: is for local, cuda and slurm; scheduler={scheduler!r} opens no connection")
    elif settings.slurm_options and scheduler != "slurm":
        raise ConfigError(f"slurm_options: are for scheduler='slurm', not {scheduler!r}")
    return DEADLINE_SECONDS if deadline_seconds is None else deadline_seconds


@contextmanager
def _measuring(scheduler: str, deadline_seconds: float) -> Iterator[Measure]:
    """What reads the files for planning: processes that can be ended, or for `inline` this process."""
    if scheduler == "inline":
        yield measure
        return
    with MeasuringProcesses(deadline_seconds=deadline_seconds) as processes:
        yield processes


def _executor(
    scheduler: str,
    stack: ExitStack,
    described: Encoder,
    source: EncoderSource,
    store: FeatureStore,
    settings: ClusterSettings,
    deadline_seconds: float,
) -> Executor:
    """The executor for `scheduler`; what it starts ends with the stack."""
    if scheduler == "inline":
        return InlineExecutor(encoder=described, store=store, job=source.job)
    if scheduler == "serial":
        return stack.enter_context(SerialExecutor(source, store, deadline_seconds=deadline_seconds))
    client = stack.enter_context(connect(scheduler, settings))
    plugin = EncoderPlugin(source, store)
    return stack.enter_context(DaskExecutor(client, plugin, deadline_seconds=deadline_seconds))


@dataclass
class _Open:
    """A video whose pieces are under way."""

    row: VideoRow
    waiting: int
    reasons: list[str] = field(default_factory=list)


class _Run:
    """The coordinator's state: the videos under way and their rows of the report."""

    def __init__(self, store: FeatureStore, job: ExtractionJob, report: RunReport, progress: Progress) -> None:
        self._store = store
        self._job = job
        self._report = report
        self._progress = progress
        self._open: dict[str, _Open] = {}

    def execute(self, executor: Executor, pieces: Iterator[Piece]) -> None:
        """Run the pieces; close each video after its last one."""
        for outcome in executor.run(pieces):
            self._settle(outcome)

    def pieces(self, planned: Iterator[VideoPlan | VideoKept | PlanFailure]) -> Iterator[Piece]:
        """Every missing piece of every planned video; a video without missing ones is closed at once."""
        for found in planned:
            plan = refusal(found, self._job, self._store) or found if isinstance(found, VideoPlan) else found
            if isinstance(plan, PlanFailure):
                self._end(VideoRow(plan.request.key, plan.request.path, "failed", plan.reason))
                continue
            if isinstance(plan, VideoKept):
                row = _kept_row(plan)
                _count(row, plan.traffic)
                self._note_partial(row)
                self._end(row)
                continue
            pieces = self._begin(plan)
            yield from pieces

    def _begin(self, plan: VideoPlan) -> list[Piece]:
        """Plan the video in the store; return its missing pieces."""
        row = VideoRow(
            plan.request.key,
            plan.request.path,
            video_seconds=plan.video.end_seconds - plan.video.begin_seconds,
            backend=plan.backend,
            problems=list(plan.video.problems),
        )
        _count(row, plan.traffic)
        pieces: list[Piece] = []
        with self._named(row):
            self._store.plan(row.key, plan.clips.seconds, plan.source())
            pieces = list(plan.pieces(self._store))
            if pieces and row.key in self._store:
                # its digests are recorded and nothing is written into it: only `repair` knows what of the rest is sound
                lost, pieces = ", ".join(str(piece.shard_index) for piece in pieces[:8]), []
                raise DamagedStore(
                    f"{self._store.location}: video {row.key!r} is complete, but shards of it are missing ({lost}); "
                    f"run `longvid repair {shlex.quote(self._store.location)}`, then extract it again"
                )
            if not pieces:
                self._complete(row)
                row.status = "kept"
        if not pieces:
            self._end(row)
            return []
        self._open[row.key] = _Open(row, len(pieces))
        self._progress.planned(clips=sum(len(piece.plan) for piece in pieces))
        return pieces

    def _settle(self, outcome: PieceResult | PieceFailure) -> None:
        video = self._open[outcome.key]
        video.waiting -= 1
        if isinstance(outcome, PieceFailure):
            if outcome.fatal:
                raise StoreAccessError(outcome.reason)
            video.reasons.append(outcome.reason)
        else:
            row = video.row
            row.num_clips += outcome.num_clips
            row.decode_seconds += outcome.decode_seconds
            row.encode_seconds += outcome.encode_seconds
            row.write_seconds += outcome.write_seconds
            _count(row, outcome)
            self._progress.encoded(clips=outcome.num_clips)
        if video.waiting == 0:
            self._close(self._open.pop(outcome.key))

    def _close(self, video: _Open) -> None:
        if video.reasons:
            video.row.status = "failed"
            video.row.reason = video.reasons[0]
        else:
            with self._named(video.row):
                self._complete(video.row)
        self._end(video.row)

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

    @contextmanager
    def _named(self, row: VideoRow) -> Iterator[None]:
        """An error in the block is this video's failure, unless the store as a whole cannot be written."""
        try:
            yield
        except (StoreAccessError, StoreReadOnly):
            raise
        except StoreError as error:
            row.status, row.reason = "failed", str(error)
        except Exception as error:  # noqa: BLE001 -- one video must not end the others
            row.status, row.reason = "failed", f"{row.path}: {unexpected(error)}"

    def _end(self, row: VideoRow) -> None:
        self._report.add(row)
        self._progress.ended(row)


def _count(row: VideoRow, cost: Traffic | PieceResult) -> None:
    """Add to the row what reading the video from a URL took."""
    row.requests += cost.requests
    row.read_bytes += cost.read_bytes
    row.retries += cost.retries


def _kept_row(kept: VideoKept) -> VideoRow:
    known = kept.remembered
    return VideoRow(
        kept.request.key,
        kept.request.path,
        "kept",
        video_seconds=known.video_seconds,
        backend=known.backend,
        problems=list(known.problems),
    )
