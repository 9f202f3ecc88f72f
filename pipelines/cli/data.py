"""`longvid prepare | tasks | recipe | results`: data sets and numbers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from longvid.pipelines.cli.console import console, error_console, print_json, table
from longvid.printable import printable

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (prepare, tasks, recipe, results):
        app.command(rich_help_panel="Data sets")(command)


def prepare(
    benchmark: Annotated[
        str,
        typer.Argument(
            help="lvu, breakfast, coin, kinetics, ssv2, ucf101, hmdb51, diving48, or `folder` for your own videos."
        ),
    ],
    videos: Annotated[str, typer.Option("--videos", help="Folder of videos, in any of the usual layouts.")],
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            help="The official files: lvu_1.0/, breakfast/, COIN.json, a folder of lists; or your own table.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The manifest (.jsonl, .csv, .parquet); default: NAME.jsonl.")
    ] = None,
    missing: Annotated[
        Path | None, typer.Option(help="CSV file for the missing and unreadable videos, with their web pages.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Open each file to see that it can be read.")] = True,
    workers: Annotated[int, typer.Option(help="Files opened at once.")] = 8,
    test_fraction: Annotated[
        float | None,
        typer.Option(help="Share of your own videos to test on, of each class and in whole groups, if none is named."),
    ] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="The same for validation; default: training sets videos aside for it.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Regular expression on the keys of your own videos: those in which it finds the same are not spread "
            "over two splits: '^[^_]+' for person1_take2.",
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch missing videos with yt-dlp, slowly; check that you may have them."),
    ] = False,
    cookies: Annotated[str | None, typer.Option(help="A browser's cookies.txt for --download.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Retry earlier failed downloads too.")] = False,
    as_json: JSON = False,
) -> int:
    """Write a manifest from official annotations and a folder of videos; say what is missing and how scores suffer."""
    from longvid.pipelines.cli.preparation import CheckProgress, print_preparation
    from longvid.pipelines.prepare import prepare as run
    from longvid.pipelines.prepare.absent import absent_videos, write_absent
    from longvid.pipelines.prepare.benchmarks import load_benchmark
    from longvid.pipelines.prepare.finding import folder_of

    folder = folder_of(videos)
    listed = load_benchmark(
        benchmark, annotations, folder, test_fraction=test_fraction, val_fraction=val_fraction, group=group
    )
    with CheckProgress(error_console) as progress:
        prepared = run(listed, folder, check=check, workers=workers, on_video=progress.opened)
    if download:
        _download(prepared, folder, cookies=cookies, retry_failed=retry_failed)
        with CheckProgress(error_console) as progress:
            prepared = run(listed, folder, check=check, workers=workers, on_video=progress.opened)
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
    from longvid.pipelines.prepare.absent import absent_videos
    from longvid.pipelines.prepare.download import Download, DownloadSettings
    from longvid.pipelines.prepare.download import download as fetch

    def told(result: Download) -> None:
        error_console.print(printable(f"{result.key}: {result.state} {result.reason}"), markup=False, highlight=False)

    fetch(
        absent_videos(prepared),
        videos,
        DownloadSettings(cookies=cookies, retry_failed=retry_failed),
        on_video=told,
    )


def tasks(
    protocols: Annotated[bool, typer.Option("--protocols", help="Show the protocols and who uses each.")] = False,
    recipes: Annotated[bool, typer.Option("--recipes", help="Show the recipes that `longvid train` accepts.")] = False,
    as_json: JSON = False,
) -> int:
    """List the public tasks, the recipes that train them, and the protocols that measure them."""
    from longvid.benchmarks.known_tasks import KNOWN_TASKS
    from longvid.benchmarks.protocols import PROTOCOLS
    from longvid.pipelines.cli.needs import needs_lines, needs_of
    from longvid.pipelines.recipes import recipe_names, recipe_settings

    named = {name: recipe_settings(name) for name in recipe_names()}
    if as_json:
        print_json({"tasks": KNOWN_TASKS, "protocols": PROTOCOLS, "recipes": named, "needs": needs_of(named)})
        return 0
    if protocols:
        rows = table("protocol", "what it does", "used by", "where ours differs")
        for protocol in PROTOCOLS.values():
            rows.add_row(protocol.name, protocol.summary, protocol.used_by, protocol.departs or "-")
    elif recipes:
        rows = table("recipe", "task, by its protocol, on its splits", whole_words=True)
        for name, settings in named.items():
            task = settings.get("task", {}).get("name", "several")
            by = f", by {settings['protocol']}" if settings.get("protocol") else ""
            splits = settings.get("split_column") or ", ".join(settings.get("folds", ())) or "split"
            rows.add_row(name, f"{task}{by}, on {splits}")
    else:
        rows = table("task, kind (outputs)", "metrics", "recipes", whole_words=True)
        for task in KNOWN_TASKS.values():
            own = [name for name, settings in named.items() if settings.get("task", {}).get("name") == task.name]
            about = f"{task.name} {task.kind} ({task.outputs})"
            rows.add_row(about, ", ".join(task.metrics), _with_endings(own))
    console.print(rows)
    if not (protocols or recipes):
        console.print()
        for line in needs_lines(named):
            console.print(line)
        console.print()
        console.print(
            f"NAME{TWIN} is a recipe that repeats the authors' code, quirks included; the recipes encode with "
            "timm or torchvision: pip install 'longvid[timm]'",
            style="dim",
        )
        console.print("--protocols shows how each is measured, --recipes what each recipe trains", style="dim")
        console.print(
            "`longvid recipe NAME` prints one, `longvid train --settings NAME` explains its settings", style="dim"
        )
    return 0


TWIN = "-as-published"
"""The ending of recipe names that repeat published code exactly."""


def _with_endings(recipes: list[str]) -> str:
    """`coin (and -as-published, -siglip2), ...`: names that begin as another does as one entry, to fit a terminal."""
    bases = [name for name in recipes if not any(name.startswith(f"{other}-") for other in recipes)]
    shown = []
    for base in bases:
        endings = [name.removeprefix(base) for name in recipes if name.startswith(f"{base}-")]
        shown.append(f"{base} (and {', '.join(endings)})" if endings else base)
    return ", ".join(shown)


def recipe(
    name: Annotated[str, typer.Argument(help="A recipe of `longvid tasks --recipes`.")],
) -> int:
    """Print a recipe with its comments, to be read or changed: longvid recipe coin > mine.yaml."""
    from longvid.pipelines.recipes import recipe_text

    print(recipe_text(name), end="")
    return 0


def results(
    task: Annotated[str, typer.Argument(help="A task of `longvid tasks`, or a recipe.")],
    runs: Annotated[Path | None, typer.Option(help="Folder of your own runs; default: runs, if it exists.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Show only numbers measured by this protocol.")] = None,
    as_json: JSON = False,
) -> int:
    """Show published numbers of a task, each with its source, beside your own runs."""
    from longvid.errors import ConfigError
    from longvid.pipelines.cli.scoreboard import print_scoreboard, scoreboard_json
    from longvid.pipelines.evaluation.results import own_results, task_named

    asked = task_named(task)
    if runs is not None and not runs.is_dir():
        raise ConfigError(f"{runs}: no such folder of runs; `longvid train ... out={runs}/NAME` makes one")
    own = own_results(runs or "runs", asked.name, say=lambda line: error_console.print(printable(f"note: {line}")))
    if as_json:
        print_json(scoreboard_json(asked, own, protocol=protocol))
    else:
        print_scoreboard(asked, own, protocol=protocol)
    return 0
