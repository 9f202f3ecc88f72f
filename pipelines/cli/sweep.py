"""`longvid sweep`: search over a recipe's settings."""

import time
from typing import Annotated, Any

import typer

from longvid.errors import ConfigError
from longvid.pipelines.cli.console import (
    LINE_EVERY_SECONDS,
    console,
    counted,
    error_console,
    human_seconds,
    print_json,
    table,
)
from longvid.printable import printable

SHOWN_TRIALS = 10


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the command line."""
    app.command(rich_help_panel="Stage two: features to answers")(sweep)


def sweep(
    recipe: Annotated[str, typer.Argument(help="As for `longvid train`.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: store=x.zarr epochs=20 out=runs/s")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="A setting and its values, a list or a range: decoder.name=[gru,vis4mer], epochs=10..80, "
            "optimiser.learning_rate=1e-5..1e-2; repeatable. Without any: learning rate and weight decay.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of an earlier call included.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    prune: Annotated[bool, typer.Option(help="Stop trials early that do worse than the median of the others.")] = True,
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Keep every trial's run, not the best one's only.")
    ] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Import the decoder, module:callable, that your own recipe file names.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> int:
    """Search for good settings by validation videos; the same command goes on, and test is never looked at."""
    from longvid.metrics.items import METRICS
    from longvid.pipelines.cli.own_code import find_own_decoder
    from longvid.pipelines.cli.train import recipe_config
    from longvid.pipelines.sweeping.run import sweep as run
    from longvid.pipelines.sweeping.space import space_of_words

    words = list(vary or [])
    names = [word.partition("=")[0].strip() for word in words]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"--vary {twice} is given twice; list all its values in one")
    config = recipe_config(recipe, overrides, allow_code=allow_code)
    find_own_decoder(config.decoder.name)
    result = run(
        config,
        space_of_words(words) or None,
        trials=trials,
        seed=seed,
        prune=prune,
        keep_runs=keep_runs,
        progress=SweepLines(),
    )
    if as_json:
        print_json(result)
        return 0
    metric = METRICS[result.metric.split("+")[0].rpartition("/")[2]]
    rows = table("trial", "validation", "epochs", "settings", right=("trial", "validation", "epochs"))
    for trial in result.trials[:SHOWN_TRIALS]:
        value = "-" if trial.value is None else metric.format(trial.value)
        note = "" if trial.state == "done" else f" ({trial.state})"
        rows.add_row(str(trial.number), value, str(trial.epochs), settings_in_words(trial.settings) + note)
    console.print(rows)
    if len(result.trials) > SHOWN_TRIALS:
        console.print(f"... and {len(result.trials) - SHOWN_TRIALS} more in {result.table}")
    for trial in result.trials:
        if trial.reason:
            console.print(printable(f"failed: trial {trial.number}: {trial.reason}"), style="yellow")
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    console.print(
        f"{counted(len(result.trials), 'trial')} by {result.metric}: {result.count('done')} done, "
        f"{result.count('pruned')} stopped early, {result.count('failed')} failed; plot: {result.plot}"
    )
    console.print(f"best: trial {result.best.number}; score it with `longvid evaluate {result.run}`")
    console.print(f"its settings: {result.recipe}; train more seeds with `longvid train {result.recipe} seeds=[0,1,2]`")
    return 0


def settings_in_words(settings: dict[str, Any]) -> str:
    """`learning_rate=0.0012 name=gru`; whole names where the short ones are not enough."""
    short = [name.rpartition(".")[2] for name in settings]
    names = short if len(set(short)) == len(short) else list(settings)
    shown = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in settings.values())
    return " ".join(f"{name}={value}" for name, value in zip(names, shown, strict=True))


class SweepLines:
    """A line per ended trial on standard error, and one every 15 seconds of a long one."""

    def __init__(self) -> None:
        self._last_line = time.monotonic()
        self._at = ""

    def trial_started(self, number: int, trials: int, settings: dict[str, Any]) -> None:
        """Remember which trial it is."""
        self._at = f"trial {number + 1}/{trials}"

    def epoch_ended(self, row: Any) -> None:
        """Print a line if the last one is 15 seconds old."""
        if time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._say(f"{self._at}: epoch {row.epoch + 1}  loss {row.train_loss:.3f}")

    def trial_ended(self, trial: Any, best: Any) -> None:
        """Print the trial's line."""
        value = "" if trial.value is None else f"  {trial.value:.4g}"
        beside = "" if best is None else f"  best {best.value:.4g} (trial {best.number})"
        took = "" if trial.seconds is None else f"  {human_seconds(trial.seconds)}"
        self._say(f"{self._at}: {settings_in_words(trial.settings)}  {trial.state}{value}{beside}{took}")

    def _say(self, line: str) -> None:
        self._last_line = time.monotonic()
        error_console.print(printable(line))
