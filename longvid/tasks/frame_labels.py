"""Labels along a video, mapped onto the clips of the store.

They are segments, or one line per frame. A clip gets the label at its middle. If the labels end before the video does
(often by a few frames), the clips beyond have none and count in no metric.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from longvid.errors import AnnotationError
from longvid.tasks.manifest import ManifestRow
from longvid.tasks.task import BACKGROUND, Task

UNLABELLED = -100
"""The value for a clip without a label; losses and metrics leave it out."""


def clip_labels(row: ManifestRow, task: Task, seconds: Float64[np.ndarray, "clips 2"]) -> Int64[np.ndarray, " clips"]:
    """Class number of each clip, `UNLABELLED` where the labels do not reach.

    seconds: start and end of each clip. Raises `AnnotationError` if the row has no labels or they are invalid.
    """
    middles = seconds.mean(axis=1)
    if row.label_path is not None:
        return _from_file(row, task, middles)
    label = row.value(task.column)
    if not isinstance(label, list):
        raise AnnotationError(f"{row.where}: a dense task needs label_path, or segments [[start, end, class], ...]")
    return _from_segments(label, row, task, middles)


def label_sequence(row: ManifestRow, task: Task) -> Int64[np.ndarray, " frames"]:
    """Class number of each 1 / `task.labels_per_second` of a video, from its start to where its labels end.

    Segments are laid out to `duration_seconds` if the row has it, else to the end of the last one. Raises
    `AnnotationError` if the row has no labels or they are invalid.
    """
    rate = _rate(row, task)
    if row.label_path is not None:
        return _file_labels(row, task)
    segments = row.value(task.column)
    if not isinstance(segments, list):
        raise AnnotationError(f"{row.where}: a dense task needs label_path, or segments [[start, end, class], ...]")
    end = row.extra.get("duration_seconds")
    if not isinstance(end, int | float):
        end = max((segment[1] for segment in segments if isinstance(segment, list) and len(segment) == 3), default=0)
    instants = (np.arange(max(1, round(float(end) * rate))) + 0.5) / rate
    return _from_segments(segments, row, task, instants)


def _from_file(row: ManifestRow, task: Task, middles: np.ndarray) -> np.ndarray:
    """Labels of a text file with one class name (or number) per line, `task.labels_per_second` lines per second."""
    rate, frames = _rate(row, task), _file_labels(row, task)
    indices = np.floor(middles * rate).astype(np.int64)
    inside = (indices >= 0) & (indices < len(frames))
    labels = np.full(len(middles), UNLABELLED, np.int64)
    labels[inside] = frames[indices[inside]]
    return labels


def _rate(row: ManifestRow, task: Task) -> float:
    if not task.labels_per_second or task.labels_per_second <= 0:
        raise AnnotationError(
            f"{row.where}: the task must state labels_per_second to read {row.label_path or 'labels'}"
        )
    return task.labels_per_second


def _file_labels(row: ManifestRow, task: Task) -> Int64[np.ndarray, " frames"]:
    path = Path(str(row.label_path))
    if not path.is_file():  # a device has no end
        raise AnnotationError(f"{row.where}: label_path {path}: no such file")
    try:
        return _parsed_labels(path, path.stat().st_mtime_ns, task)
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{row.where}: label_path {path} cannot be read ({error})") from None


@lru_cache(maxsize=4096)
def _parsed_labels(path: Path, modified_ns: int, task: Task) -> Int64[np.ndarray, " frames"]:
    """Labels of a file as it was at that time; cached, since they are needed after each epoch. Read-only."""
    known = {name: number for number, name in enumerate(task.classes)}
    # a class name may contain spaces: only line ends separate labels
    lines = [line.strip() for line in path.read_text("utf-8-sig").rstrip().split("\n")]
    labels = np.array([_number(text, known, task, f"{path}:{i}") for i, text in enumerate(lines, 1)], np.int64)
    labels.flags.writeable = False
    return labels


def _number(text: str, known: dict[str, int], task: Task, where: str) -> int:
    if not text:
        raise AnnotationError(f"{where}: is empty; a file of frame labels needs a class on every line")
    return known[text] if text in known else task.class_number(int(text) if text.isdecimal() else text, where)


def _from_segments(segments: list[Any], row: ManifestRow, task: Task, middles: np.ndarray) -> np.ndarray:
    """Labels of half-open segments; between them the class `background` where the task has one."""
    background = task.classes.index(BACKGROUND) if BACKGROUND in task.classes else UNLABELLED
    labels = np.full(len(middles), background, np.int64)
    for segment in segments:
        if not (isinstance(segment, list) and len(segment) == 3):
            raise AnnotationError(
                f"{row.where}: segment {str(segment)[:80]} is not [start_seconds, end_seconds, class]"
            )
        start, end, label = segment
        if not (_is_number(start) and _is_number(end) and 0 <= start < end):
            raise AnnotationError(f"{row.where}: segment {str(segment)[:80]} does not start before it ends")
        labels[(middles >= start) & (middles < end)] = task.class_number(label, row.where)
    return labels


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
