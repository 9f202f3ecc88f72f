"""`longvid search`: seconds that answer to words or to an example."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from longvid.pipelines.cli.console import (
    console,
    counted,
    error_console,
    failed_line,
    human_seconds,
    print_json,
    table,
)
from longvid.pipelines.cli.damage import JSON, Location
from longvid.pipelines.cli.options import parse_options
from longvid.pipelines.cli.own_code import find_own_code
from longvid.pipelines.cli.store import PANEL
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.pipelines.searching.run import SearchResult


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the command line."""
    app.command(rich_help_panel=PANEL)(search)


def search(
    store: Location,
    text: Annotated[
        str | None, typer.Argument(help="What to look for, in words; for stores of models aligned with text.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="VIDEO@12:30-12:40", help="An example instead of words: a video of the store, or a file."),
    ] = None,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="Hits in all.")] = 20,
    per_video: Annotated[int, typer.Option(min=1, help="Hits of one video.")] = 3,
    apart: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds between the hits of one video; default: twice the length of a clip."),
    ] = None,
    group: Annotated[bool, typer.Option("--group", help="Group the hits by video.")] = False,
    videos: Annotated[
        list[str] | None,
        typer.Option(help="Where the videos are (a folder or a manifest), for paths and pictures; repeatable."),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Also write a contact sheet: an HTML page with pictures.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="The model of the features, if it has moved or must be fetched; its weights are checked."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of that encoder; repeatable.")
    ] = None,
    as_json: JSON = False,
) -> int:
    """Find the seconds of a store's videos that lie nearest to words, or to a stretch of a video."""
    from longvid.pipelines.rebuilding import Given
    from longvid.pipelines.searching.run import search as find

    find_own_code(encoder)
    with error_console.status("searching") as status:
        found = find(
            store,
            text,
            like=like,
            most=most,
            per_video=per_video,
            apart_seconds=apart,
            given=Given(encoder, parse_options(option) if option else None),
            videos=videos or (),
            watch=lambda key: status.update(Text(f"searching {printable(key)}")),
        )
    if page is not None:
        from longvid.pipelines.searching.page import write_sheet

        write_sheet(found, page)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found, group=group)
        if page is not None:
            console.print(f"contact sheet: {page}")
    return 3 if found.failures else 0


def _print(found: "SearchResult", *, group: bool) -> None:
    from longvid.pipelines.searching.run import to_the_tenth

    rows = table("video", "start", "end", "score", right=("start", "end", "score"))
    hits = [hit for one in found.by_video() for hit in one.hits] if group else found.hits
    before = None
    for hit in hits:
        name = "" if group and hit.key == before else hit.key
        rows.add_row(name, to_the_tenth(hit.start_seconds), to_the_tenth(hit.end_seconds), f"{hit.score:.4f}")
        before = hit.key
    console.print(rows)
    for failure in found.failures:
        console.print(failed_line(failure.key, failure.reason), style="red")
    console.print(
        f"{counted(found.num_clips, 'clip')} of {counted(found.num_videos, 'video')} in {human_seconds(found.seconds)}",
        style="dim",
    )
