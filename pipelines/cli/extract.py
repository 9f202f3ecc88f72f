"""`longvid extract`: stage one, videos to features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from longvid.errors import ConfigError
from longvid.pipelines.cli.cluster_keys import cluster_keys
from longvid.pipelines.cli.console import counted, error_console, print_json
from longvid.pipelines.cli.extract_features import features_of, named_wishes
from longvid.pipelines.cli.extract_printing import MAX_ROWS, print_plan, print_report
from longvid.pipelines.cli.extract_settings import (
    Context,
    preprocessing_of,
    refuse_code_of,
    storage_of,
    take_settings,
    targets_of_file,
)
from longvid.pipelines.cli.options import parse_options, parse_sampling
from longvid.pipelines.cli.own_code import find_own_code
from longvid.pooling_names import Pooling
from longvid.video.storage import RETRIES, STALL_SECONDS

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
    backend: Annotated[
        str, typer.Option(help="Video decoder: auto, pyav, torchcodec, torchcodec-cuda or decord.")
    ] = "auto",
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
            help="local, cuda, slurm, 'ssh host1,host2', tls://host:port, tcp://host:port, serial (one process, no "
            "dask) or inline (in this process: a hang or crash ends the run)."
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
    remote_python: Annotated[
        str | None,
        typer.Option("--remote-python", help="The Python of longvid on the hosts of ssh; default: this one's path."),
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
    from longvid.pipelines.training.recipe_files import is_recipe_file

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
    targets = targets_of_file(context, common, allow_code=allow_code)
    wanted = None
    for name, place in zip(names, out, strict=True) if not targets else ():
        wanted, notes = features_of(recipe, name, allow_code=allow_code)
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
    with named_wishes(recipe, names[0], wanted, sampling=sampling, pooling=pooling):
        if plan:
            statuses = [print_plan(requests, one.job, one.clips_per_shard, one.compression, as_json) for one in targets]
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
                remote_python=remote_python,
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
        print_report(result)
    return result.exit_status
