"""`longvid explain`: the seconds of a video that carried a run's answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longvid.pipelines.cli.console import console, print_json, table
from longvid.pipelines.cli.options import parse_options
from longvid.pipelines.cli.own_code import find_own_code, find_own_decoder
from longvid.pipelines.cli.train import JSON, OwnDecoder, OwnOptions, RunFolder
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.pipelines.evaluation.explain import Explanation


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the command line."""
    app.command(rich_help_panel="Stage two: features to answers")(explain)


def explain(
    run: RunFolder,
    video: Annotated[str, typer.Argument(help="A video file, or the key of a video in the run's store.")],
    output: Annotated[
        str | None, typer.Option(help="The class, label or value to explain; default: the run's answer.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Clips that are occluded at once; default: 3 % of the video.")
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(help="Another store of the same recipe; once for each store of a run that has several."),
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="The encoder of the features, as for `predict`; for a video file.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of that encoder; repeatable.")
    ] = None,
    weights: Annotated[list[str] | None, typer.Option(help="Checkpoint file of the encoder, if it has moved.")] = None,
    decoder: OwnDecoder = None,
    decoder_option: OwnOptions = None,
    page: Annotated[Path | None, typer.Option(help="Also write an HTML page with pictures and a chart.")] = None,
    as_json: JSON = False,
) -> int:
    """Show which seconds carried a run's answer: by occlusion over time, and by gradient times input."""
    from longvid.pipelines.evaluation.explain import explain as run_explanation

    for name in encoder or []:
        find_own_code(name)
    find_own_decoder(decoder)
    found = run_explanation(
        run,
        video,
        output=output,
        width=width,
        store=store or None,
        encoder=encoder or None,
        encoder_options=parse_options(option) if option else None,
        weights=weights or None,
        decoder=decoder,
        decoder_options=parse_options(decoder_option or []),
    )
    if page is not None:
        from longvid.pipelines.reporting.explanation import write_explanation

        write_explanation(found, page)
    if as_json:
        print_json(found.to_dict())
        return 0
    _print(found)
    if page is not None:
        console.print(f"page: {page}")
    return 0


def _print(found: "Explanation") -> None:
    rows = table("measure", "from (s)", "to (s)", "part of the evidence", right=("from (s)", "to (s)"))
    for method, name in (("occlusion", "occlusion"), ("gradient", "gradient x input")):
        for one in found.stretches(method):  # type: ignore[arg-type]
            rows.add_row(name, f"{one.start_seconds:.2f}", f"{one.end_seconds:.2f}", f"{100 * one.share:.1f} %")
    console.print(printable(f"{found.output} ({found.score:.3g}): the seconds that carried it"))
    console.print(rows)
