"""`longvid extract`: stage one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

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
from longvid.pipelines.cli.options import parse_options, parse_sampling

if TYPE_CHECKING:
    from longvid.pipelines.extraction import ExtractionJob, VideoRequest
    from longvid.pipelines.extraction.report import RunReport

MAX_ROWS = 40
"""Videos that a run lists one by one; of a larger one only what failed."""

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    app.command(rich_help_panel="Stage one: videos to features")(extract)


def extract(
    inputs: Annotated[list[Path], typer.Argument(help="Video files, folders of them, or manifests.")],
    out: Annotated[str, typer.Option("--out", "-o", help="The store: a folder, or a URL such as s3://bucket/x.zarr.")],
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="A name of `longvid encoders`, a folder or hub id, or module:callable."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Features as a training recipe wants them; the other options go on top."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the encoder; repeatable.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Checkpoint file of the encoder.")] = None,
    seed: Annotated[int, typer.Option(help="Of random weights.")] = 0,
    sampling: Annotated[
        str | None,
        typer.Option(
            help="frames=16,fps=8,stride_seconds=2 or frames=32,segments=64; span=listed: only the part that the "
            "manifest lists; default: the encoder's."
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="tokens, class+tokens, class, spatial, temporal, mean or clip; default: the encoder's."),
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32", "int8"] | None,
        typer.Option(metavar="TYPE", help="Stored type: float16 (default), float32 or int8."),
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(metavar="TYPE", help="Of the encoder's arithmetic: float32, bfloat16, float16."),
    ] = "float32",
    batch_clips: Annotated[int, typer.Option(help="Clips the model takes at once.")] = 8,
    clips_per_shard: Annotated[int, typer.Option(help="Clips of one shard: the unit of work and of resuming.")] = 64,
    compression: Annotated[
        str | None, typer.Option(help="zstd (0-8 % smaller, slower to read); none by default.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Decoder: auto, torchcodec, pyav, decord.")] = "auto",
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Use what is there of files that end early.")
    ] = False,
    full_hash: Annotated[
        bool,
        typer.Option(
            "--full-hash",
            help="Know each file by the sha256 of all its bytes, so that no change of one that is kept goes unnoticed; "
            "reads it once more.",
        ),
    ] = False,
    scheduler: Annotated[str, typer.Option(help="local, cuda, slurm, tcp://host:port, or serial (no dask).")] = "local",
    workers: Annotated[
        int | None, typer.Option(help="Encoders at once; default: one for two cores, or for four beside a GPU.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of one encoder; default: the cores shared out.")
    ] = None,
    deadline_seconds: Annotated[float, typer.Option(help="A segment that takes longer is given up.")] = 3600.0,
    report: Annotated[
        Path | None, typer.Option(help="The run's report, JSON lines; default: beside the store.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print bytes, files and clips; extract nothing.")] = False,
    as_json: JSON = False,
) -> int:
    """Features of every clip of every video into a store. What the store holds already is kept."""
    from longvid.pipelines.extraction import ExtractionJob, expand_inputs

    wanted = _features_of(recipe, encoder)
    job = ExtractionJob(
        encoder=encoder or wanted.encoder,
        encoder_options=wanted.options | parse_options(option or []),
        weights=weights,
        seed=seed,
        sampling=parse_sampling(sampling) or wanted.the_sampling(),
        pooling=pooling or wanted.pooling,
        preprocessing=wanted.preprocessing,
        dtype=dtype or wanted.dtype,
        precision=precision,
        batch_clips=batch_clips,
        backend=backend,
        allow_truncated=allow_truncated,
        full_hash=full_hash,
        torch_threads=threads,
    )
    requests = expand_inputs(inputs)
    if plan:
        return _print_plan(requests, job, clips_per_shard, compression, as_json)

    from longvid.pipelines.cli.progress import ExtractionProgress
    from longvid.pipelines.extraction import extract as run

    with ExtractionProgress(error_console, videos=len(requests), name_failures=len(requests) > MAX_ROWS) as progress:
        result = run(
            requests,
            job,
            out,
            scheduler=scheduler,
            workers=workers,
            clips_per_shard=clips_per_shard,
            compression=compression,
            report_path=report or _report_path(out),
            progress=progress,
            deadline_seconds=deadline_seconds,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        _print_report(result)
    return result.exit_status


def _features_of(recipe: str | None, encoder: str | None) -> Any:
    """What the recipe says of features; with an encoder named beside it only what holds for any encoder."""
    from longvid.pipelines.training.config import FeatureSettings, load_features

    if recipe is None and encoder is None:
        raise typer.BadParameter("give --encoder NAME, or --recipe NAME for the encoder of a training recipe")
    if recipe is None:
        return FeatureSettings(encoder=str(encoder))
    wanted = load_features(recipe)
    if encoder is None or encoder == wanted.encoder:
        return wanted
    return FeatureSettings(encoder=encoder, dtype=wanted.dtype)


def _report_path(out: str) -> Path:
    """Beside a local store; for a store elsewhere, in the working folder."""
    if "://" in out:
        return Path(f"{out.rstrip('/').rsplit('/', 1)[-1]}.report.jsonl")
    return Path(f"{out.rstrip('/')}.report.jsonl")


def _print_plan(
    requests: "list[VideoRequest]", job: "ExtractionJob", clips_per_shard: int, compression: str | None, as_json: bool
) -> int:
    from zarr.storage import MemoryStore

    from longvid.pipelines.extraction.plan import make_recipe, summarise_plan
    from longvid.stores import FeatureStore
    from longvid.video.backends import require_backend

    require_backend(job.backend)
    encoder = job.build()
    recipe = make_recipe(job, encoder)
    # an empty store in memory, which is asked what the videos would take
    store = FeatureStore.create(MemoryStore(), recipe, clips_per_shard=clips_per_shard, compression=compression)
    summary = summarise_plan(requests, job, store=store, sampling=job.sampling_for(encoder.spec))
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
        for failure in summary.failures:
            error_console.print(failed_line(failure.request.key, failure.reason), style="red")
    return 3 if summary.failures else 0


def _print_report(result: "RunReport") -> None:
    numbers = ("clips", "decode", "encode", "write")
    rows = table("video", "status", *numbers, "decoder", right=numbers)
    shown = [row for row in result.rows if row.status != "failed"] if len(result.rows) <= MAX_ROWS else []
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
    for row in result.failed:
        console.print(failed_line(row.key, row.reason), style="red")
    noted = [row for row in result.rows if row.problems and row.status != "failed"]
    for row in noted if len(result.rows) <= MAX_ROWS else []:
        console.print(printable(f"note: {row.key}: {'; '.join(row.problems)}"), style="dim")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    work = ""
    if result.num_clips:
        rate = result.num_clips / max(result.wall_seconds, 1e-9)
        by = counted(result.workers, "worker")
        work = (
            f"; {counted(result.num_clips, 'clip')} in {human_seconds(result.wall_seconds)} ({rate:.1f} a second, {by})"
        )
    console.print(f"{counts or 'no videos'}{work}")
    console.print(f"report: {result.path}")
