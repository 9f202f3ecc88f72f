"""Pictures by matplotlib: timelines, segments, curves, scores, similarity.

    from longvid import plot
    plot.timeline(predict("runs/mine", "new.mp4"))
    plot.curves("runs/mine")
    plot.similarity(store["holiday"])

Every function draws into `axes`, or into a new figure, and returns the axes; `axes.figure.savefig("x.png")` writes it.
Colours are those of notebooks (`longvid.notebook.COLOURS`). The extra is `longvid[plot]`.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from longvid.errors import BackendUnavailable, ConfigError, short_reason
from longvid.files import read_json
from longvid.metrics.items import METRICS
from longvid.notebook import Span, clock, colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLIPS = 1000
"""Most rows of a similarity matrix; neighbouring clips of longer videos are averaged."""
MOST_LINES = 8
"""Most outputs that a timeline draws: those with the highest score anywhere."""

LINES = ("-", "--", "-.", ":")
"""Lines of the seeds of one run."""


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
    prediction: Timed, *, truth: Iterable[Span] = (), most: int = MOST_LINES, axes: "Axes | None" = None
) -> "Axes":
    """Scores over time: a line per output, the `most` highest ones, in steps as long as their windows or clips.

    `truth`: spans (start_seconds, end_seconds, name), shaded in the colour of their output.
    Raises ValueError for spans whose name is not an output.
    """
    drawn, names = _axes(axes, height=3.0), list(prediction.outputs)
    seconds, scores = np.asarray(prediction.seconds), np.asarray(prediction.scores)
    for start, end, name in truth:
        if name not in names:
            raise ValueError(f"truth names {name!r}, which is not one of the outputs {', '.join(names)}")
        drawn.axvspan(start, end, color=colour_of(name, names), alpha=0.15, linewidth=0)
    highest = sorted(np.argsort(-scores.max(axis=0), kind="stable")[:most]) if len(scores) else []
    for output in highest:
        middles, values = seconds.mean(axis=1), scores[:, output]
        drawn.plot(middles, values, label=names[output], color=colour_of(names[output], names), marker=".")
    drawn.set(xlabel="time", ylabel="score")
    if len(names) > len(highest):
        drawn.set_title(f"the {len(highest)} highest of {len(names)} outputs", fontsize="medium")
    _time_axis(drawn, seconds)
    if highest:
        drawn.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return drawn


def segments(lanes: Mapping[str, Iterable[Span]], *, axes: "Axes | None" = None) -> "Axes":
    """Bars of segments over time, a lane above the other: `segments({"truth": spans, "answer": spans})`.

    A span is (start_seconds, end_seconds, name), or has these as attributes (`Prediction.segments`).
    """
    spans = {lane: [_span(span) for span in given] for lane, given in lanes.items()}
    names = list(dict.fromkeys(name for given in spans.values() for _, _, name in given))
    drawn = _axes(axes, height=0.8 + 0.5 * len(spans))
    handles: dict[str, Any] = {}
    for row, (_, given) in enumerate(spans.items()):
        for name in dict.fromkeys(name for _, _, name in given):
            bars = [(start, end - start) for start, end, there in given if there == name]
            handles[name] = drawn.broken_barh(bars, (row - 0.4, 0.8), facecolors=colour_of(name, names))
    drawn.set_yticks(range(len(spans)), list(spans))
    drawn.set_ylim(len(spans) - 0.5, -0.5)
    drawn.set_xlabel("time")
    _time_axis(drawn, np.array([span[:2] for given in spans.values() for span in given] or [(0, 1)], dtype=float))
    if handles:
        drawn.legend(handles.values(), handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return drawn


def curves(*runs: str | Path, metric: str | None = None, axes: "Axes | None" = None) -> "Axes":
    """A metric of the validation videos by epoch, a line per seed of each run; `metric="loss"`: both losses.

    Without `metric` it is the one that the runs were selected by. Raises `ConfigError` for a folder without a history,
    and for a metric that was not measured.
    """
    drawn = _axes(axes, height=3.0)
    names = [Path(run).name for run in runs]
    for run, name in zip(map(Path, runs), names, strict=True):
        for number, (label, rows) in enumerate(_histories(run).items()):
            colour = colour_of(name, names)
            if metric == "loss":
                _curve(drawn, rows, "train_loss", f"{name} {label}, training", colour, linestyle=":")
                _curve(drawn, rows, "val_loss", f"{name} {label}, validation", colour)
            else:
                measured = _measured(rows, metric, run)
                _curve(drawn, rows, measured, f"{name} {label}", colour, linestyle=LINES[number % len(LINES)])
                drawn.set_ylabel(METRICS[measured].label if measured in METRICS else measured)
    if metric == "loss":
        drawn.set_ylabel("loss")
    drawn.set_xlabel("epoch")
    drawn.grid(alpha=0.3)
    drawn.legend(frameon=False)
    return drawn


def scores(*runs: str | Path, split: str = "test", metric: str | None = None, axes: "Axes | None" = None) -> "Axes":
    """A metric of several runs on a split: a dot per seed, a line at the mean, a cross at the constant answer.

    The runs must be evaluated (`longvid evaluate`). Without `metric` it is the first of the first run's.
    """
    drawn, names = _axes(axes, height=1.0 + 0.4 * len(runs)), [Path(run).name for run in runs]
    for row, run in enumerate(map(Path, runs)):
        found = _read(
            run / "evaluation" / f"{split}.json", f"evaluate it with `longvid evaluate {run} --split {split}`"
        )
        try:
            by_seed = [dict(seed["metrics"]) for seed in found["seeds"]]
            metric = metric or next(iter(by_seed[0]))
            values, blind = [float(seed[metric]) for seed in by_seed], found["baseline"].get(metric)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError, StopIteration) as error:
            raise ConfigError(f"{run}: its evaluation on {split} has no {metric} ({short_reason(error)})") from None
        drawn.plot(values, [row] * len(values), "o", alpha=0.6, color=colour_of(names[row], names))
        drawn.plot([float(np.mean(values))] * 2, [row - 0.3, row + 0.3], color="black")
        if blind is not None:
            drawn.plot([float(blind)], [row], "x", color="0.4")
    drawn.set_yticks(range(len(names)), names)
    drawn.set_ylim(len(names) - 0.5, -0.5)
    drawn.set_xlabel(f"{METRICS[metric].label if metric in METRICS else metric} on {split} (x: constant answer)")
    drawn.grid(axis="x", alpha=0.3)
    return drawn


def similarity(video: Any, *, most: int = MOST_CLIPS, axes: "Axes | None" = None) -> "Axes":
    """Cosine similarity of every pair of clips of a stored video, over time: scenes are bright squares.

    A clip is the mean of its tokens. Clips that are not there (damaged) stay white.
    """
    vectors = _clip_vectors(video)
    seconds = np.asarray(video.seconds, dtype=float)
    together = max(1, -(-len(vectors) // most))
    if together > 1:
        starts = np.arange(0, len(vectors), together)
        vectors = np.add.reduceat(vectors, starts) / np.diff([*starts, len(vectors)])[:, None]
    drawn = _axes(axes, height=4.0, width=5.0)
    first, last = float(seconds[0, 0]), float(seconds[-1, 1])
    picture = drawn.imshow(cosine_similarity(vectors), extent=(first, last, last, first), vmax=1.0, cmap="viridis")
    drawn.figure.colorbar(picture, ax=drawn, label="cosine similarity")
    _time_axis(drawn, seconds)
    drawn.yaxis.set_major_formatter(lambda value, _: clock(value))
    drawn.set(xlabel="time", ylabel="time", title=str(getattr(video, "key", "")))
    return drawn


def cosine_similarity(vectors: ArrayLike) -> np.ndarray:
    """(n, n): the cosine of the angle between every two of `vectors` (n, dim); 0 where one is zero."""
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths != 0)
    return unit @ unit.T


def confusion(matrix: ArrayLike, classes: Sequence[str], *, axes: "Axes | None" = None) -> "Axes":
    """A confusion matrix (rows true, columns predicted; `EvaluationResult.confusion`) in shares of each true class."""
    counts = np.asarray(matrix, dtype=float)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of shape {counts.shape} for {len(classes)} classes")
    size = max(3.0, 0.4 * len(classes))
    drawn = _axes(axes, height=size, width=size + 1.5)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals != 0)
    picture = drawn.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    drawn.figure.colorbar(picture, ax=drawn, label="share of the true class")
    drawn.set_xticks(range(len(classes)), classes, rotation=90)
    drawn.set_yticks(range(len(classes)), classes)
    drawn.set(xlabel="predicted", ylabel="true")
    if len(classes) <= 12:
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            drawn.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour)
    return drawn


def _axes(axes: "Axes | None", *, height: float, width: float = 8.0) -> "Axes":
    if axes is not None:
        return axes
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError:
        raise BackendUnavailable("longvid.plot needs matplotlib: pip install 'longvid[plot]'") from None
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def _time_axis(axes: "Axes", seconds: np.ndarray) -> None:
    axes.xaxis.set_major_formatter(lambda value, _: clock(value))
    if len(seconds):
        axes.set_xlim(float(seconds.min()), float(seconds.max()))


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


def _curve(axes: "Axes", rows: list[dict[str, str]], column: str, label: str, colour: str, **style: Any) -> None:
    points = [(int(row["epoch"]) + 1, float(row[column])) for row in rows if row.get(column)]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=".", **style)


def _read(path: Path, remedy: str) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not readable ({short_reason(error)}); {remedy}") from None
