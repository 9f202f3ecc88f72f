"""`longvid train | baseline | evaluate | predict | report`: stage two."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from longvid.pipelines.cli.console import console, error_console, human_seconds, print_json, printable, table
from longvid.pipelines.cli.options import parse_options
from longvid.pipelines.cli.own_code import find_own_code

MAX_ROWS = 40
"""Rows of a prediction shown in the terminal; `--json` has them all."""

RunFolder = Annotated[Path, typer.Argument(help="Folder of a training run.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (train, baseline, evaluate, predict, report):
        app.command(rich_help_panel="Stage two: features to answers")(command)
    app.command(rich_help_panel="Both stages")(demo)


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a recipe from `longvid tasks`.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: epochs=20 decoder.name=gru")] = None,
    as_json: JSON = False,
) -> int:
    """Train a long-range decoder on a store's features; an interrupted run continues after its last epoch."""
    from longvid.pipelines.cli.training_progress import ConsoleProgress
    from longvid.pipelines.training.train import train as run

    config = _config(recipe, overrides)
    with ConsoleProgress(error_console, label=config.decoder.name, monitor=_monitor(config)) as progress:
        result = run(config, progress=progress)
    if as_json:
        print_json(result)
        return 0
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    rows = table("metric", "validation", "baseline", right=("validation", "baseline"))
    for name, value in result.validation.items():
        baseline = result.baseline.get(name)
        rows.add_row(name, _spread(value), "-" if baseline is None else f"{baseline:.4g}")
    console.print(rows)
    chosen = "test" if result.selected_by == "test" else "validation"
    console.print(
        f"{result.decoder}, {result.parameters:,} parameters; trained on {result.coverage('train')} training videos, "
        f"best epoch chosen by {result.coverage(result.selected_by)} {chosen} videos"
    )
    console.print(f"run: {result.out}; score it with `longvid evaluate {result.out}`")
    return 0


def baseline(
    recipe: Annotated[str, typer.Argument(help="As for `longvid train`.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: store=x.zarr")] = None,
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    as_json: JSON = False,
) -> int:
    """Fit a linear model to each video's pooled features, in seconds: what a decoder has to beat."""
    from longvid.pipelines.evaluation.baseline import baseline as run

    config = _config(recipe, overrides)
    with error_console.status("pooling and fitting"):
        result = run(config, split=split)
    if as_json:
        print_json(result)
        return 0
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    rows = table("metric", split, "validation", "constant answer", right=(split, "validation", "constant answer"))
    for name, value in result.metrics.items():
        rows.add_row(name, f"{value:.4g}", f"{result.validation[name]:.4g}", f"{result.constant[name]:.4g}")
    console.print(rows)
    missing = f", {len(result.missing)} not in the store" if result.missing else ""
    console.print(f"{result.evaluated} videos of {split}{missing}; fitted on {result.train}, chosen on {result.val}")
    console.print(f"pooling {result.pooling}, inverse regularisation {result.strength:g}")
    return 0


def _config(recipe: str, overrides: list[str] | None) -> Any:
    """The settings of a recipe with overrides, or of `NAME=VALUE` words alone."""
    from longvid.pipelines.training.config import load_config

    words = [*([recipe] if "=" in recipe else []), *(overrides or [])]
    return load_config(None if "=" in recipe else recipe, words)


def _monitor(config: Any) -> str:
    """The metric that chooses the best epoch."""
    from longvid.pipelines.training.data import listed_videos, task_of

    return task_of(config, listed_videos(config)).metrics[0]


def _spread(value: Any) -> str:
    """`0.8125 +- 0.012`; a deviation that the mean's digits do not show is 0."""
    mean = f"{value.mean:.4g}"
    if value.std is None:
        return mean
    last_digit = 10 ** (math.floor(math.log10(abs(value.mean))) - 3) if value.mean else 1e-4
    return f"{mean} +- {value.std:.2g}" if value.std >= last_digit / 2 else f"{mean} +- 0"


def _say_untrained(result: Any) -> None:
    """Print a note where the recipe asks for seeds that are not fully trained."""
    if result.untrained_seeds:
        count = len(result.untrained_seeds) + len(result.seeds)
        names = ", ".join(map(str, result.untrained_seeds))
        console.print(
            f"note: {len(result.untrained_seeds)} of {count} seeds not trained to the end, and not counted: {names}; "
            "run the same `longvid train` again",
            style="yellow",
        )


def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    store: Annotated[
        list[str] | None,
        typer.Option(help="Another store of the same recipe; once for each store of a run that has several."),
    ] = None,
    allow_missing: Annotated[bool, typer.Option(help="Score the videos that the store holds.")] = False,
    predictions: Annotated[
        Literal["csv", "jsonl", "parquet"], typer.Option(help="Format of the predictions file.")
    ] = "csv",
    as_json: JSON = False,
) -> int:
    """Score a trained run on a split, beside a baseline that ignores the video."""
    from longvid.pipelines.evaluation.evaluate import evaluate as score
    from longvid.pipelines.training.joint import part_folders

    results = [
        score(part, split=split, store=store or None, allow_missing=allow_missing or None, predictions=predictions)
        for part in part_folders(run)
    ]
    if as_json:
        print_json(results[0] if len(results) == 1 else results)
        return 0
    for result in results:
        if len(results) > 1:
            console.print(printable(result.name), style="bold")
        _print_evaluation(result)
    return 0


