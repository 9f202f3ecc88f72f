"""What is asked of a video, which column answers it, how it is scored.

| kind             | label of a row                               | target             | scores become        |
|------------------|----------------------------------------------|--------------------|----------------------|
| `classification` | a class name or number                       | class number       | softmax              |
| `multilabel`     | list of class names or numbers               | 0 or 1 per class   | sigmoid              |
| `regression`     | a number (or a list, one per output)         | transformed number | as they are          |
| `dense`          | segments [start_seconds, end_seconds, class],| class number per   | softmax at each step |
|                  | or a file of frame labels (`frame_labels.py`)| clip               |                      |
| `joint`          | several tasks' labels (`joint.py`)           | one per task       | each task's own      |
"""

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from longvid.errors import AnnotationError, ConfigError
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.validation import shown

METRICS_OF_KIND: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "mean_class_accuracy", "macro_f1"),
    "multilabel": ("mean_average_precision", "micro_f1"),
    "regression": ("mse", "mae"),
    "dense": ("clip_accuracy", "mean_class_accuracy"),
    "joint": ("skill",),
}
"""Default metrics of each kind of task; the first one chooses the best epoch."""

BACKGROUND = "background"


@dataclass(frozen=True)
class LabelTransform:
    """target = scale * f(label) + shift, where f is the identity or the natural logarithm."""

    function: str = "identity"
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.function not in ("identity", "log"):
            raise ConfigError(f"label transform {self.function!r} is not one of identity, log")
        if self.scale == 0:
            raise ConfigError("label transform scale=0 would make every target equal")

    def forward(self, value: float) -> float:
        """The target that a model learns."""
        if self.function == "log":
            if value <= 0:
                raise ValueError(f"label {value} has no logarithm")
            value = math.log(value)
        return self.scale * value + self.shift

    def inverse(self, target: np.ndarray) -> np.ndarray:
        """Labels in their own unit, from targets or predictions."""
        values = (target - self.shift) / self.scale
        return np.exp(values) if self.function == "log" else values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LabelTransform":
        """The transform from plain values; `ConfigError` for a field that does not exist."""
        _refuse_unknown("label transform", values, [f.name for f in fields(cls)])
        scale, shift = float(values.get("scale", 1)), float(values.get("shift", 0))
        return cls(values.get("function", "identity"), scale, shift)


