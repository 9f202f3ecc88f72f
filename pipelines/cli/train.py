"""`longvid train | baseline | evaluate | predict | report`: stage two."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from longvid.errors import ConfigError
from longvid.pipelines.cli.console import console, error_console, human_seconds, print_json, table
from longvid.pipelines.cli.options import parse_options
from longvid.pipelines.cli.own_code import find_own_code, find_own_decoder
from longvid.printable import printable

RunFolder = Annotated[Path, typer.Argument(help="Folder of a training run.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Import the decoder, module:callable, that your own recipe file names.")
]
OwnDecoder = Annotated[
    str | None,
    typer.Option(
        "--decoder", help="module:callable, if the run trained a decoder of your own; its weights are checked."
    ),
]
OwnOptions = Annotated[
    list[str] | None,
    typer.Option("--decoder-option", metavar="NAME=VALUE", help="A text option of that decoder; repeatable."),
]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (train, baseline, evaluate, predict, report):
        app.command(rich_help_panel="Stage two: features to answers")(command)
    app.command(rich_help_panel="Both stages")(demo)


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file, or the name of a recipe from `longvid tasks`.")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: epochs=20 decoder.name=gru")] = None,
    allow_code: AllowCode = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the run that the folder holds, and train from the start.")
    ] = False,
    settings: Annotated[
        bool,
        typer.Option(
            "--settings", help="List every setting, with the recipe's values, and train nothing; --json: a JSON schema."
        ),
    ] = False,
    as_json: JSON = False,
) -> int:
    """Train a long-range decoder on a store's features; an interrupted run continues after its last epoch.

    A finished run goes on if epochs is raised; more seeds are added to those there are.
    """
    if settings:
        from longvid.pipelines.cli.settings import print_settings

        return print_settings(recipe, overrides, as_json=as_json)
    if recipe is None:
        raise ConfigError(
            "give a recipe or settings: longvid train store=x.zarr manifest=videos.csv; "
            "--settings lists all settings, `longvid tasks` the recipes"
        )
    from longvid.metrics.items import METRICS
    from longvid.pipelines.cli.training_progress import ConsoleProgress
    from longvid.pipelines.training.train import train as run

    config = recipe_config(recipe, overrides, allow_code=allow_code)
    find_own_decoder(config.decoder.name)
    if config.several_folds:
        return _train_folds(config, as_json=as_json)
    with ConsoleProgress(error_console, label=config.decoder.name, monitor=_monitor(config)) as progress:
        result = run(config, progress=progress, overwrite=overwrite)
    if as_json:
        print_json(result)
        return 0
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    for hint in result.hints:
        console.print(printable(f"hint: {hint}"), style="yellow")
    rows = table("metric", "validation", "baseline", right=("validation", "baseline"))
    for name, value in result.validation.items():
        part, _, own = name.rpartition("/")  # of several tasks learned together: `relationship/accuracy`
        metric, baseline = METRICS[own], result.baseline.get(name)
        shown = "-" if baseline is None else metric.format(baseline)
        rows.add_row(f"{part} {metric.label}".strip(), metric.format(value.mean, value.std), shown)
    console.print(rows)
    chosen = "test" if result.selected_by == "test" else "validation"
    console.print(
        f"{result.decoder}, {result.parameters:,} parameters; trained on {result.coverage('train')} training videos, "
        f"best epoch chosen by {result.coverage(result.selected_by)} {chosen} videos"
    )
    console.print(f"run: {result.out}; score it with `longvid evaluate {result.out}`")
    return 0


def _train_folds(config: Any, *, as_json: bool) -> int:
    """Train each fold, evaluate it, and print the average."""
    from longvid.pipelines.cli.answers import print_folds
    from longvid.pipelines.cli.training_progress import ConsoleProgress
    from longvid.pipelines.evaluation.folds import evaluate_folds
    from longvid.pipelines.training.fold_runs import fold_config, write_folds
    from longvid.pipelines.training.train import train as run

    write_folds(config)
    for fold in config.folds:
        own = fold_config(config, fold)
        label = f"{config.decoder.name} {fold}"
        with ConsoleProgress(error_console, label=label, monitor=_monitor(own)) as progress:
            result = run(own, progress=progress)
        for note in result.notes:
            error_console.print(printable(f"note: {fold}: {note}"), style="yellow")
    mean = evaluate_folds(config.out)
    if as_json:
        print_json(mean)
    else:
        print_folds(mean)
    return 0


def baseline(
    recipe: Annotated[str, typer.Argument(help="As for `longvid train`.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: store=x.zarr")] = None,
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    as_json: JSON = False,
) -> int:
    """Fit a linear model to each video's pooled features, in seconds: what a decoder has to beat."""
    from longvid.metrics.items import METRICS
    from longvid.pipelines.evaluation.baseline import baseline as run

    config = recipe_config(recipe, overrides)
    with error_console.status("pooling and fitting"):
        result = run(config, split=split)
    if as_json:
        print_json(result)
        return 0
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    rows = table("metric", split, "validation", "constant answer", right=(split, "validation", "constant answer"))
    for name, value in result.metrics.items():
        metric = METRICS[name]
        others = (result.validation[name], result.constant[name])
        rows.add_row(metric.label, *map(metric.format, (value, *others)))
    console.print(rows)
    missing = f", {len(result.missing)} not in the store" if result.missing else ""
    console.print(f"{result.evaluated} videos of {split}{missing}; fitted on {result.train}, chosen on {result.val}")
    console.print(f"pooling {result.pooling}, inverse regularisation {result.strength:g}")
    return 0


