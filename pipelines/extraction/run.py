"""Stage one as a whole: workers extract every video; the report.

The coordinating process opens no video and reads no feature: it deals out assignments and writes down what they came
to. A video that fails becomes a row of the report.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from longvid.encoders import Encoder
from longvid.encoders.registry import names_code
from longvid.errors import ConfigError
from longvid.pipelines.extraction.assignments import Assignment, Died, Returned
from longvid.pipelines.extraction.beside import Beside
from longvid.pipelines.extraction.cluster import ClusterSettings, connect
from longvid.pipelines.extraction.dask_executor import DaskExecutor, ExtractionPlugin
from longvid.pipelines.extraction.dealing import Dealer
from longvid.pipelines.extraction.events import Events, open_events
from longvid.pipelines.extraction.executors import EncoderSource, Executor, InlineExecutor, SerialExecutor, WorkSource
from longvid.pipelines.extraction.failed_before import Failed, after_failures
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.measuring import measure
from longvid.pipelines.extraction.outcomes import Outcome, PieceFailure
from longvid.pipelines.extraction.own_modules import Sources, own_sources
from longvid.pipelines.extraction.plan import make_recipe
from longvid.pipelines.extraction.report import RunReport, VideoRow, default_report_path, open_report
from longvid.pipelines.extraction.share import Share
from longvid.pipelines.extraction.ssh import hosts_of
from longvid.pipelines.extraction.status import StatusWriter, all_shares_ended, writing_status
from longvid.pipelines.extraction.tally import Tally
from longvid.pipelines.notebook_progress import NotebookExtraction, in_notebook
from longvid.stores import FeatureStore, StoreAccessError
from longvid.stores.layout import DEFAULT_CLIPS_PER_SHARD
from longvid.video.backends import require_backend

if TYPE_CHECKING:
    from longvid.pipelines.extraction.together import Target

DEADLINE_SECONDS = 3600.0
"""Default time limit per piece."""
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


def extract(
    requests: Iterable[VideoRequest],
    job: ExtractionJob,
    location: str | Path,
    *,
    encoder: Encoder | None = None,
    scheduler: str = "serial",
    workers: int | None = None,
    interface: str | None = None,
    dashboard: bool = False,
    keys: Path | None = None,
    remote_python: str | None = None,
    slurm_options: Mapping[str, Any] | None = None,
    clips_per_shard: int = DEFAULT_CLIPS_PER_SHARD,
    compression: str | None = None,
    report_path: Path | None = None,
    progress: Progress | None = None,
    deadline_seconds: float | None = None,
    failed: Failed = "try",
    share: Share | None = None,
    log_path: Path | None = None,
    others: "Sequence[Target]" = (),
) -> RunReport:
    """Write the features of every video into the store at `location`; what it already holds is kept.

    `encoder`: a built encoder, used instead of the one that `job` names; it is pickled for other processes.
    `scheduler`: `serial` (a second process, no dask), `local`, `cuda`, `slurm`, `ssh host1,host2`, `tcp://host:port`,
    `tls://host:port`; or `inline` (this process; a decoder that hangs or crashes ends the run).
    `workers`, `interface`, `dashboard`, `keys`, `remote_python`, `slurm_options`: see `ClusterSettings`.
    `deadline_seconds`: a piece that takes longer is given up; None: an hour.
    `failed`: videos that failed in the last run into this store are tried again ("try"), left out unless their files
    have changed since ("skip"), or are all that is tried ("only").
    `requests` may be an iterator; then the run's status does not say how much is left.
    `share`: only these of the videos; the last share to end completes the store's catalogue.
    `log_path`: a file to which events are appended, one JSON object per line.
    `others`: more encoders, each with its own store; what they all want of a video is decoded once.
    Videos that cannot be extracted are rows of the report with their reason; the others go on.
    Raises `stores.RecipeMismatch` if the store holds other features, `StoreError` if it cannot be written, and
    `ConfigError` for impossible settings. Workers load the encoder only if there is something to encode.
    """
    settings = ClusterSettings(workers, interface, dashboard, keys, remote_python, slurm_options or {})
    if str(location).startswith("memory:") and scheduler != "inline":
        raise ConfigError(f"{location}: other processes cannot write to this one's memory; use scheduler='inline'")
    deadline = _check(job, scheduler, settings, clips_per_shard=clips_per_shard, deadline_seconds=deadline_seconds)
    source = EncoderSource(job, encoder)
    # with workers, this process only needs the encoder's spec: a CUDA context here would take a worker's memory
    described = source.load() if scheduler == "inline" else source.describe()
    recipe = make_recipe(job, described)
    before = report_path or default_report_path(str(location), share)
    requests, skipped = after_failures(requests, before, failed)
    reached = job.storage.options_of(str(location))
    store = FeatureStore.create(
        location,
        recipe,
        clips_per_shard=clips_per_shard,
        compression=compression,
        made_with=job.made_with(),
        storage_options=reached,
    )
    work = WorkSource(store, replace(job, encoder=None), job.sampling_for(described.spec), deadline)
    stores = [store]
    if others:
        from longvid.pipelines.extraction.together import with_others

        source, described, work = with_others(source, described, work, others, inline=scheduler == "inline")
        stores = work.stores
    listed = len(requests) if isinstance(requests, Sized) else None
    if share is not None:
        listed = None if listed is None else sum(share.holds(request.key) for request in requests)
        requests = (request for request in requests if share.holds(request.key))
    dealer = Dealer(requests, clips_per_shard=store.clips_per_shard, deadline_seconds=deadline)
    tally, beside = Tally(listed=listed), Beside.of(location, reached)
    with open_events(log_path) as events, open_report(report_path) as report:
        begin = time.perf_counter()
        run = Run(report, progress or (NotebookExtraction() if in_notebook() else Silent()), tally, events)
        told = None if report.path is None else str(report.path.absolute())
        with writing_status(StatusWriter(beside, tally, share=share, report=told, workers=run.workers)):
            events.emit("run started", store=str(location), scheduler=scheduler, videos=listed, share=_words(share))
            run.skip(skipped)
            with _executor(scheduler, described, source, work, settings) as executor:
                begin = time.perf_counter()
                run.execute(executor, dealer)
            if share is None:
                _update_catalogues(stores)
            report.wall_seconds = time.perf_counter() - begin
            events.emit("run ended", counts=dict(report.counts), clips=report.num_clips, seconds=report.wall_seconds)
    if share is not None and all_shares_ended(location, share, reached):
        _update_catalogues(stores)
    return report


def _update_catalogues(stores: Sequence[FeatureStore]) -> None:
    for store in stores:
        store.update_catalogue()


def _words(share: Share | None) -> str | None:
    return None if share is None else str(share)


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
        for name in ("interface", "dashboard", "keys", "remote_python", "slurm_options"):
            if getattr(settings, name):
                raise ConfigError(f"{name}: is for local, cuda and slurm; scheduler={scheduler!r} opens no connection")
    elif settings.remote_python and not hosts_of(scheduler):
        raise ConfigError(f"remote_python: is for scheduler='ssh host1,host2', not {scheduler!r}")
    elif settings.slurm_options and scheduler != "slurm":
        raise ConfigError(f"slurm_options: are for scheduler='slurm', not {scheduler!r}")
    return DEADLINE_SECONDS if deadline_seconds is None else deadline_seconds


@contextmanager
def _executor(
    scheduler: str,
    described: Encoder,
    encoder: EncoderSource,
    work: WorkSource,
    settings: ClusterSettings,
) -> Iterator[Executor]:
    """The executor for `scheduler`; what it starts ends with the block."""
    if scheduler == "inline":
        yield InlineExecutor(work.working(measure), described, encoder.job)
    elif scheduler == "serial":
        with SerialExecutor(encoder, work) as serial:
            yield serial
    else:
        own = _own_code(scheduler, encoder)
        limit = work.deadline_seconds
        with (
            connect(scheduler, settings) as client,
            DaskExecutor(client, ExtractionPlugin(work), encoder, own=own, deadline_seconds=limit) as cluster,
        ):
            yield cluster


def _own_code(scheduler: str, encoder: EncoderSource) -> Sources | None:
    """The sources of the user's own encoders, where workers run elsewhere and cannot import them."""
    if scheduler != "slurm" and "://" not in scheduler and not hosts_of(scheduler):
        return None
    sources: Sources = {}
    for one in (encoder, *getattr(encoder, "others", ())):
        if one.built is None and isinstance(one.job.encoder, str) and names_code(one.job.encoder):
            sources |= own_sources(one.job.encoder)
    return sources or None


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
