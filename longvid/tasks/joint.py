"""Several questions about the same videos, answered by one decoder."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from longvid.errors import AnnotationError, ConfigError
from longvid.tasks.manifest import ManifestRow
from longvid.tasks.task import Task


@dataclass(frozen=True)
class JointTask(Task):
    """Tasks whose outputs are concatenated. A video may have labels for only some of them.

    The labels that count are in `column` as `{<a part's column>: ...}`: a video's other labels belong to another
    split of their task, and are ignored.
    """

    parts: tuple[Task, ...] = field(default=(), kw_only=True)

    @classmethod
    def of(cls, name: str, parts: tuple[Task, ...], *, column: str) -> "JointTask":
        """The joint task of several classifications or regressions; `ConfigError` for other kinds."""
        wrong = [part.name for part in parts if part.kind not in ("classification", "regression")]
        if wrong or len({part.column for part in parts}) < len(parts) or len(parts) < 2:
            raise ConfigError(
                f"joint task {name!r}: needs two or more classifications and regressions with columns of their own"
                + (f"; {wrong[0]} is not one" if wrong else "")
            )
        metrics = ("skill", *(f"{part.column}/{metric}" for part in parts for metric in part.metrics))
        outputs = sum(part.outputs for part in parts)
        return cls(name, "joint", outputs=outputs, metrics=metrics, column=column, parts=parts)

    def columns(self) -> list[slice]:
        """The slice of the outputs that belongs to each part."""
        stops = np.cumsum([part.outputs for part in self.parts]).tolist()
        return [slice(stop - part.outputs, stop) for part, stop in zip(self.parts, stops, strict=True)]

    def target(self, row: ManifestRow) -> np.ndarray:
        """Float32 (parts,): class number or transformed value, NaN if the row has no label that counts.

        Raises `AnnotationError` for a row without any, and for labels that are invalid in their task.
        """
        labels: Any = row.value(self.column)
        if not isinstance(labels, dict) or not labels:
            raise AnnotationError(f"{row.where}: no labels of any task in column {self.column!r}")
        targets = np.full(len(self.parts), np.nan, np.float32)
        for index, part in enumerate(self.parts):
            if part.column in labels:
                targets[index] = np.asarray(part.target(row)).item()
        return targets
