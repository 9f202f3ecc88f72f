"""`longvid encoders | decoders`: the models there are and their costs."""

from typing import Annotated

import typer

from longvid.pipelines.cli.console import console, error_console, print_json, table
from longvid.pipelines.cli.own_code import find_own_decoder

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
MARKDOWN = Annotated[bool, typer.Option("--markdown", help="Print the table of the documentation.")]


WIDE_COLUMNS = 130
LEFT_OUT = ("output tokens", "published")
"""Columns of the encoders' table that narrower terminals leave out."""


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    app.command(rich_help_panel="What there is")(encoders)
    app.command(rich_help_panel="What there is")(decoders)


def encoders(
    only: Annotated[list[str] | None, typer.Argument(help="Only these; default: all built-in ones.")] = None,
    as_json: JSON = False,
    markdown: MARKDOWN = False,
) -> int:
    """List the built-in short-range encoders: input, tokens, parameters and GFLOPs beside the published figures."""
    from longvid.encoders import table as truth

    with error_console.status("counting"):
        rows = list(truth.truth_table(only or None))
    if as_json:
        print_json(list(rows))
        return 0
    if markdown:
        print(truth.markdown(rows))
        return 0
    notes = truth.table_notes(rows)
    narrow = console.width < WIDE_COLUMNS
    shown = [index for index, name in enumerate(truth.COLUMNS) if not (narrow and name in LEFT_OUT)]
    names_shown = [truth.COLUMNS[index] for index in shown]
    drawn = table(*names_shown, right=[name for name in names_shown if name not in ("encoder", "output tokens")])
    for row in rows:
        cells = truth.cells(row, truth.row_note(row, notes))
        drawn.add_row(*(cells[index] for index in shown))
    console.print(drawn)
    if narrow:
        console.print(f"{' and '.join(LEFT_OUT)} are shown by --json and in a terminal of {WIDE_COLUMNS} columns")
    for text, mark in notes.items():
        console.print(f"{mark} {text}", style="dim")
    console.print(truth.EXPLANATION, style="dim")
    if not only:
        _print_families()
    return 0


def _print_families() -> None:
    """Print what else `--encoder` accepts."""
    from longvid.encoders.registry import PREFIXES

    console.print()
    for prefix, entry in PREFIXES.items():
        console.print(f"{prefix + ':...':18} {entry.summary}")
    console.print(f"{'module:callable':18} an encoder of your own")
    from longvid.encoders.huggingface.aligned import ALIGNED
    from longvid.encoders.huggingface.layouts import LAYOUTS

    console.print()
    console.print(f"Hugging Face families whose tokens are known (model_type): {', '.join(sorted(LAYOUTS))}")
    console.print(f"aligned with text, with pooling embedding: {', '.join(sorted(ALIGNED))}")
    console.print(
        "others are accepted if the shape of their output leaves no doubt; code in a model's folder is never run"
    )


def decoders(
    only: Annotated[list[str] | None, typer.Argument(help="Only these, or module:callable; default: all.")] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Also the memory of windows of 100,000 tokens, which takes minutes to count.")
    ] = False,
    as_json: JSON = False,
    markdown: MARKDOWN = False,
) -> int:
    """List the long-range decoders with parameters, GFLOPs and peak memory at 3,136 and 11,820 tokens."""
    from longvid.decoders import DECODERS, require_decoder
    from longvid.decoders import table as costs

    names = list(only or DECODERS)
    for name in names:
        require_decoder(name)
        find_own_decoder(name)
    if as_json or markdown:
        with error_console.status("counting"):
            rows = list(costs.decoder_table(names))
        if as_json:
            print_json(list(rows))
        else:
            print(costs.markdown(rows))
        return 0
    what = table("decoder", "what it is")
    for name in names:
        what.add_row(name, costs.summary(name))
    if not only:
        what.add_row("module:callable", "a decoder of your own (see the README)")
    console.print(what)
    console.print()
    drawn = table(*costs.COLUMNS, right=costs.COLUMNS[1:])
    with error_console.status("counting") as status:
        for name in names:
            status.update(f"counting {name}")
            for row in costs.decoder_table([name]):
                first, *rest = costs.cells(row)
                drawn.add_row(first if row.length == costs.LENGTHS[0] else "", *rest)
    console.print(drawn)
    console.print(costs.EXPLANATION, style="dim")
    if long:
        _print_long_windows(names)
    return 0


def _print_long_windows(names: list[str]) -> None:
    """Print the memory of training on very long windows, for decoders that can trade time for it."""
    from longvid.decoders import long_windows

    with error_console.status("counting long windows"):
        rows = list(long_windows.long_window_table(names))
    if not rows:
        return
    drawn = table(*long_windows.COLUMNS, right=long_windows.COLUMNS[1:])
    for row in rows:
        drawn.add_row(*long_windows.cells(row))
    console.print()
    console.print(drawn)
    console.print(long_windows.EXPLANATION, style="dim")
