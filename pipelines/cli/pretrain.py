"""`longvid pretrain | surprise`: stage two without labels."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from longvid.pipelines.cli.console import (
    LINE_EVERY_SECONDS,
    console,
    epoch_bar,
    error_console,
    human_seconds,
    print_json,
    table,
)
from longvid.printable import printable

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (pretrain, surprise):
        app.command(rich_help_panel="Stage two: features to answers")(command)


def pretrain(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="STORE... [NAME=VALUE...]",
            help="Stores of one recipe, a .yaml file of settings if there is one, and settings: decoder.name=lv-mae "
            "objective.name=next-clip epochs=150 out=runs/pre",
        ),
    ],
    as_json: JSON = False,
) -> int:
    """Pretrain a decoder without labels: predict masked clips, or the next ones; `decoder.init=RUN` starts from it."""
    from longvid.pipelines.pretraining.config import load_pretraining
    from longvid.pipelines.pretraining.run import pretrain as run

    places = [word for word in words if "=" not in word]
    recipes = [word for word in places if word.endswith((".yaml", ".yml"))]
    if len(recipes) > 1:
        raise typer.BadParameter(f"{' and '.join(recipes)}: give one file of settings")
    stores = [word for word in places if word not in recipes]
    config = load_pretraining(stores, recipes[0] if recipes else None, [word for word in words if "=" in word])
    with PretrainingBar(error_console, label=config.decoder.name) as progress:
        result = run(config, progress=progress)
    if as_json:
        print_json(result)
        return 0
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    losses = table("last epoch", "loss", *result.train.constants, right=("loss", *result.train.constants))
    for name, compared in (("training", result.train), ("held-out videos", result.val)):
        if compared is not None:
            values = (compared.loss, *compared.constants.values())
            losses.add_row(name, *(f"{value:.4g}" for value in values))
    console.print(losses)
    hardest = min((result.val or result.train).constants.items(), key=lambda pair: pair[1])[0]
    console.print(
        f"better than every guess that needs no model (the best is {hardest})"
        if result.learned
        else f"NOT better than {hardest}, which needs no model: nothing is learned; train longer, or mask otherwise",
        style="" if result.learned else "yellow",
    )
    console.print(
        f"{result.decoder}, {result.parameters:,} parameters and {result.added_parameters:,} for the objective; "
        f"{result.videos} videos, {result.hours:.1f} hours; {result.epochs} epochs in {human_seconds(result.seconds)}, "
        f"{result.hours_per_second:.3g} hours of video per second"
    )
    console.print(f"run: {result.out}; start from it with `longvid train ... decoder.init={result.out}`")
    return 0


def surprise(
    run: Annotated[Path, typer.Argument(help="Folder of a pretraining with objective.name=next-clip.")],
    video: Annotated[str, typer.Argument(help="A video file; with --store the key of a video.")],
    store: Annotated[str | None, typer.Option(help="A store of the same features that holds the video.")] = None,
    threshold: Annotated[float, typer.Option(help="Deviations above the mean that make a boundary.")] = 3.0,
    gap: Annotated[int, typer.Option(help="Clips on either side that a boundary must exceed.")] = 4,
    encoder: Annotated[
        str | None, typer.Option(help="The encoder of the features, if it has moved or is your own; checked.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Checkpoint file of the encoder, if it has moved.")] = None,
    as_json: JSON = False,
) -> int:
    """How unexpected each clip of a video is, and where events begin, in the order of a stream."""
    from longvid.pipelines.cli.own_code import find_own_code
    from longvid.pipelines.pretraining.surprise import surprise_of

    find_own_code(encoder)
    found = surprise_of(run, video, store=store, threshold=threshold, gap=gap, encoder=encoder, weights=weights)
    if as_json:
        print_json(found)
        return 0
    rows = table("boundary at", "surprise", right=("boundary at", "surprise"))
    for index in found.boundaries:
        rows.add_row(f"{found.seconds[index][0]:.1f} s", f"{found.surprise[index]:.4g}")
    if found.boundaries:
        console.print(rows)
    console.print(
        printable(
            f"{found.video}: {len(found.boundaries)} boundaries in {len(found.seconds)} clips; loss of the next clip "
            f"{found.mean:.4g}, of the last clip again {found.last_clip:.4g}"
        )
    )
    return 0


class PretrainingBar:
    """Draws a bar with the loss, the hardest guess and hours of video per second; plain lines without a terminal."""

    def __init__(self, console: Console, *, label: str) -> None:
        self._console = console
        self._label = label
        self._bar: Progress | None = None
        self._epochs = 0
        self._last_line = time.monotonic()

    def started(self, *, epochs: int, done: int) -> None:
        """Start the bar."""
        self._epochs = epochs
        if not self._console.is_terminal:
            return
        self._bar = epoch_bar(self._console)
        self._task = self._bar.add_task(self._label, total=epochs, completed=done, figures="")
        self._bar.start()

    def epoch_ended(self, row: Any) -> None:
        """Move the bar, or print a line if the last one is 15 seconds old."""
        compared = row.val or row.train
        figures = f"loss {compared.loss:.3g} (guess {compared.hardest:.3g})  {row.hours_per_second:.3g} h/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=row.epoch + 1, figures=figures)
        elif time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            line = f"{self._label}: epoch {row.epoch + 1}/{self._epochs}  {figures}"
            self._console.print(line, markup=False, highlight=False)

    def __enter__(self) -> "PretrainingBar":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()
