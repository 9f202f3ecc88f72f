"""What each picture shows: points, colours, names.

Every function takes `backend` ("matplotlib", "plotly") and `axes`, and returns matplotlib's axes or plotly's figure.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from longvid.errors import ConfigError, short_reason
from longvid.files import read_json
from longvid.hub import local_run
from longvid.metrics.items import METRICS
from longvid.notebook import Span, colour_of
from longvid.plot.canvas import Backend, Canvas, Frame, canvas

MOST_CLIPS = 1000
"""Most rows of a similarity matrix; neighbouring clips of longer videos are averaged."""
MOST_LINES = 8
"""Most outputs that a timeline draws: those with the highest score anywhere."""
MOST_COUNTED = 12
"""Most classes of a confusion matrix with its counts written into it."""
DASHES = 4
"""Kinds of lines of the seeds of one run."""
GREY = "#666666"


@runtime_checkable
class Timed(Protocol):
    """Scores along a video, as `predict` gives them."""

    @property
    def seconds(self) -> np.ndarray:
        """(rows, 2): start and end of each row."""

    @property
    def scores(self) -> np.ndarray:
        """(rows, outputs)."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """A name per output."""


def timeline(
    prediction: Timed,
    *,
    truth: Iterable[Span] = (),
    most: int = MOST_LINES,
    axes: Any = None,
    backend: Backend | None = None,
) -> Any:
    """Scores over time: a line per output, the `most` highest ones, with a point per window or clip.

    `truth`: spans (start_seconds, end_seconds, name), shaded in the colour of their output.
    Raises ValueError for spans whose name is not an output.
    """
    names, spans = list(prediction.outputs), list(truth)
    for _, _, name in spans:
        if name not in names:
            raise ValueError(f"truth names {name!r}, which is not one of the outputs {', '.join(names)}")
    seconds, scores = np.asarray(prediction.seconds, dtype=float), np.asarray(prediction.scores, dtype=float)
    picture = canvas(backend, axes, height=3.0)
    for start, end, name in spans:
        picture.band(start, end, colour=colour_of(name, names))
    highest = sorted(np.argsort(-scores.max(axis=0), kind="stable")[:most].tolist()) if len(scores) else []
    for output in highest:
        name = names[output]
        middles = seconds.mean(axis=1).tolist()
        picture.line(middles, scores[:, output].tolist(), label=name, colour=colour_of(name, names), points=True)
    left_out = len(names) - len(highest)
    picture.frame(
        Frame(
            "time",
            "score",
            title=f"the {len(highest)} highest of {len(names)} outputs" if left_out else "",
            x_range=_range(seconds),
            times="x",
            legend="beside",
        )
    )
    return picture.drawn


def segments(lanes: Mapping[str, Iterable[Span]], *, axes: Any = None, backend: Backend | None = None) -> Any:
    """Bars of segments over time, a lane above the other: `segments({"truth": spans, "answer": spans})`.

    A span is (start_seconds, end_seconds, name), or has these as attributes (`Prediction.segments`).
    """
    spans = {lane: [_span(span) for span in given] for lane, given in lanes.items()}
    names = list(dict.fromkeys(name for given in spans.values() for _, _, name in given))
    picture = canvas(backend, axes, height=0.8 + 0.5 * len(spans))
    for row, given in enumerate(spans.values()):
        for name in dict.fromkeys(name for _, _, name in given):
            own = [(start, end) for start, end, there in given if there == name]
            picture.bars(row, own, colour=colour_of(name, names), label=name)
    times = _range(np.array([span[:2] for given in spans.values() for span in given], dtype=float)) or (0.0, 1.0)
    picture.frame(Frame("time", x_range=times, times="x", rows=list(spans), legend="beside"))
    return picture.drawn


def curves(*runs: str | Path, metric: str | None = None, axes: Any = None, backend: Backend | None = None) -> Any:
    """A metric of the validation videos by epoch, a line per seed of each run; `metric="loss"`: both losses.

    Without `metric` it is the one that the runs were selected by. Raises `ConfigError` for a folder without a history,
    and for a metric that was not measured.
    """
    names = [Path(run).name for run in runs]
    histories = [_histories(local_run(run)) for run in runs]
    picture = canvas(backend, axes, height=3.0)
    shown = "loss" if metric == "loss" else ""
    for run, name, history in zip(runs, names, histories, strict=True):
        for number, (label, rows) in enumerate(history.items()):
            colour = colour_of(name, names)
            if metric == "loss":
                _curve(picture, rows, "train_loss", label=f"{name} {label}, training", colour=colour, dash=DASHES - 1)
                _curve(picture, rows, "val_loss", label=f"{name} {label}, validation", colour=colour)
            else:
                shown = _measured(rows, metric, Path(run))
                _curve(picture, rows, shown, label=f"{name} {label}", colour=colour, dash=number % DASHES)
    picture.frame(Frame("epoch", _label(shown), grid="xy", legend="inside"))
    return picture.drawn


def scores(
    *runs: str | Path,
    split: str = "test",
    metric: str | None = None,
    axes: Any = None,
    backend: Backend | None = None,
) -> Any:
    """A metric of several runs on a split: a dot per seed, a line at the mean, a cross at the constant answer.

    The runs must be evaluated (`longvid evaluate`). Without `metric` it is the first of the first run's.
    """
    names = [Path(run).name for run in runs]
    found: list[tuple[list[float], float | None]] = []
    for run in map(local_run, runs):
        metric, values, blind = _scores_of(run, split, metric)
        found.append((values, blind))
    picture = canvas(backend, axes, height=1.0 + 0.4 * len(runs))
    for row, (values, blind) in enumerate(found):
        picture.marks(values, [row] * len(values), colour=colour_of(names[row], names))
        picture.line([float(np.mean(values))] * 2, [row - 0.3, row + 0.3], colour="#000000")
        if blind is not None:
            picture.marks([blind], [row], colour=GREY, cross=True)
    picture.frame(Frame(f"{_label(metric or '')} on {split} (x: constant answer)", rows=names, grid="x"))
    return picture.drawn


def similarity(video: Any, *, most: int = MOST_CLIPS, axes: Any = None, backend: Backend | None = None) -> Any:
    """Cosine similarity of every pair of clips of a stored video, over time: scenes are bright squares.

    A clip is the mean of its tokens. Clips that are not there (damaged) stay white.
    """
    vectors = _clip_vectors(video)
    seconds = np.asarray(video.seconds, dtype=float)
    together = max(1, -(-len(vectors) // most))
    if together > 1:
        starts = np.arange(0, len(vectors), together)
        vectors = np.add.reduceat(vectors, starts) / np.diff([*starts, len(vectors)])[:, None]
    alike = cosine_similarity(vectors)
    low = float(np.nanmin(alike, initial=1.0))
    ends = float(seconds[0, 0]), float(seconds[-1, 1])
    picture = canvas(backend, axes, height=4.0, width=5.0)
    picture.matrix(alike, ends=ends, limits=(low, 1.0), colours="similarity", label="cosine similarity")
    picture.frame(Frame("time", "time", title=str(getattr(video, "key", "")), x_range=ends, times="xy"))
    return picture.drawn


def cosine_similarity(vectors: ArrayLike) -> np.ndarray:
    """(n, n): the cosine of the angle between every two of `vectors` (n, dim); 0 where one is zero."""
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths != 0)
    cosines: np.ndarray = unit @ unit.T
    return cosines


def confusion(matrix: ArrayLike, classes: Sequence[str], *, axes: Any = None, backend: Backend | None = None) -> Any:
    """A confusion matrix (rows true, columns predicted; `EvaluationResult.confusion`) in shares of each true class."""
    counts = np.asarray(matrix, dtype=float)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of shape {counts.shape} for {len(classes)} classes")
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals != 0)
    size = max(3.0, 0.4 * len(classes))
    picture = canvas(backend, axes, height=size, width=size + 1.5)
    picture.matrix(shares, ends=None, limits=(0.0, 1.0), colours="share", label="share of the true class")
    if len(classes) <= MOST_COUNTED:
        for row, column in np.ndindex(counts.shape):
            colour = "#ffffff" if shares[row, column] > 0.5 else "#000000"
            picture.text(column, row, f"{counts[row, column]:.0f}", colour=colour)
    picture.frame(Frame("predicted", "true", rows=classes, columns=classes))
    return picture.drawn


def _range(seconds: np.ndarray) -> tuple[float, float] | None:
    return (float(seconds.min()), float(seconds.max())) if len(seconds) else None


def _label(metric: str) -> str:
    return METRICS[metric].label if metric in METRICS else metric


def _scores_of(run: Path, split: str, metric: str | None) -> tuple[str, list[float], float | None]:
    """The metric (without one, the first), its value of each seed, and the constant answer's."""
    found = _read(run / "evaluation" / f"{split}.json", f"evaluate it with `longvid evaluate {run} --split {split}`")
    try:
        by_seed = [dict(seed["metrics"]) for seed in found["seeds"]]
        metric = metric or str(next(iter(by_seed[0])))
        blind = found["baseline"].get(metric)
        return metric, [float(seed[metric]) for seed in by_seed], None if blind is None else float(blind)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, StopIteration) as error:
        raise ConfigError(f"{run}: its evaluation on {split} has no {metric} ({short_reason(error)})") from None


