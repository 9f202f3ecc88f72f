"""What `longvid evaluate` and `longvid predict` print."""

from itertools import pairwise
from typing import Any

import numpy as np
from rich.text import Text

from longvid.metrics.items import METRICS
from longvid.pipelines.cli.console import console, counted, table
from longvid.printable import printable

MAX_ROWS = 40
"""Rows of a prediction shown in the terminal; `--json` has them all."""
MAX_CLASSES = 6
"""Classes whose scores fit beside the times; of more, the highest are shown."""


def say_untrained(result: Any) -> None:
    """Print a note where the recipe asks for seeds that are not fully trained."""
    if result.untrained_seeds:
        count = len(result.untrained_seeds) + len(result.seeds)
        names = ", ".join(map(str, result.untrained_seeds))
        console.print(
            f"note: {len(result.untrained_seeds)} of {count} seeds not trained to the end, and not counted: {names}; "
            "run the same `longvid train` again",
            style="yellow",
        )


def print_evaluation(result: Any) -> None:
    """Print metrics beside the baseline, what they rest on, and a row per class."""
    numbers = ["per video", "95 % interval", *(["per window"] if result.window_metrics else []), "baseline"]
    rows = table("metric", *numbers, right=numbers)
    for name, value in result.metrics.items():
        window, metric = result.window_metrics.get(name), METRICS[name]
        by_window = [metric.format(window.mean, window.std)] if window else ["-"] * bool(result.window_metrics)
        baseline = metric.format(result.baseline[name]) if name in result.baseline else "-"
        within = range_of(result.intervals.get(name), name)
        rows.add_row(metric.label, metric.format(value.mean, value.std), within, *by_window, baseline)
    console.print(rows)
    seeds = f"{len(result.seeds)} seeds" if len(result.seeds) > 1 else "1 seed"
    console.print(f"{result.coverage} of {result.split}, {result.windows} windows, {seeds}")
    say_untrained(result)
    if result.too_short:
        from longvid.pipelines.training.data import shown

        count, named = len(result.too_short), shown(list(result.too_short))
        console.print(printable(f"{count} too short for the decoder, and not scored: {named}"), style="yellow")
    if result.partial:
        from longvid.pipelines.training.data import shown

        named = shown([f"{key} ({count} clips)" for key, count in result.partial.items()])
        videos = f"{len(result.partial)} of the videos lack" if len(result.partial) > 1 else "1 of the videos lacks"
        console.print(printable(f"{videos} clips, where the file is damaged: {named}"), style="yellow")
    console.print(printable(f"baseline: {result.baseline_answer}"))
    _print_calibration(result.calibration)
    if result.zero_shot:
        words = ", ".join(f"{METRICS[name].label} {METRICS[name].format(v)}" for name, v in result.zero_shot.items())
        console.print(f"zero-shot, by the names of the classes: {words}")
    _print_readings(result.readings)
    if result.per_class:
        columns = ("items", "precision", "recall", "F1")
        classes = table("class", *columns, right=columns)
        seeds_summed = len(result.seeds) if result.confusion is not None else 1  # its rows are summed over seeds
        for row in result.per_class:
            shares = [f"{100 * share:.1f} %" for share in (row.precision, row.recall, row.f1)]
            classes.add_row(row.name, str(row.support // seeds_summed), *shares)
        console.print(classes)
    for path in result.predictions:
        console.print(printable(f"predictions: {path}"), style="dim")


def range_of(interval: Any, name: str) -> str:
    """The interval of a metric as text, `-` where there is none."""
    return "-" if interval is None else METRICS[name].format_range(interval.low, interval.high)


def _print_calibration(found: Any) -> None:
    """Print the expected calibration error, before and after temperature scaling."""
    if found is None:
        return
    line = f"expected calibration error: {100 * found.before.error:.1f} %"
    if found.after is not None:
        shown = ", ".join(f"{value:.2f}" for value in found.temperatures.values())
        line += f"; {100 * found.after.error:.1f} % at temperature {shown}"
        line += f", fitted on {found.fitted_on} validation videos"
    console.print(line)


def print_folds(result: Any) -> None:
    """Print one column per fold, and their mean."""
    columns = (*result.folds, "mean", "95 % interval", "baseline")
    rows = table("metric", *columns, title=f"{result.out}, {result.split}", right=columns)
    for name, mean in result.metrics.items():
        metric, own = METRICS[name], [found.metrics[name] for found in result.evaluations]
        each = [metric.format(value.mean, value.std) for value in own]
        within = range_of(result.intervals.get(name), name)
        rows.add_row(metric.label, *each, metric.format(mean.mean), within, metric.format(result.baseline[name]))
    console.print(rows)
    for fold, found in zip(result.folds, result.evaluations, strict=True):
        console.print(f"{fold}: {found.coverage}, {len(found.seeds)} seeds, best epoch chosen before test was read")
        say_untrained(found)
    _print_readings(result.readings)


def _print_readings(readings: dict[str, dict[str, float]]) -> None:
    """Print segmentation metrics as other authors count them; nothing if there are none."""
    if not readings:
        return
    from longvid.metrics.segmentation import READINGS

    metrics = list(next(iter(readings.values())))
    rows = table("counted as by", *(METRICS[name].label for name in metrics), right=tuple(metrics))
    for reading, own in readings.items():
        rows.add_row(f"{reading}: {READINGS[reading].used_by}", *(METRICS[name].format(own[name]) for name in metrics))
    console.print(rows)


def print_prediction(prediction: Any) -> None:
    """Print the segments of a dense task, else the scores over time; then the answer."""
    if prediction.task.kind == "dense":
        _print_segments(prediction)
    else:
        _print_scores(prediction)
    say_untrained(prediction)
    for line in prediction.damaged:
        console.print(printable(f"not seen: {line}"), style="yellow")
    console.print(printable(f"{prediction.video}: {_in_words(prediction)}"))


def _print_segments(prediction: Any) -> None:
    if not prediction.segments:
        return
    rows = table("segment", "class", "confidence", right=("confidence",))
    for one in prediction.segments[:MAX_ROWS]:
        span = f"{one.start_seconds:.1f} - {one.end_seconds:.1f} s"
        rows.add_row(span, one.label, f"{100 * one.confidence:.1f} %")
    console.print(rows)
    if len(prediction.segments) > MAX_ROWS:
        console.print(
            f"the first {MAX_ROWS} of {len(prediction.segments)} segments; --json and --out FILE have all", style="dim"
        )


def _print_scores(prediction: Any) -> None:
    """Print at most `MAX_ROWS` rows of the highest classes' scores, the best of each in bold; say what is left out."""
    shown = _shown(prediction)
    names = [prediction.outputs[index] for index in shown]
    rows = table(prediction.kind, *names, right=names)
    starts = prediction.seconds[:, 0].tolist()
    digits = 0 if all(second - first >= 1 for first, second in pairwise(starts)) else 1
    every = max(1, -(-len(prediction.scores) // MAX_ROWS))
    for (start, end), scores in list(zip(prediction.seconds, prediction.scores, strict=True))[::every]:
        best = scores.argmax() if len(scores) > 1 else -1
        cells = [Text(_score(scores[index], prediction), "bold" if index == best else "") for index in shown]
        rows.add_row(f"{start:.{digits}f} - {end:.{digits}f} s", *cells)
    console.print(rows)
    left_out = []
    if every > 1:
        left_out.append(f"one row in {every} of {len(prediction.scores)}")
    if len(shown) < len(prediction.outputs):
        left_out.append(f"the {len(shown)} of {len(prediction.outputs)} classes that score highest in the whole video")
    if left_out:
        console.print(f"shown: {' and '.join(left_out)}; --json and --out FILE have all", style="dim")


def _shown(prediction: Any) -> list[int]:
    """The outputs that have a column: all if they fit, else those of the highest total scores."""
    count = len(prediction.outputs)
    if count <= MAX_CLASSES:
        return list(range(count))
    totals = np.array([prediction.total[name] for name in prediction.outputs])
    highest: list[int] = np.argsort(-totals, kind="stable")[:MAX_CLASSES].tolist()
    return highest


def _score(score: float, prediction: Any) -> str:
    """A probability in percent; the value of a regression in the label's own unit."""
    if prediction.task.kind == "regression":
        return f"{float(prediction.task.transform.inverse(np.asarray(score))):.4g}"
    return f"{100 * score:.1f} %"


def _in_words(prediction: Any) -> str:
    if prediction.task.kind == "dense":
        return f"{counted(len(prediction.segments), 'segment')}; --json has the scores of every clip"
    names = [prediction.outputs[index] for index in _shown(prediction)]
    total = ", ".join(f"{name} {_score(prediction.total[name], prediction)}" for name in names)
    given = prediction.answer
    if isinstance(given, list):
        given = ", ".join(f"{one:.4g}" if isinstance(one, float) else one for one in given) or "no label"
    return f"{given} ({total})"
