"""`longvid encoders | decoders`: what there is, with what it costs."""

from typing import Annotated

import typer

from pipelines.cli.console import console, error_console, print_json, table

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
MARKDOWN = Annotated[bool, typer.Option("--markdown", help="Print the table of the README.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    app.command(rich_help_panel="What there is")(encoders)
    app.command(rich_help_panel="What there is")(decoders)


def encoders(
    names: Annotated[list[str] | None, typer.Argument(help="Only these; default: all that are built in.")] = None,
    as_json: JSON = False,
    markdown: MARKDOWN = False,
) -> int:
    """Every built-in short-range encoder: input, tokens, parameters and GFLOPs beside the published figures."""
    from longvid.encoders import table as truth

    with error_console.status("counting"):
        rows = list(truth.truth_table(names or None))
    if as_json:
        print_json([row.to_dict() for row in rows])
        return 0
    if markdown:
        print(truth.markdown(rows))
        return 0
    notes = truth.table_notes(rows)
    drawn = table(*truth.COLUMNS, right=[name for name in truth.COLUMNS if name not in ("encoder", "output tokens")])
    for row in rows:
        drawn.add_row(*truth.cells(row, truth.row_note(row, notes)))
    console.print(drawn)
    for text, mark in notes.items():
        console.print(f"{mark} {text}", style="dim")
    console.print(truth.EXPLANATION, style="dim")
    if not names:
        _print_families()
    return 0


def _print_families() -> None:
    """What else `--encoder` takes."""
    from longvid.encoders.registry import PREFIXES

    console.print()
    for prefix, entry in PREFIXES.items():
        console.print(f"{prefix + ':...':18} {entry.summary}")
    console.print(f"{'module:callable':18} an encoder of your own")


def decoders(as_json: JSON = False) -> int:
    """Every long-range decoder."""
    from longvid.decoders import DECODERS

    if as_json:
        print_json({name: entry.summary for name, entry in DECODERS.items()})
        return 0
    rows = table("decoder", "what it is")
    for name, entry in DECODERS.items():
        rows.add_row(name, entry.summary)
    console.print(rows)
    return 0
