"""The scores of each run along a few videos, below pictures of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from longvid.pipelines.evaluation.evaluate import VideoTimeline
from longvid.pipelines.reporting.charts import Axis, Series, around, clock, line_chart
from longvid.pipelines.reporting.collect import Run
from longvid.pipelines.reporting.thumbnails import thumbnails_or_reason
from longvid.tasks import Task

MOST_CLASSES_AS_LINES = 6
OTHERS = 7
"""The colour of classes that have none of their own in the bands of a dense task: the palette's grey."""
ANSWER_AT, TRUTH_AT, TOP = 1.2, 1.4, 1.52
"""Positions of the bands of a dense task above the scores, which end at 1: the truth above the answer."""


def videos(runs: list[Run], task: Task) -> list[dict[str, Any]]:
    """The videos whose scores over time the first run kept, with every run's scores along them."""
    along = [{line.key: line for line in run.evaluated.timelines} for run in runs]
    return [_video(line, [lines.get(line.key) for lines in along], runs, task) for line in along[0].values()]


def _video(line: VideoTimeline, others: list[VideoTimeline | None], runs: list[Run], task: Task) -> dict[str, Any]:
    seconds = np.array(line.timeline["seconds"])
    begin, end = float(seconds.min()), float(seconds.max())
    pictures, reason = thumbnails_or_reason(line.path, begin, end)
    shown = [other for other in others if other is not None]
    classes = _drawn_classes(shown, task)
    return {
        "key": line.key,
        "length": clock(end - begin),
        "truth": _truth(line, task),
        "pictures": pictures,
        "reason": reason,
        "kind": line.timeline["kind"],
        "legend": [(task.output_names[index], colour % 8) for colour, index in enumerate(classes)],
        "left_out": len(task.output_names) - len(classes),
        "bands": task.kind == "dense",
        "plots": [
            {
                "label": run.label,
                "answer": _answer(other, task),
                "chart": timeline_chart(other, classes, task, begin, end, f"{run.label} along {line.key}"),
            }
            for run, other in zip(runs, others, strict=True)
            if other is not None
        ],
    }


def _drawn_classes(lines: list[VideoTimeline], task: Task) -> list[int]:
    """Classes drawn as lines: all if they are few, else the true one and those that score highest somewhere."""
    if len(task.output_names) <= MOST_CLASSES_AS_LINES:
        return list(range(len(task.output_names)))
    if task.kind == "dense":
        seen = Counter(_true_labels(lines[0]))
        for line in lines:
            seen.update(_answers(line))
        return sorted(label for label, _ in seen.most_common(MOST_CLASSES_AS_LINES))
    peaks = np.max([np.max(line.timeline["scores"], axis=0) for line in lines], axis=0)
    ranked = np.argsort(-peaks, kind="stable").tolist()
    true = _true_classes(lines[0], task)[:MOST_CLASSES_AS_LINES]
    return sorted({*true, *ranked[: MOST_CLASSES_AS_LINES - len(true)]})


def _true_classes(line: VideoTimeline, task: Task) -> list[int]:
    """The class of a video."""
    return [line.target] if task.kind == "classification" and isinstance(line.target, int) else []


def _true_labels(line: VideoTimeline) -> list[int]:
    """The class numbers of the labelled clips along a video of a dense task."""
    return [label for label in line.target if label is not None] if isinstance(line.target, list) else []


def _answers(line: VideoTimeline) -> list[int]:
    """The class numbers that score highest along a video."""
    answers: list[int] = np.argmax(line.timeline["scores"], axis=1).tolist()
    return answers


def _truth(line: VideoTimeline, task: Task) -> str:
    if task.kind == "classification" and isinstance(line.target, int):
        return task.classes[line.target]
    if task.kind == "multilabel" and isinstance(line.target, list):
        return ", ".join(name for name, flag in zip(task.classes, line.target, strict=True) if flag) or "none"
    if task.kind == "regression" and isinstance(line.target, list):
        return ", ".join(f"{value:.4g}" for value in line.target)
    return ""


def _answer(line: VideoTimeline, task: Task) -> dict[str, Any]:
    """A run's answer for the whole video, and whether that is right (None if it is a matter of degree)."""
    total = np.array(line.timeline["total"])
    if task.kind == "classification":
        best = int(total.argmax())
        return {"text": f"{task.classes[best]} ({total[best] * 100:.0f} %)", "right": best == line.target}
    if task.kind == "multilabel":
        named = [name for name, value in zip(task.classes, total, strict=True) if value >= 0.5]
        return {"text": ", ".join(named) or "none", "right": None}
    if task.kind == "regression":
        return {"text": ", ".join(f"{value:.4g}" for value in total), "right": None}
    truth = line.target if isinstance(line.target, list) else []
    right = [found == true for found, true in zip(_answers(line), truth, strict=False) if true is not None]
    return {"text": f"{100 * np.mean(right):.0f} % of its clips right" if right else "", "right": None}


def timeline_chart(line: VideoTimeline, classes: list[int], task: Task, begin: float, end: float, title: str) -> Markup:
    """The scores of some classes along a video from `begin` to `end` seconds; dense: below the truth and the answer."""
    rows, scores = np.array(line.timeline["seconds"]), np.array(line.timeline["scores"])
    step = line.timeline["kind"] == "clips"
    times = rows[:, 1] if line.timeline["kind"] == "so far" else rows[:, 0] if step else rows.mean(axis=1)
    if step:  # the last clip's score holds to its end
        times, scores = np.append(times, rows[-1, 1]), np.concatenate([scores, scores[-1:]])
    series = [
        Series(
            task.output_names[index], colour, times.tolist(), scores[:, index].tolist(),
            step=step, strong=index == line.target,
        )
        for colour, index in enumerate(classes)
    ]  # fmt: skip
    y = around(scores.ravel().tolist()) if task.kind == "regression" else Axis(0, 1.02, "percent")
    if task.kind != "dense":
        return line_chart(series, Axis(begin, end, "seconds"), y, title=title, height="low")
    truth = line.target if isinstance(line.target, list) else [None] * len(rows)
    series += _bands("true", truth, rows, classes, TRUTH_AT, task)
    series += _bands("answer", _answers(line), rows, classes, ANSWER_AT, task)
    y = Axis(
        0, TOP, "percent", ticks=((0, "0 %"), (0.5, "50 %"), (1, "100 %"), (ANSWER_AT, "answer"), (TRUTH_AT, "truth"))
    )
    return line_chart(series, Axis(begin, end, "seconds"), y, title=title, height="bands")


def _bands(
    name: str, labels: Sequence[int | None], rows: np.ndarray, classes: list[int], at: float, task: Task
) -> list[Series]:
    """A band per class that occurs, side by side along the video; classes without a colour of their own are grey."""
    colours = {index: colour for colour, index in enumerate(classes)}
    there = sorted({label for label in labels if label is not None})
    return [
        _band(f"{name}: {task.output_names[index]}", labels, rows, index, at, colours.get(index, OTHERS))
        for index in there
    ]


def _band(name: str, labels: Sequence[int | None], rows: np.ndarray, index: int, at: float, colour: int) -> Series:
    """The times that have a class, as a band that is interrupted where they have another."""
    x: list[float] = []
    y: list[float | None] = []
    for (start, end), label in zip(rows.tolist(), labels, strict=True):
        if label == index:
            x += [start, end]
            y += [at, at]
        elif y and y[-1] is not None:
            x.append(start)
            y.append(None)
    return Series(name, colour, x, y, band=True)
