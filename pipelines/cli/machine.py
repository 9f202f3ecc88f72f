"""`longvid doctor | bench`: what works on this machine, and how fast."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from longvid.pipelines.bench.plot import draw, require_drawable
from longvid.pipelines.cli.console import console, error_console, print_json, table

BENCHES = {
    "decode": "frames per second of each video decoder, and memory against the length of the video",
    "damage": "damaged videos: how many give wrong clips without an error, by codec, container and decoder",
    "encode": "clips per second and memory of each encoder, against the limit of this machine's matrix product",
    "extract": "decoding and encoding together against the slower of the two",
    "store": "reading random windows, against memmap copies and whole-file loads",
    "kernel": "the S4 kernel against the direct Cauchy sum",
    "decoder": "ViS4mer against the same stack with attention, by length",
    "gpu": "on a CUDA device: the S4 kernel by each backend, and a training step against fused attention",
    "longrange": "which decoders learn tasks that need a long memory: accuracy by length, parameters matched",
    "pretrain": "few labels: decoders trained from scratch against pretrained ones, on made-up videos",
    "finetune": "encoders that learn motions from clips, with and without their temporal parts; speed and memory",
    "distil": "a small encoder that learns a larger one's stored features: a decoder's accuracy on both",
    "feed": "samples per second read from the store, against the decoder's training step",
    "search": "one pass over a store's clips against reading memory, and its memory",
    "dask": "what the scheduler costs per piece, and how busy a thousand workers are",
    "rerun": "a rerun over 10,000 videos that are complete: time, bytes read, memory",
}

ON_A_DEVICE = ("extract",)
PLOTTED = ("decoder", "gpu", "longrange")
"""Benches that can be drawn."""
KEPT = ("finetune", "distil")
"""Long benches, which can go on after a stop."""

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
WHAT = "; ".join(f"[bold]{name}[/bold]: {what}" for name, what in BENCHES.items())


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (doctor, bench):
        app.command(rich_help_panel="This machine")(command)


def doctor(
    decoders: Annotated[
        bool,
        typer.Option(
            "--decoders", help="Read files of known frames through every decoder; status 1 if one is silently wrong."
        ),
    ] = False,
    files: Annotated[
        Path | None, typer.Option(help="With --decoders: keep the files, and what is in them, in this folder.")
    ] = None,
    as_json: JSON = False,
) -> int:
    """Show which video decoders and optional packages work on this machine, and how to fix those that do not."""
    if decoders:
        from longvid.pipelines.cli.conformance import print_conformance

        return print_conformance(files, as_json=as_json)
    from longvid.pipelines.machine.doctor import examine

    with error_console.status("trying each decoder and package"):
        checks = examine()
    if as_json:
        print_json(checks)
    else:
        rows = table("part", "version", "works", "what to do")
        for check in checks:
            colour = "green" if check.works else "red" if check.needed else "yellow"
            works = Text("yes" if check.works else "no", colour)
            rows.add_row(check.name, check.version, works, check.advice)
        console.print(rows)
    return 0 if all(check.works for check in checks if check.needed) else 1


def bench(
    name: Annotated[str, typer.Argument(help=WHAT)],
    quick: Annotated[
        bool, typer.Option("--quick", help="Use smaller sizes: under a minute, with rougher ratios.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="For extract: measure for how much of the time this torch device computes, such as cuda."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help=f"Also draw a .png, .svg or .pdf file (for {', '.join(PLOTTED)}).")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help=f"Keep what is made in this folder, and go on there after a stop (for {' and '.join(KEPT)})."
        ),
    ] = None,
    as_json: JSON = False,
) -> int:
    """Measure longvid against a peer or a limit; exit status 1 if a goal is not reached."""
    if name not in BENCHES:
        raise typer.BadParameter(f"no bench is called {name!r}; choose from {', '.join(BENCHES)}")
    given: dict[str, Any] = {} if device is None else {"device": device}
    if given and name not in ON_A_DEVICE:
        raise typer.BadParameter(f"the bench {name} takes no --device; {' and '.join(ON_A_DEVICE)} does")
    if plot is not None:
        if name not in PLOTTED:
            raise typer.BadParameter(f"the bench {name} has no plot; {' and '.join(PLOTTED)} have one")
        require_drawable(plot)
    if keep is not None and name not in KEPT:
        raise typer.BadParameter(f"the bench {name} keeps nothing; {' and '.join(KEPT)} do")
    given |= {} if keep is None else {"keep": keep}
    measured = import_module(f"longvid.pipelines.bench.{name}").run(quick=quick, **given)
    if as_json:
        print_json(measured)
    else:
        rows = table(*measured.columns, title=measured.title, right=measured.number_columns)
        for row in measured.rows:
            rows.add_row(*(_cell(value) for value in row))
        console.print(rows)
        for claim in measured.claims:
            goal = f">= {claim.at_least:g}" if claim.at_least is not None else f"<= {claim.at_most:g}"
            mark = Text("reached", "green") if claim.reached else Text("not reached", "red")
            console.print(Text(f"{claim.what}: {_cell(claim.value)} (goal {goal}) ") + mark)
        for note in measured.notes:
            console.print(note, style="dim")
    if plot is not None:
        draw(measured, plot)
    return 0 if all(claim.reached for claim in measured.claims) else 1


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value
