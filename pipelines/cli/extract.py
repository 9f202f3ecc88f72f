"""`longvid extract | cluster-keys`: stage one, videos to features."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from longvid.errors import ConfigError
from longvid.pipelines.cli.console import (
    console,
    counted,
    error_console,
    failed_line,
    human_bytes,
    human_seconds,
    print_json,
    printable,
    table,
)
from longvid.pipelines.cli.extract_settings import (
    Context,
    encoders_of,
    preprocessing_of,
    refuse_code_of,
    storage_of,
    take_settings,
)
from longvid.pipelines.cli.options import parse_options, parse_sampling
from longvid.pipelines.cli.own_code import find_own_code
from longvid.pooling_names import Pooling
from longvid.video.storage import RETRIES, STALL_SECONDS

if TYPE_CHECKING:
    from longvid.pipelines.extraction import ExtractionJob, VideoRequest
    from longvid.pipelines.extraction.report import RunReport, VideoRow
    from longvid.pipelines.training.config import FeatureSettings

MAX_ROWS = 40
"""Videos that a run lists one by one; a larger run lists only the failed ones."""

FEW = 3
"""Videos with one kind of note that are named one by one."""

POOLINGS = get_args(Pooling)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    panel = "Stage one: videos to features"
    app.command(rich_help_panel=panel)(extract)
    app.command(name="cluster-keys", rich_help_panel=panel)(cluster_keys)


def extract(
    context: Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Video files, folders of them, tar shards or manifests; or URLs of these (s3://, https://)."
        ),
    ],
    out: Annotated[
        list[str],
        typer.Option(
            "--out", "-o", help="The store: a folder, or a URL such as s3://bucket/x.zarr; one for each --encoder."
        ),
    ],
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="FILE",
            help="A file (YAML) with any of these options and with `storage`; the command line overrides it.",
            is_eager=True,
            callback=take_settings,
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            "-e",
            help="A name of `longvid encoders`, a folder or hub id, or module:callable; several, each with its --out, "
            "share one decoding.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Take the feature settings of this training recipe; the other options override them. With another "
            "--encoder, the recipe's sampling, pooling and dtype still apply."
        ),
    ] = None,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Import the module:callable that your own --recipe file names."),
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the encoder; repeatable.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Checkpoint file of the encoder.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
    sampling: Annotated[
        str | None,
        typer.Option(
            help="How clips are taken: frames=16,fps=8,stride_seconds=2 or frames=32,segments=64; span=listed takes "
            "only the part that the manifest lists; default: the encoder's."
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help=f"Which tokens are kept: {', '.join(POOLINGS[:-1])} or {POOLINGS[-1]}; default: the encoder's."
        ),
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32", "int8"] | None,
        typer.Option(metavar="TYPE", help="Stored type: float16 (default), float32 or int8."),
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(metavar="TYPE", help="The encoder's arithmetic: float32, bfloat16 or float16."),
    ] = "float32",
    batch_clips: Annotated[int, typer.Option(help="Clips encoded at once.")] = 8,
    clips_per_shard: Annotated[int, typer.Option(help="Clips per shard: the unit of work and of resuming.")] = 64,
    compression: Annotated[
        str | None, typer.Option(help="zstd (0-8 % smaller, slower to read); default: none.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Video decoder: auto, torchcodec, pyav or decord.")] = "auto",
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Use the part that is there of files that end early.")
    ] = False,
    allow_damaged: Annotated[
        bool,
        typer.Option(
            "--allow-damaged", help="Keep what is sound of damaged files: clips at the damage are marked as not there."
        ),
    ] = False,
    full_hash: Annotated[
        bool,
        typer.Option(
            "--full-hash",
            help="Identify each file by the sha256 of all its bytes, so that any later change is noticed; reads each "
            "file once more.",
        ),
    ] = False,
    scheduler: Annotated[
        str,
        typer.Option(
            help="local, cuda, slurm, tls://host:port, tcp://host:port, serial (one process, no dask) or inline (in "
            "this process: a hang or crash ends the run)."
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes (slurm: jobs); default: one per two cores, one per four with a GPU."),
    ] = None,
    interface: Annotated[
        str | None,
        typer.Option(help="Network interface to listen on, such as eth0; default: loopback (slurm: one address)."),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Serve dask's status page on loopback and print its address.")
    ] = False,
    keys: Annotated[
        Path | None, typer.Option(help="Folder made by `longvid cluster-keys`, for tls:// or slurm; default: new keys.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A setting of the SLURM jobs, repeatable: account, partition, walltime, memory, cores, processes, "
            "gpus, python, log_directory, directive (a #SBATCH line), prologue (a command).",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads per encoder; default: the cores divided among the workers.")
    ] = None,
    deadline_seconds: Annotated[
        float | None, typer.Option(help="A piece of work that takes longer is given up; default: 3600.")
    ] = None,
    skip_failed: Annotated[
        bool,
        typer.Option(
            "--skip-failed", help="Do not try videos again that failed last time, unless their files have changed."
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try only the videos that failed last time; look at no other.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="File of the run's report (JSON lines); default: beside the store.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="INDEX/COUNT",
            help="Extract only this share of the videos, such as 3/64: a run of its own in a SLURM array or a shell.",
        ),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option("--log-file", help="Append events to this file as they happen, as JSON lines.")
    ] = None,
    retries: Annotated[
        int, typer.Option(help="Times that a failed request to a place elsewhere is repeated.")
    ] = RETRIES,
    stall_seconds: Annotated[
        float, typer.Option(help="A request to a place elsewhere that brings nothing for so long has failed.")
    ] = STALL_SECONDS,
    plan: Annotated[bool, typer.Option("--plan", help="Print bytes, files and clips; extract nothing.")] = False,
    as_json: JSON = False,
) -> int:
    """Write the features of every clip of every video into a store; what it already holds is kept."""
    from longvid.pipelines.extraction import ExtractionJob
    from longvid.pipelines.extraction.inputs import ListedVideos
    from longvid.pipelines.extraction.report import default_report_path
    from longvid.pipelines.extraction.share import Share
    from longvid.pipelines.extraction.together import Target
    from longvid.pipelines.training.config import is_recipe_file

    if skip_failed and retry_failed:
        raise ConfigError("--skip-failed leaves out what --retry-failed tries; give one of the two")
    storage = storage_of(context, retries=retries, stall_seconds=stall_seconds)
    names: Sequence[str | None] = encoder or [None]
    if len(names) != len(out):
        raise ConfigError(f"{counted(len(names), 'encoder')} and {counted(len(out), 'store')}: give an --out for each")
    common: dict[str, Any] = {
        "backend": backend,
        "allow_truncated": allow_truncated,
        "allow_damaged": allow_damaged,
        "full_hash": full_hash,
        "torch_threads": threads,
        "storage": storage,
    }
    targets = []
    for own in encoders_of(context):
        refuse_code_of(own.encoder, context, allow_code=allow_code)
        job = ExtractionJob(
            encoder=own.encoder,
            encoder_options=own.option,
            weights=own.weights,
            seed=own.seed,
            sampling=parse_sampling(own.sampling),
            pooling=own.pooling,
            preprocessing=own.preprocessing,
            dtype=own.dtype or "float16",
            precision=own.precision,
            batch_clips=own.batch_clips,
            **common,
        )
        targets.append(Target(job, own.out, own.clips_per_shard, own.compression))
    wanted = None
    for name, place in zip(names, out, strict=True) if not targets else ():
        wanted, notes = _features_of(recipe, name, allow_code=allow_code)
        for note in notes:
            error_console.print(f"note: {note}", style="dim")
        refuse_code_of(name or "", context, allow_code=allow_code)
        find_own_code(name or wanted.encoder)
        job = ExtractionJob(
            encoder=name or wanted.encoder,
            encoder_options=wanted.options | parse_options(option or []),
            weights=weights,
            seed=seed,
            sampling=parse_sampling(sampling) or wanted.the_sampling(),
            pooling=pooling or wanted.pooling,
            preprocessing=wanted.preprocessing | preprocessing_of(context),
            dtype=dtype or wanted.dtype,
            precision=precision,
            batch_clips=batch_clips,
            fetch=name is not None or not is_recipe_file(str(recipe)),
            **common,
        )
        targets.append(Target(job, place, clips_per_shard, compression))
    first, *others = targets
    own_share = None if share is None else Share.parse(share)
    requests = ListedVideos(inputs, storage)
    with _named_wishes(recipe, names[0], wanted, sampling=sampling, pooling=pooling):
        if plan:
            statuses = [
                _print_plan(requests, one.job, one.clips_per_shard, one.compression, as_json) for one in targets
            ]
            return max(statuses)

        from longvid.pipelines.cli.progress import ExtractionProgress
        from longvid.pipelines.extraction import extract as run
        from longvid.pipelines.extraction.slurm import parse_slurm_options

        with ExtractionProgress(
            error_console, videos=len(requests), name_failures=len(requests) > MAX_ROWS
        ) as progress:
            result = run(
                requests,
                first.job,
                first.location,
                scheduler=scheduler,
                workers=workers,
                interface=interface,
                dashboard=dashboard,
                keys=keys,
                slurm_options=parse_slurm_options(slurm or []),
                clips_per_shard=first.clips_per_shard,
                compression=first.compression,
                report_path=report or default_report_path(str(first.location), own_share),
                progress=progress,
                deadline_seconds=deadline_seconds,
                failed="skip" if skip_failed else "only" if retry_failed else "try",
                share=own_share,
                log_path=log_file,
                others=others,
            )
    if as_json:
        print_json(result.to_dict())
    else:
        _print_report(result)
    return result.exit_status


def cluster_keys(
    folder: Annotated[Path, typer.Argument(help="A new folder, on a shared disk or to be copied to each machine.")],
) -> int:
    """Make TLS keys for a dask cluster, and print the commands that start one with them."""
    from longvid.pipelines.extraction.keys import DAYS, make_keys
    from longvid.pipelines.extraction.quiet import QuietWorker

    made = make_keys(folder)
    tls = f"--tls-ca-file {made.certificate} --tls-cert {made.certificate} --tls-key {made.key}"
    # without a dashboard dask's scheduler still serves a page, to everybody unless an address is given
    page = "--dashboard-address 127.0.0.1:8787"
    quiet = f"--worker-class {QuietWorker.__module__}.{QuietWorker.__qualname__}"
    for line in (
        f"keys for {DAYS} days in {folder.absolute()}; whoever can read key.pem can run programs on the cluster",
        "HOST and NODE are the addresses of the scheduler's machine and of each worker's:",
        f"on HOST:        dask scheduler --host tls://HOST --no-dashboard {page} {tls}",
        f"on every NODE:  dask worker tls://HOST:8786 --host NODE --protocol tls --no-dashboard {quiet} {tls}",
        f"where you are:  longvid extract ... --scheduler tls://HOST:8786 --keys {folder.absolute()}",
    ):
        console.print(line, soft_wrap=True)
    return 0


def _features_of(recipe: str | None, encoder: str | None, *, allow_code: bool) -> "tuple[FeatureSettings, list[str]]":
    """The recipe's settings of features, for `encoder` where one is given, and notes about what was dropped.

    The settings name code only where the command line names it too, or allows it.
    """
    from longvid.encoders.registry import names_code
    from longvid.pipelines.training.config import FeatureSettings, load_features

    if recipe is None and encoder is None:
        raise typer.BadParameter("give --encoder NAME, or --recipe NAME to take the encoder of a training recipe")
    if recipe is None:
        return FeatureSettings(encoder=str(encoder)), []
    wanted = load_features(recipe, allow_code=allow_code or encoder is not None)
    if encoder is not None and encoder != wanted.encoder:
        dropped = [name for name in ("options", "preprocessing") if getattr(wanted, name)]
        notes = [f"{' and '.join(dropped)} of {recipe} are for {wanted.encoder}; {encoder} keeps its own"]
        kept = wanted.model_copy(update={"encoder": encoder, "options": {}, "preprocessing": {}})
        return kept, notes if dropped else []
    if names_code(wanted.encoder) and not allow_code and wanted.options:
        raise ConfigError(
            f"{recipe}: has options for {wanted.encoder}, which is code; give them with --option, or --allow-code if "
            "the file is your own"
        )
    notes = [f"importing {wanted.encoder}, which {recipe} names"] if names_code(wanted.encoder) and allow_code else []
    return wanted, notes


@contextmanager
def _named_wishes(
    recipe: str | None,
    encoder: str | None,
    wanted: "FeatureSettings | None",
    *,
    sampling: str | None,
    pooling: str | None,
) -> Iterator[None]:
    """Name the recipe and the remedy where an encoder cannot do what a recipe for another encoder asks for."""
    from longvid.errors import EncoderError

    if wanted is None:
        yield
        return
    wishes = {"--sampling": None if sampling else wanted.sampling, "--pooling": None if pooling else wanted.pooling}
    asked = {flag: value for flag, value in wishes.items() if value is not None}
    try:
        yield
    except EncoderError as error:
        if recipe is None or encoder is None or not asked:
            raise
        told = ", ".join(f"{flag.removeprefix('--')} {value}" for flag, value in asked.items())
        raise EncoderError(f"{error}; {recipe} asks for {told}: give {' or '.join(asked)} beside --encoder") from error


def _print_plan(
    requests: "Iterable[VideoRequest]",
    job: "ExtractionJob",
    clips_per_shard: int,
    compression: str | None,
    as_json: bool,
) -> int:
    from zarr.storage import MemoryStore

    from longvid.pipelines.extraction.measuring import MeasuringProcesses
    from longvid.pipelines.extraction.plan import make_recipe, summarise_plan
    from longvid.pipelines.extraction.report import VideoRow
    from longvid.pipelines.extraction.run import DEADLINE_SECONDS
    from longvid.stores import FeatureStore
    from longvid.video.backends import require_backend

    require_backend(job.backend)
    encoder = job.build()
    recipe = make_recipe(job, encoder)
    # an empty store in memory computes how much space the videos would take
    store = FeatureStore.create(MemoryStore(), recipe, clips_per_shard=clips_per_shard, compression=compression)
    sampling = job.sampling_for(encoder.spec)
    with MeasuringProcesses(deadline_seconds=DEADLINE_SECONDS) as measure_one:
        summary = summarise_plan(requests, job, store=store, sampling=sampling, measure_one=measure_one)
    if as_json:
        print_json(summary.to_dict())
    else:
        on_disk = "on disk" if compression is None else "on disk, at most"
        numbers = ("length", "clips", "files", "tokens", on_disk)
        rows = table("video", *numbers, "decoder", right=numbers)
        for row in summary.rows:
            rows.add_row(
                row["key"],
                human_seconds(row["video_seconds"]),
                str(row["clips"]),
                str(row["files"]),
                human_bytes(row["bytes"]),
                human_bytes(row["disk_bytes"]),
                row["backend"],
            )
        totals = summary.totals
        rows.add_section()
        rows.add_row(
            counted(len(summary.rows), "video"),
            human_seconds(totals["video_seconds"]),
            str(totals["clips"]),
            str(totals["files"]),
            human_bytes(totals["bytes"]),
            human_bytes(totals["disk_bytes"]),
        )
        console.print(rows)
        for line in _failed_lines(
            VideoRow(f.request.key, f.request.path, "failed", f.reason) for f in summary.failures
        ):
            error_console.print(line, style="red")
    return 3 if summary.failures else 0


def _failed_lines(rows: "Iterable[VideoRow]") -> list[str]:
    """One line per failed video; if there are many, one line per kind of reason, with their number."""
    from longvid.pipelines.extraction.report import failed_together

    every = iter(rows)
    first = list(islice(every, MAX_ROWS + 1))
    if len(first) <= MAX_ROWS:
        return [failed_line(row.key, row.reason) for row in first]
    kinds = failed_together(chain(first, every))
    return [failed_line(kind.keys[0], f"{kind.reason}{_and_others(kind.count - 1)}") for kind in kinds]


def _note_lines(result: "RunReport") -> list[str]:
    """One line per note; notes of one kind about many videos are one line, with their number."""
    from longvid.pipelines.extraction.report import noted_together

    lines = []
    for kind in noted_together(result.each_row()):
        told = list(zip(kind.keys, kind.reasons, strict=True))
        others = "" if kind.count <= FEW else f" (and {counted(kind.count - 1, 'video')} likewise; the report has all)"
        lines += [printable(f"note: {key}: {why}{others}") for key, why in (told[:1] if others else told)]
    return lines


def _and_others(others: int) -> str:
    return f" (and {counted(others, 'video')} for the same reason)" if others else ""


def _print_report(result: "RunReport") -> None:
    numbers = ("clips", "decode", "encode", "write")
    rows = table("video", "status", *numbers, "decoder", right=numbers)
    listed = result.rows if result.counts.total() <= MAX_ROWS else []
    shown = [row for row in listed if row.status != "failed"]
    for row in shown:
        style = "dim" if row.status == "kept" else ""
        rows.add_row(
            row.key,
            row.status,
            str(row.num_clips),
            f"{row.decode_seconds:.1f} s",
            f"{row.encode_seconds:.1f} s",
            f"{row.write_seconds:.2f} s",
            row.backend,
            style=style,
        )
    if shown:
        console.print(rows)
    for line in _failed_lines(row for row in result.each_row() if row.status == "failed"):
        console.print(line, style="red")
    for line in _note_lines(result):
        console.print(line, style="dim")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    work = ""
    if result.num_clips:
        rate = result.num_clips / max(result.wall_seconds, 1e-9)
        by = counted(result.workers, "worker")
        work = (
            f"; {counted(result.num_clips, 'clip')} in {human_seconds(result.wall_seconds)} ({rate:.1f} per second, "
            f"{by})"
        )
    console.print(f"{counts or 'no videos'}{work}")
    console.print(f"report: {result.path}")