def _print_evaluation(result: Any) -> None:
    rows = table("metric", "per video", "per window", "baseline", right=("per video", "per window", "baseline"))
    for name, value in result.metrics.items():
        window = result.window_metrics.get(name)
        baseline = result.baseline.get(name)
        rows.add_row(
            name, _spread(value), _spread(window) if window else "-", "-" if baseline is None else f"{baseline:.4g}"
        )
    console.print(rows)
    seeds = f"{len(result.seeds)} seeds" if len(result.seeds) > 1 else "1 seed"
    console.print(f"{result.coverage} of {result.split}, {result.windows} windows, {seeds}")
    _say_untrained(result)
    if result.partial:
        from longvid.pipelines.training.data import shown

        named = shown([f"{key} ({count} clips)" for key, count in result.partial.items()])
        videos = f"{len(result.partial)} of the videos lack" if len(result.partial) > 1 else "1 of the videos lacks"
        console.print(printable(f"{videos} clips, where the file is damaged: {named}"), style="yellow")
    console.print(printable(f"baseline: {result.baseline_answer}"))
    if result.per_class:
        numbers = ("items", "precision", "recall", "F1")
        classes = table("class", *numbers, right=numbers)
        counted = len(result.seeds) if result.confusion is not None else 1  # its rows are summed over seeds
        for row in result.per_class:
            classes.add_row(
                row.name, str(row.support // counted), f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}"
            )
        console.print(classes)


def predict(
    run: RunFolder,
    video: Annotated[Path, typer.Argument(help="A video file.")],
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="The encoder of the features, if it has moved (a folder), must be fetched (a hub id) or is your own "
            "(module:callable); the digest of its weights is checked. With several stores once for each."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of that encoder; repeatable.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Checkpoint file of the encoder, if it has moved. With several stores once for each."),
    ] = None,
    allow_damaged: Annotated[
        bool, typer.Option("--allow-damaged", help="Use the sound clips of a damaged file.")
    ] = False,
    as_json: JSON = False,
) -> int:
    """Compute class scores over time straight from a video file."""
    from longvid.pipelines.evaluation.predict import predict as run_prediction

    for name in encoder or []:
        find_own_code(name)
    prediction = run_prediction(
        run,
        video,
        encoder=encoder or None,
        encoder_options=parse_options(option) if option else None,
        weights=weights or None,
        allow_damaged=allow_damaged,
    )
    if as_json:
        print_json(prediction.to_dict())
    else:
        _print_prediction(prediction)
    return 0


def _print_prediction(prediction: Any) -> None:
    """Print the scores over time, at most `MAX_ROWS` rows, each row's highest in bold; then the answer."""
    rows = table(prediction.kind, *prediction.outputs, right=prediction.outputs)
    begins = prediction.seconds[:, 0].tolist()
    digits = 0 if all(second - first >= 1 for first, second in pairwise(begins)) else 1
    every = max(1, -(-len(prediction.scores) // MAX_ROWS))
    for (start, end), scores in list(zip(prediction.seconds, prediction.scores, strict=True))[::every]:
        best = scores.argmax() if len(scores) > 1 else -1
        cells = [Text(f"{score:.3f}", "bold" if index == best else "") for index, score in enumerate(scores)]
        rows.add_row(f"{start:.{digits}f} - {end:.{digits}f} s", *cells)
    console.print(rows)
    total = ", ".join(f"{name} {score:.3f}" for name, score in prediction.total.items())
    _say_untrained(prediction)
    for line in prediction.damaged:
        console.print(printable(f"not seen: {line}"), style="yellow")
    answer = prediction.answer if prediction.answer is not None else "see the rows above"
    console.print(printable(f"{prediction.video}: {answer} ({total})"))


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trained and evaluated runs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file.")] = Path("report.html"),
) -> int:
    """Write one self-contained HTML page: results, curves, confusion, per-class table, videos over time."""
    from longvid.pipelines.reporting import report as run

    run(runs, out)
    console.print(f"report: {out}")
    return 0


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Folder for videos, store, runs and report.")] = Path(
        "longvid-demo"
    ),
    videos: Annotated[int, typer.Option(help="Number of videos to make.")] = 440,
    seeds: Annotated[int, typer.Option(help="Trainings per decoder.")] = 3,
    workers: Annotated[int, typer.Option(help="Processes that draw, extract and train.")] = 2,
    as_json: JSON = False,
) -> int:
    """Draw small videos, run both stages on them, compare two decoders and write a report."""
    from longvid.pipelines.demo.run import demo as run_demo

    result = run_demo(folder, videos=videos, seeds=tuple(range(seeds)), workers=workers, say=error_console.print)
    if as_json:
        print_json(result)
        return 0
    rows = table(
        "decoder", "test accuracy", "parameters", "training", right=("test accuracy", "parameters", "training")
    )
    for row in result.decoders:
        accuracy = row.accuracy
        spread = f" +- {100 * accuracy.std:.1f}" if accuracy.std is not None else ""
        rows.add_row(
            row.name, f"{100 * accuracy.mean:.1f}{spread} %", f"{row.parameters:,}", human_seconds(row.train_seconds)
        )
    console.print(rows)
    for line in result.facts():
        console.print(line)
    return 0
