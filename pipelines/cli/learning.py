"""`longvid finetune | distil`: encoders that learn."""

from typing import Annotated, Any

import typer

from longvid.errors import ConfigError
from longvid.pipelines.cli.console import console, error_console, human_seconds, print_json, table
from longvid.printable import printable

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Remove the run that the folder holds, and train from the start.")
]
ShowSettings = Annotated[
    bool, typer.Option("--settings", help="List every setting, with the recipe's values, and train nothing.")
]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (finetune, distil):
        app.command(rich_help_panel="Encoders that learn")(command)


def finetune(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe file, or a name: motion, xvit-k400, dualformer-tiny-k400, ...; or settings."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides: manifest=k400.jsonl encoder.weights=vit.safetensors epochs=4")
    ] = None,
    overwrite: Overwrite = False,
    settings: ShowSettings = False,
    as_json: JSON = False,
) -> int:
    """Train an encoder on labelled clips; an interrupted run continues after its last epoch.

    What it writes, best.safetensors, is what `longvid extract --weights` reads.
    """
    from longvid.pipelines.learning.config import FinetuneConfig, load_finetuning

    words = [*([recipe] if recipe and "=" in recipe else []), *(overrides or [])]
    named = None if recipe is None or "=" in recipe else recipe
    if settings:
        return _print_settings(FinetuneConfig, named, words, as_json=as_json)
    if recipe is None:
        raise ConfigError(
            "give a recipe or settings: longvid finetune motion, or longvid finetune manifest=clips.jsonl "
            "encoder.name=video-mobile-former-500m; --settings lists all"
        )
    from longvid.pipelines.cli.training_progress import ConsoleProgress
    from longvid.pipelines.learning.finetune import finetune as run

    config = load_finetuning(named, words)
    with ConsoleProgress(error_console, label=config.encoder.name, monitor="accuracy") as progress:
        result = run(config, progress=progress, overwrite=overwrite)
    return _print_result(result, as_json=as_json)


def distil(
    student: Annotated[
        str | None, typer.Argument(help="The encoder that learns, from `longvid encoders`; or a recipe file.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings: store=teacher.zarr videos=FOLDER epochs=50 projector=kept out=runs/student"),
    ] = None,
    overwrite: Overwrite = False,
    settings: ShowSettings = False,
    as_json: JSON = False,
) -> int:
    """Train an encoder to give the features that a store already holds of another one; no labels, no teacher.

    With projector=kept its features are in the teacher's space, so that old decoders go on working.
    """
    from longvid.pipelines.learning.config import DistilConfig, load_distillation

    if settings:
        return _print_settings(DistilConfig, None, overrides or [], as_json=as_json)
    if student is None or "=" in student:
        raise ConfigError(
            "give a student: longvid distil video-mobile-former-500m store=teacher.zarr videos=FOLDER; --settings "
            "lists all settings"
        )
    from longvid.pipelines.cli.training_progress import ConsoleProgress
    from longvid.pipelines.learning.distil import distil as run

    config = load_distillation(student, overrides or [])
    with ConsoleProgress(error_console, label=config.encoder.name, monitor="cosine") as progress:
        result = run(config, progress=progress, overwrite=overwrite)
    return _print_result(result, as_json=as_json)


def _print_settings(model: Any, recipe: str | None, words: list[str], *, as_json: bool) -> int:
    from longvid.pipelines.cli.settings import print_rows
    from longvid.pipelines.learning.config import read_learning_recipe
    from longvid.pipelines.training.settings_reference import learning_rows

    if words:
        raise ConfigError("--settings lists all settings, or those of a recipe: longvid finetune --settings motion")
    if as_json:
        print_json(model.model_json_schema())
    else:
        print_rows(learning_rows(model, {} if recipe is None else read_learning_recipe(recipe)))
    return 0


def _print_result(result: Any, *, as_json: bool) -> int:
    from longvid.metrics.items import METRICS

    if as_json:
        print_json(result)
        return 0
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    rows = table("metric", "validation", right=("validation",))
    for name, value in result.metrics.items():
        metric = METRICS.get(name)
        rows.add_row(metric.label if metric else name, metric.format(value) if metric else f"{value:.3f}")
    console.print(rows)
    console.print(
        printable(
            f"{result.encoder}, {result.parameters:,} parameters; {result.train} training and {result.val} validation "
            f"videos; best epoch {result.best_epoch + 1} of {result.epochs}, {human_seconds(result.seconds)}; "
            f"{result.clips_per_second:.3g} clips per second, peak memory {result.peak_memory_bytes / 2**30:.2f} GiB"
        )
    )
    console.print(
        printable(f"weights: {result.weights}; use them by `longvid extract --encoder {result.encoder} --weights ...`")
    )
    return 0