@dataclass(frozen=True)
class Task:
    """One question about every video. Invalid settings raise `ConfigError`."""

    name: str
    kind: str = "classification"
    """A key of `METRICS_OF_KIND`."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their numbers; empty for regression."""
    outputs: int = 0
    """Number of scores that a decoder gives; 0: one per class, or one for regression."""
    metrics: tuple[str, ...] = ()
    """Names in `longvid.metrics.items.METRICS`; empty: `METRICS_OF_KIND`. The first chooses the best epoch."""
    column: str = "label"
    """The manifest column that holds the label."""
    transform: LabelTransform = field(default_factory=LabelTransform)
    """From label to target, for regression."""
    labels_per_second: float | None = None
    """Rate of the labels in `label_path` files, for dense tasks."""
    reading: str = "pooled"
    """The way to count segments, a name in `longvid.metrics.segmentation.READINGS`, for dense tasks."""

    def __post_init__(self) -> None:
        if self.kind not in METRICS_OF_KIND:
            raise ConfigError(f"task {self.name!r}: kind={self.kind!r} is not one of {', '.join(METRICS_OF_KIND)}")
        if self.kind == "regression" and self.classes:
            raise ConfigError(f"task {self.name!r}: a regression has no classes; use `outputs` for several values")
        if self.kind != "regression" and len(self.classes) < 2 and self.outputs < 2:
            raise ConfigError(f"task {self.name!r}: {self.kind} needs the names of at least two classes")
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"task {self.name!r}: a class is named twice among {', '.join(self.classes)}")
        if self.outputs == 0:
            object.__setattr__(self, "outputs", max(1, len(self.classes)))
        if not self.classes and self.kind != "regression":
            object.__setattr__(self, "classes", tuple(str(number) for number in range(self.outputs)))
        if self.classes and self.outputs != len(self.classes):
            raise ConfigError(f"task {self.name!r}: outputs={self.outputs} but {len(self.classes)} classes are named")
        if not self.metrics:
            object.__setattr__(self, "metrics", METRICS_OF_KIND[self.kind])

    @property
    def output_names(self) -> tuple[str, ...]:
        """A name for each score."""
        if self.classes:
            return self.classes
        return (self.name,) if self.outputs == 1 else tuple(f"{self.name}[{i}]" for i in range(self.outputs))

    def target(self, row: ManifestRow) -> int | np.ndarray:
        """The target for the decoder: a class number, or float32 (outputs,).

        Raises `AnnotationError` naming file and line if the label is missing or invalid in this task.
        Targets of dense tasks depend on the clips: `longvid.tasks.frame_labels.clip_labels`.
        """
        label = row.value(self.column)
        if label is None:
            raise AnnotationError(f"{row.where}: has no {self.column!r} for task {self.name!r}")
        if self.kind == "classification":
            return self.class_number(label, row.where)
        if self.kind == "multilabel":
            return self._flags(label, row.where)
        if self.kind == "regression":
            return self._values(label, row.where)
        raise AnnotationError(f"{row.where}: a dense task's labels lie along the clips, not in one target")

    def class_number(self, label: Any, where: str) -> int:
        """Index of a class given by name or by number."""
        if isinstance(label, str):
            if label in self.classes:
                return self.classes.index(label)
            near = difflib.get_close_matches(label, self.classes, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f" ({_listed(self.classes)})"
            raise AnnotationError(f"{where}: {label[:80]!r} is not a class of task {self.name!r}{hint}")
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        if isinstance(label, bool) or not isinstance(label, int):
            raise AnnotationError(f"{where}: label {str(label)[:80]!r} is neither a class name nor a class number")
        if not 0 <= label < self.outputs:
            raise AnnotationError(f"{where}: class {label} is not among the {self.outputs} of task {self.name!r}")
        return label

    def _flags(self, label: Any, where: str) -> np.ndarray:
        named = label if isinstance(label, list) else [label]
        numbers = [self.class_number(part, where) for part in named]
        if len(set(numbers)) < len(numbers):
            raise AnnotationError(f"{where}: label {label} repeats a class; list class names or numbers, not 0/1 flags")
        flags = np.zeros(self.outputs, np.float32)
        flags[numbers] = 1
        return flags

    def _values(self, label: Any, where: str) -> np.ndarray:
        values = label if isinstance(label, list) else [label]
        if len(values) != self.outputs or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            what = "a number" if self.outputs == 1 else f"{self.outputs} numbers"
            raise AnnotationError(f"{where}: label {str(label)[:80]!r} must be {what} for task {self.name!r}")
        try:
            return np.array([self.transform.forward(float(value)) for value in values], np.float32)
        except (ValueError, OverflowError) as error:
            raise AnnotationError(f"{where}: {error}") from None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Task":
        """The task from plain values; `ConfigError` for an unknown field, or a name that is not text."""
        _refuse_unknown("task", values, [f.name for f in fields(cls)])
        _refuse_names_that_are_not_text(values)
        given: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        if isinstance(given.get("transform"), dict):
            given["transform"] = LabelTransform.from_dict(given["transform"])
        if given.get("labels_per_second") is not None:
            given["labels_per_second"] = float(given["labels_per_second"])
        return cls(**given)


def infer_task(manifest: Manifest, *, name: str = "labels", column: str = "label") -> Task:
    """The task that the labels of a manifest suggest.

    Names make a classification over the sorted names; whole numbers 0..n-1 a classification of n classes; lists of
    names a multilabel task; numbers with fractions a regression. Anything else raises `AnnotationError` instead of a
    guess that could be wrong.
    """
    labels = [row.value(column) for row in manifest if row.value(column) is not None]
    along = any(row.label_path for row in manifest) if not labels else all(_is_segments(label) for label in labels)
    if along:
        raise AnnotationError(
            f"{manifest.name}: labels lie along the videos; state task.kind=dense and task.classes=[...], "
            "and task.labels_per_second for files of frame labels"
        )
    if not labels:
        raise AnnotationError(f"{manifest.name}: no row has a {column!r}, so nothing can be learned")
    if all(isinstance(label, str) for label in labels):
        return Task(name, "classification", tuple(sorted(set(labels))), column=column)
    if all(isinstance(label, list) and all(isinstance(part, str) for part in label) for label in labels):
        return Task(name, "multilabel", tuple(sorted({part for label in labels for part in label})), column=column)
    if all(isinstance(label, int) for label in labels):
        return Task(name, "classification", _numbered_classes(labels, manifest, column), column=column)
    if all(isinstance(label, int | float) for label in labels):
        return Task(name, "regression", column=column)
    raise AnnotationError(_mixed(manifest, column))


def _mixed(manifest: Manifest, column: str) -> str:
    """The message that names the rarest kind of label, most likely the wrong one, and its place."""
    rows = [row for row in manifest if row.value(column) is not None]
    kinds = [_KIND_OF_LABEL.get(type(row.value(column)), "something else") for row in rows]
    kind, count = Counter(kinds).most_common()[-1]
    if count == len(rows):
        return f"{rows[0].where}: {column!r} is {kind} of an unknown form; state the task's `kind` in the recipe"
    row = rows[kinds.index(kind)]
    shown = str(row.value(column))[:40]
    return (
        f"{row.where}: {column!r} is {kind} here, {shown!r}, as in {count} of {len(rows)} rows; the others hold "
        f"{', '.join(sorted(set(kinds) - {kind}))}: correct it, or state the task's `kind` and `classes` in the recipe"
    )


def _is_segments(label: Any) -> bool:
    return isinstance(label, list) and bool(label) and all(isinstance(part, list) for part in label)


_KIND_OF_LABEL = {str: "text", int: "a number", float: "a number", list: "a list"}


def _numbered_classes(labels: Sequence[int], manifest: Manifest, column: str) -> tuple[str, ...]:
    numbers = sorted(set(labels))
    if numbers != list(range(len(numbers))):
        shown = ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "")
        raise AnnotationError(
            f"{manifest.name}: the numbers in {column!r} ({shown}) are not 0..n-1; "
            "state the task's `kind` and `classes` in the recipe"
        )
    return tuple(map(str, numbers))


def _refuse_unknown(what: str, values: dict[str, Any], known: list[str]) -> None:
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ConfigError(f"{what} has no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _refuse_names_that_are_not_text(values: dict[str, Any]) -> None:
    lists = {at: values[at] for at in ("classes", "metrics") if isinstance(values.get(at), list | tuple)}
    single = {at: [values[at]] for at in ("name", "kind", "column", "reading") if at in values}
    for field_name, names in (lists | single).items():
        for name in names:
            if not isinstance(name, str):
                raise ConfigError(f"task: {field_name}: {shown(name)} should be text; put numbers in quotes")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", ... {len(names)} in all" if len(names) > 8 else "")
