"""`longvid prepare | tasks | results`: data sets, their questions, and what others answered."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.console import error_console, print_json

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    app.command(rich_help_panel="Data sets")(prepare)


def prepare(
    benchmark: Annotated[str, typer.Argument(help="lvu, breakfast, coin, or `folder` for your own videos.")],
    videos: Annotated[Path, typer.Option("--videos", help="Folder of the videos, in any of the usual layouts.")],
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", help="The official files: lvu_1.0/, breakfast/, COIN.json; or your own table."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The manifest (.jsonl, .csv, .parquet); default: NAME.jsonl.")
    ] = None,
    missing: Annotated[
        Path | None, typer.Option(help="Write the missing and unreadable videos here (CSV), with their pages.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Open each file that is there.")] = True,
    workers: Annotated[int, typer.Option(help="Files opened at once.")] = 8,
    test_fraction: Annotated[
        float | None, typer.Option(help="Of your own videos: set this share aside where nothing is tested.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch what is missing by yt-dlp, slowly; what you may have is up to you."),
    ] = False,
    cookies: Annotated[str | None, typer.Option(help="A browser's cookies.txt for --download.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also what failed to download before.")] = False,
    as_json: JSON = False,
) -> int:
    """Official annotations and a folder of videos to a manifest; says what is missing and what that does to scores."""
    from pipelines.cli.preparation import CheckProgress, print_preparation
    from pipelines.prepare import prepare as run
    from pipelines.prepare.absent import absent_videos, write_absent
    from pipelines.prepare.benchmarks import load_benchmark

    listed = load_benchmark(benchmark, annotations, videos, test_fraction=test_fraction)
    with CheckProgress(error_console) as progress:
        prepared = run(listed, videos, check=check, workers=workers, on_video=progress.opened)
    if download:
        _download(prepared, videos, cookies=cookies, retry_failed=retry_failed)
        with CheckProgress(error_console) as progress:
            prepared = run(listed, videos, check=check, workers=workers, on_video=progress.opened)
    manifest = out or Path(f"{benchmark}.jsonl")
    prepared.manifest.write(manifest)
    if missing is not None:
        write_absent(missing, absent_videos(prepared))
    if as_json:
        print_json(prepared.to_dict() | {"manifest": str(manifest)})
    else:
        print_preparation(prepared, manifest=manifest, missing=missing)
    return prepared.exit_status


def _download(prepared: Any, videos: Path, *, cookies: str | None, retry_failed: bool) -> None:
    from pipelines.prepare.absent import absent_videos
    from pipelines.prepare.download import Download, DownloadSettings
    from pipelines.prepare.download import download as fetch

    def told(result: Download) -> None:
        error_console.print(f"{result.key}: {result.state} {result.reason}", markup=False, highlight=False)

    fetch(
        absent_videos(prepared),
        videos,
        DownloadSettings(cookies=cookies, retry_failed=retry_failed),
        on_video=told,
    )
