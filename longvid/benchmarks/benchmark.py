"""A public data set as one manifest: every video once, the splits and labels of each question in columns of their own.

One list of videos is extracted once and serves every question; a recipe names its columns (`task.column`,
`split_column`). Files are not looked for here: `longvid.pipelines.prepare` fills in the paths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from longvid.benchmarks.listing import Fault
from longvid.errors import AnnotationError
from longvid.tasks.manifest import SPLITS, Manifest, ManifestRow
from longvid.tasks.task import Task


@dataclass(frozen=True)
class SplitSet:
    """One way to split the videos of a benchmark for one question."""

    column: str
    """Manifest column that holds `train`, `val`, `test` or nothing."""
    task: Task
    what: str = ""
    """What is particular about it, in a phrase."""
    across: bool = True
    """Whether a model trained on another set of splits could be tested on this one's videos, and so is checked."""


@dataclass(frozen=True)
class Benchmark:
    """What the annotation files of a data set say, before any video is looked for."""

    name: str
    manifest: Manifest
    """Rows without paths."""
    splits: tuple[SplitSet, ...]
    names: Callable[[ManifestRow], tuple[str, ...]]
    """Under which paths without ending (`P03/cam01/P03_tea`, or an id) a video's file is known, most usual first."""
    home: Callable[[ManifestRow], str]
    """Where its file is expected below the folder of videos, where none is found."""
    url: Callable[[ManifestRow], str | None]
    """The page it can be had from, if there is one."""
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


def rows_of(manifest: Manifest, column: str, split: str | None = None) -> tuple[ManifestRow, ...]:
    """Rows that a split column puts into a split; into any, without one."""
    return tuple(row for row in manifest if (there := row.value(column)) and (split is None or there == split))


def select_splits(manifest: Manifest, column: str) -> Manifest:
    """The rows that take part in a split column, with that split as theirs; `AnnotationError` where none does."""
    if not rows_of(manifest, column):
        columns = sorted({name for row in manifest for name, value in row.extra.items() if value in SPLITS})
        raise AnnotationError(
            f"{manifest.name}: no video has a split in column {column!r}; such columns: {', '.join(columns) or 'none'}"
        )
    chosen = (replace(row, split=str(row.value(column))) for row in rows_of(manifest, column))
    return Manifest(tuple(chosen), name=manifest.name)


def with_keys(manifest: Manifest, column: str) -> Manifest:
    """The rows under the names of another column; `AnnotationError` for a row that has none there."""
    rows = []
    for row in manifest:
        key = row.value(column)
        if not isinstance(key, str):
            raise AnnotationError(f"{row.where}: video {row.key!r} has no key in column {column!r}")
        extra = {name: value for name, value in row.extra.items() if name != column}
        rows.append(replace(row, key=key, extra=extra))
    return Manifest(tuple(rows), name=manifest.name)


def with_columns(manifest: Manifest, columns: Mapping[str, Mapping[str, Any]]) -> Manifest:
    """The manifest with more extra columns: for each, the value of some videos by key."""
    rows = []
    for row in manifest:
        more = {column: values[row.key] for column, values in columns.items() if row.key in values}
        rows.append(replace(row, extra=row.extra | more))
    return Manifest(tuple(rows), name=manifest.name)
