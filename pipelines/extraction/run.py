"""Stage one as a whole: workers extract every video; the report.

The coordinating process opens no video and reads no feature: it deals out assignments and writes down what they came
to. A video that fails becomes a row of the report.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.encoders import Encoder
from longvid.encoders.registry import names_code
from longvid.errors import ConfigError
from longvid.pipelines.extraction.beside import Beside
from longvid.pipelines.extraction.cluster import ClusterSettings, connect
from longvid.pipelines.extraction.coordinating import Progress, Run, Silent
from longvid.pipelines.extraction.dask_executor import DaskExecutor, ExtractionPlugin
from longvid.pipelines.extraction.dealing import Dealer
from longvid.pipelines.extraction.events import open_events
from longvid.pipelines.extraction.executors import EncoderSource, Executor, InlineExecutor, SerialExecutor, WorkSource
from longvid.pipelines.extraction.failed_before import Failed, after_failures
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.measuring import measure
from longvid.pipelines.extraction.own_modules import Sources, own_sources
from longvid.pipelines.extraction.plan import make_recipe
from longvid.pipelines.extraction.report import RunReport, default_report_path, open_report
from longvid.pipelines.extraction.share import Share
from longvid.pipelines.extraction.ssh import hosts_of
from longvid.pipelines.extraction.status import StatusWriter, all_shares_ended, writing_status
from longvid.pipelines.extraction.tally import Tally
from longvid.pipelines.notebook_progress import NotebookExtraction, in_notebook
from longvid.stores import FeatureStore, Recipe
from longvid.stores.layout import DEFAULT_CLIPS_PER_SHARD
from longvid.video.backends import require_backend

if TYPE_CHECKING:
    from longvid.pipelines.extraction.together import Target

DEADLINE_SECONDS = 3600.0
"""Default time limit per piece."""


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
    reached = job.storage.options_of(str(location))
    requests, skipped = after_failures(requests, report_path or default_report_path(str(location), share), failed)
    created = partial(
        FeatureStore.create,
        location,
        clips_per_shard=clips_per_shard,
        compression=compression,
        made_with=job.made_with(),
        storage_options=reached,
    )
    parts = _parts(EncoderSource(job, encoder), created, others, deadline, inline=scheduler == "inline")
    listed = len(requests) if isinstance(requests, Sized) else None
    if share is not None:
        listed = None if listed is None else sum(share.holds(request.key) for request in requests)
        requests = (request for request in requests if share.holds(request.key))
    dealer = Dealer(requests, clips_per_shard=parts.stores[0].clips_per_shard, deadline_seconds=deadline, listed=listed)
    tally, beside = Tally(listed=listed), Beside.of(location, reached)
    with open_events(log_path) as events, open_report(report_path) as report:
        begin = time.perf_counter()
        run = Run(report, progress or (NotebookExtraction() if in_notebook() else Silent()), tally, events)
        told = None if report.path is None else str(report.path.absolute())
        with writing_status(StatusWriter(beside, tally, share=share, report=told, workers=run.workers)):
            events.emit("run started", store=str(location), scheduler=scheduler, videos=listed, share=_words(share))
            run.skip(skipped)
            with _executor(scheduler, parts.described, parts.source, parts.work, settings) as executor:
                begin = time.perf_counter()
                run.execute(executor, dealer)
            if share is None:
                _update_catalogues(parts.stores)
            report.wall_seconds = time.perf_counter() - begin
            events.emit("run ended", counts=dict(report.counts), clips=report.num_clips, seconds=report.wall_seconds)
    if share is not None and all_shares_ended(location, share, reached):
        _update_catalogues(parts.stores)
    return report


@dataclass(frozen=True)
class _Parts:
    """What a run works with."""

    described: Encoder
    """The encoder, for its spec or, in this process, for its work."""
    source: EncoderSource
    work: WorkSource
    stores: Sequence[FeatureStore]


def _parts(
    source: EncoderSource,
    created: Callable[[Recipe], FeatureStore],
    others: "Sequence[Target]",
    deadline: float,
    *,
    inline: bool,
) -> _Parts:
    """The encoders and the stores that are made for them, or opened."""
    job = source.job
    # with workers, this process only needs the encoder's spec: a CUDA context here would take a worker's memory
    described = source.load() if inline else source.describe()
    store = created(make_recipe(job, described))
    work = WorkSource(store, replace(job, encoder=None), job.sampling_for(described.spec), deadline)
    if not others:
        return _Parts(described, source, work, [store])
    from longvid.pipelines.extraction.together import with_others

    source, described, together = with_others(source, described, work, others, inline=inline)
    return _Parts(described, source, together, together.stores)


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