def _span(given: Any) -> Span:
    if isinstance(given, Sequence) and not isinstance(given, str):
        start, end, name = given
        return float(start), float(end), str(name)
    return float(given.start_seconds), float(given.end_seconds), str(given.label)


def _clip_vectors(video: Any) -> np.ndarray:
    """(clips, dim) float32: the mean token of each clip, read in parts; NaN where a clip is not there."""
    parts = [
        video.read(first, min(first + MOST_CLIPS, video.num_clips), missing="nan").mean(axis=1, dtype=np.float32)
        for first in range(0, video.num_clips, MOST_CLIPS)
    ]
    return np.concatenate(parts)


def _histories(run: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of `history.csv` of each seed."""
    found = {}
    for path in sorted(run.glob("seed-*/history.csv"), key=lambda path: (len(path.parent.name), path)):
        with path.open(newline="", encoding="utf-8") as file:
            found[path.parent.name.replace("-", " ")] = list(csv.DictReader(file))
    if not found:
        raise ConfigError(f"{run}: holds no training run with a history; train one with `longvid train`")
    return found


def _measured(rows: list[dict[str, str]], metric: str | None, run: Path) -> str:
    """The metric, or the first one in the history."""
    columns = list(rows[0]) if rows else []
    known = [name for name in columns if name not in ("epoch", "train_loss", "learning_rate", "seconds", "val_loss")]
    if metric is None and known:
        return known[0]
    if metric not in known:
        raise ConfigError(
            f"{run}: {metric or 'no metric'} was not measured in training; choose loss, {', '.join(known)}"
        )
    return metric


def _curve(picture: Canvas, rows: list[dict[str, str]], column: str, *, label: str, colour: str, dash: int = 0) -> None:
    points = [(int(row["epoch"]) + 1, float(row[column])) for row in rows if row.get(column)]
    if points:
        x, y = zip(*points, strict=True)
        picture.line(x, y, label=label, colour=colour, dash=dash, points=True)


def _read(path: Path, remedy: str) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not readable ({short_reason(error)}); {remedy}") from None