def recipe_config(recipe: str, overrides: list[str] | None, *, allow_code: bool = False) -> Any:
    """The settings of a recipe with overrides, or of `NAME=VALUE` words alone."""
    from longvid.pipelines.training.config import load_config

    words = [*([recipe] if "=" in recipe else []), *(overrides or [])]
    config = load_config(None if "=" in recipe else recipe, words, allow_code=allow_code)
    if allow_code and ":" in config.decoder.name:
        error_console.print(f"note: importing {config.decoder.name}, the recipe's decoder", style="dim")
    if config.decoder.init is None:
        return config
    from longvid.pipelines.training.start import started_from

    return started_from(config)


def _monitor(config: Any) -> str:
    """The metric that chooses the best epoch."""
    from longvid.pipelines.training.data import listed_videos, task_of

    return task_of(config, listed_videos(config)).metrics[0]


def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    store: Annotated[
        list[str] | None,
        typer.Option(help="Another store of the same recipe; once for each store of a run that has several."),
    ] = None,
    allow_missing: Annotated[bool, typer.Option(help="Score the videos that the store holds.")] = False,
    predictions: Annotated[
        Literal["csv", "jsonl", "parquet", "json", "mstcn"],
        typer.Option(
            help="Format of the predictions: csv, jsonl, parquet; for dense tasks also json (segments, as in "
            "ActivityNet) and mstcn (a label per frame, as in MS-TCN)."
        ),
    ] = "csv",
    decoder: OwnDecoder = None,
    decoder_option: OwnOptions = None,
    zero_shot: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help='One more baseline, the names of the classes alone: "a video of {}"; for features of models aligned '
            "with text (pooling embedding).",
        ),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="With --zero-shot: the model of the features, if it has moved.")
    ] = None,
    as_json: JSON = False,
) -> int:
    """Score a trained run on a split, beside a baseline that ignores the video."""
    from longvid.hub import local_run
    from longvid.pipelines.cli.answers import print_evaluation, print_folds
    from longvid.pipelines.evaluation.evaluate import evaluate as score
    from longvid.pipelines.training.fold_runs import FOLDS_FILE
    from longvid.pipelines.training.joint import part_folders

    find_own_decoder(decoder)
    run = local_run(run)
    if (run / FOLDS_FILE).is_file():
        from longvid.pipelines.evaluation.folds import evaluate_folds

        allowed = allow_missing or None
        folds = evaluate_folds(run, split=split, store=store or None, allow_missing=allowed, predictions=predictions)
        print_json(folds) if as_json else print_folds(folds)
        return 0
    results = [
        score(
            part,
            split=split,
            store=store or None,
            allow_missing=allow_missing or None,
            predictions=predictions,
            decoder=decoder,
            decoder_options=parse_options(decoder_option or []),
            zero_shot=zero_shot,
            encoder=encoder,
        )
        for part in part_folders(run)
    ]
    if as_json:
        print_json(results[0] if len(results) == 1 else results)
        return 0
    for result in results:
        if len(results) > 1:
            console.print(printable(result.name), style="bold")
        print_evaluation(result)
    return 0


def predict(
    run: RunFolder,
    video: Annotated[str, typer.Argument(help="A video file, or the URL of one.")],
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
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Also write the prediction: .csv, .jsonl, .parquet (a row per clip or window), .json (everything), "
            ".txt (a label per frame, as in MS-TCN, for dense tasks).",
        ),
    ] = None,
    decoder: OwnDecoder = None,
    decoder_option: OwnOptions = None,
    as_json: JSON = False,
) -> int:
    """Compute what a video file shows, and when: scores over time, or segments for dense tasks."""
    from longvid.pipelines.cli.answers import print_prediction
    from longvid.pipelines.evaluation.predict import predict as run_prediction

    for name in encoder or []:
        find_own_code(name)
    find_own_decoder(decoder)
    prediction = run_prediction(
        run,
        video,
        encoder=encoder or None,
        encoder_options=parse_options(option) if option else None,
        weights=weights or None,
        decoder=decoder,
        decoder_options=parse_options(decoder_option or []),
        allow_damaged=allow_damaged,
        out=out,
    )
    if as_json:
        print_json(prediction.to_dict())
    else:
        print_prediction(prediction)
    return 0


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trained and evaluated runs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file.")] = Path("report.html"),
) -> int:
    """Write one self-contained HTML page: results, curves, confusion, per-class table, videos over time."""
    from longvid.pipelines.reporting import report as run

    run(runs, out, say=lambda line: error_console.print(printable(line), style="yellow"))
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
    from longvid.metrics.items import METRICS
    from longvid.pipelines.demo.run import demo as run_demo

    result = run_demo(folder, videos=videos, seeds=tuple(range(seeds)), workers=workers, say=error_console.print)
    if as_json:
        print_json(result)
        return 0
    rows = table(
        "decoder", "test accuracy", "parameters", "training", right=("test accuracy", "parameters", "training")
    )
    for row in result.decoders:
        accuracy = METRICS["accuracy"].format(row.accuracy.mean, row.accuracy.std)
        rows.add_row(row.name, accuracy, f"{row.parameters:,}", human_seconds(row.train_seconds))
    console.print(rows)
    for line in result.facts():
        console.print(line)
    return 0
