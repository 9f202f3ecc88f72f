"""A public data set as one manifest that lists every video once.

Each question has its splits and its labels in columns of its own. The videos are extracted once and serve every
question; a recipe names its columns (`task.column`, `split_column`). This module does not look for video files:
`longvid.pipelines.prepare` fills in the paths.
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
    """What sets it apart from the other splits, in a phrase."""
    across: bool = True
    """Whether its test videos are checked against the training videos of the other split sets."""


@dataclass(frozen=True)
class Benchmark:
    """The content of a data set's annotation files, before any video is looked for."""

    name: str
    manifest: Manifest
    """Rows without paths."""
    splits: tuple[SplitSet, ...]
    names: Callable[[ManifestRow], tuple[str, ...]]
    """Paths without suffix (`P03/cam01/P03_tea`, or an id) under which a video's file may lie, most usual first."""
    home: Callable[[ManifestRow], str]
    """Where the file is expected below the folder of videos if none is found."""
    url: Callable[[ManifestRow], str | None]
    """The web page that offers the video, if there is one."""
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


def rows_of(manifest: Manifest, column: str, split: str | None = None) -> tuple[ManifestRow, ...]:
    """Rows that a split column puts into the given split, or into any split if none is given."""
    return tuple(row for row in manifest if (there := row.value(column)) and (split is None or there == split))


def select_splits(manifest: Manifest, column: str) -> Manifest:
    """The rows with a split in a column, with that as their `split`; `AnnotationError` if there is none."""
    if not rows_of(manifest, column):
        columns = sorted({name for row in manifest for name, value in row.extra.items() if value in SPLITS})
        raise AnnotationError(
            f"{manifest.name}: no video has a split in column {column!r}; such columns: {', '.join(columns) or 'none'}"
        )
    chosen = (replace(row, split=str(row.value(column))) for row in rows_of(manifest, column))
    return Manifest(tuple(chosen), name=manifest.name)


def with_keys(manifest: Manifest, column: str) -> Manifest:
    """The rows with their keys taken from another column; `AnnotationError` for a row that has none there."""
    rows = []
    for row in manifest:
        key = row.value(column)
        if not isinstance(key, str):
            raise AnnotationError(f"{row.where}: video {row.key!r} has no key in column {column!r}")
        extra = {name: value for name, value in row.extra.items() if name != column}
        rows.append(replace(row, key=key, extra=extra))
    return Manifest(tuple(rows), name=manifest.name)


def with_columns(manifest: Manifest, columns: Mapping[str, Mapping[str, Any]]) -> Manifest:
    """The manifest with extra columns; each maps the keys of some videos to values."""
    rows = []
    for row in manifest:
        more = {column: values[row.key] for column, values in columns.items() if row.key in values}
        rows.append(replace(row, extra=row.extra | more))
    return Manifest(tuple(rows), name=manifest.name)
