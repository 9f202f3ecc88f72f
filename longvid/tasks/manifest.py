"""The list of videos: one row per video, with file, split and labels.

    key            the video's name: the same in the manifest, in the feature store and in every result
    path           its file; relative paths are relative to the manifest; may be missing once features are stored
    split          train, val or test; empty: the video is listed but not used
    label          a class name or number, a value, or a list of them; a `Task` says what it means
    label_path     a file of labels along the video, for dense tasks; relative like `path`
    start_seconds  the part of the video that counts, half-open; empty: from its start,
    end_seconds    and to its end
    group          what must not be spread over two splits: a film, a person, a recording day
    sha256         of the file, 64 hexadecimal digits: a file with other bytes is not extracted
    (others)       kept by name in `extra`

Files: JSON lines, CSV (or TSV) with a header, parquet. `manifest_files.py` holds the three formats.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from longvid.errors import AnnotationError
from longvid.tasks.columns import Columns

SPLITS = ("train", "val", "test")
_SPLIT_ALIASES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
_LONGEST_KEY = 1024
_LONGEST_TEXT = 4096
_MOST_LEVELS = 16
"""Depth of lists inside lists in a label."""
MOST_ROWS = 50_000_000
"""A file of a few kilobytes can claim more (parquet packs repeated rows)."""
_SHA256 = re.compile("[0-9a-f]{64}")
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and halves of surrogate pairs

Label = int | float | str | list[Any] | None


@dataclass(frozen=True)
class ManifestRow:
    """One video. Invalid values raise `AnnotationError`, which names the file and line the row came from."""

    key: str
    split: str | None = None
    label: Label = None
    path: str | None = None
    label_path: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str | None = None
    sha256: str | None = field(default=None, kw_only=True)
    extra: dict[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False, repr=False)
    """The file and line it was read from, `manifest.csv:12`."""

    def __post_init__(self) -> None:
        given = {name: value for name in COLUMNS if (value := getattr(self, name)) is not None}
        _check(given, self.extra, self.where)
        object.__setattr__(self, "split", given.get("split"))
        object.__setattr__(self, "sha256", given.get("sha256"))

    @property
    def where(self) -> str:
        """The name of this row in error messages."""
        return self.source or f"video {self.key!r}"

    def given(self) -> dict[str, Any]:
        """What stands in the row, by column, own and extra ones; without what is None."""
        own = {name: value for name in COLUMNS if (value := getattr(self, name)) is not None}
        return own | {name: value for name, value in self.extra.items() if value is not None}

    def value(self, column: str) -> Any:
        """The value of a column, built-in or extra; None if it is empty."""
        return getattr(self, column) if column in COLUMNS else self.extra.get(column)


TEXT_COLUMNS = ("key", "path", "label_path", "group", "split", "sha256")
COLUMNS = tuple(f.name for f in fields(ManifestRow) if f.name not in ("extra", "source"))
_SPLITS_OR_NONE = (*SPLITS, None)
_COLUMN_SET = frozenset(COLUMNS)
_EMPTY_ROW = dict.fromkeys(COLUMNS)
_PLAIN_SEPARATOR = os.sep == "/"


class _ReadRows(Sequence[ManifestRow]):
    """Rows of a file, each checked when it was read and made when it is asked for; equal to a tuple of them."""

    def __init__(self, columns: Columns, prefix: str) -> None:
        self.columns = columns
        self._prefix = prefix

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[ManifestRow]:
        return (self._made(number, values) for number, values in self.columns.rows())

    @overload
    def __getitem__(self, index: int) -> ManifestRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ManifestRow, ...]: ...

    def __getitem__(self, index: int | slice) -> ManifestRow | tuple[ManifestRow, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        return self._made(*self.columns.row(index))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _ReadRows | tuple):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # rows hold dictionaries

    def _made(self, number: int, values: dict[str, Any]) -> ManifestRow:
        """The row as its constructor made it, without checking it again."""
        row = object.__new__(ManifestRow)
        own = {name: values.pop(name, None) for name in COLUMNS}
        row.__dict__.update(own, extra=values, source=f"{self._prefix}{number}")
        return row


@dataclass(frozen=True)
class Manifest:
    """Rows with distinct keys, in the order they were listed."""

    rows: Sequence[ManifestRow]
    name: str = "manifest"

    def __post_init__(self) -> None:
        first: dict[str, int] = {}
        keys = self._column("key")
        for index in _alike(keys):
            if keys[index] in first:
                now, before = self.rows[index], self.rows[first[keys[index]]]
                raise AnnotationError(f"{now.where}: key {now.key!r} was already given at {before.where}")
            first[keys[index]] = index

    def _column(self, name: str) -> list[Any]:
        """What stands in a column of its own, row by row."""
        if isinstance(self.rows, _ReadRows):
            return self.rows.columns.column(name)
        return [getattr(row, name) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self.rows)

    def row(self, key: str) -> ManifestRow:
        """The row of that key; `AnnotationError` where there is none."""
        try:
            return self.rows[self._column("key").index(key)]
        except ValueError:
            raise AnnotationError(f"{self.name} lists no video {key!r}") from None

    def split(self, name: str) -> tuple[ManifestRow, ...]:
        """Rows of one split (`train`, `val`, `test`), in order."""
        wanted = _normal_split(name, self.name)
        return tuple(self.rows[index] for index, split in enumerate(self._column("split")) if split == wanted)

    def counts(self) -> dict[str, int]:
        """How many videos each split lists; `""` counts those in none. Splits without any are left out."""
        counted = Counter(split or "" for split in self._column("split"))
        return {split: counted[split] for split in (*SPLITS, "") if counted[split]}

    def with_splits(self, splits: dict[str, str]) -> "Manifest":
        """The same rows, but those whose keys are given are moved to another split."""
        moved = (replace(row, split=splits.get(row.key, row.split)) for row in self.rows)
        return Manifest(tuple(moved), name=self.name)

    @classmethod
    def read(cls, path: str | Path) -> "Manifest":
        """The manifest in a `.jsonl`, `.csv`, `.tsv` or `.parquet` file.

        Anything invalid raises `AnnotationError` with the file and line. A missing key is taken from the row's path
        without its suffix; unknown columns go to `extra`.
        """
        from longvid.tasks.manifest_files import read_records

        path = Path(path)
        prefix, records = read_records(path)
        folder, columns = str(path.parent.absolute()), Columns()
        for number, record in records:
            columns.append(_row_values(record, f"{prefix}{number}", folder), number)
            if len(columns) > MOST_ROWS:
                raise AnnotationError(f"{path}: lists more than {MOST_ROWS:,} videos; split it into several manifests")
        columns.close()
        if not len(columns):
            raise AnnotationError(f"{path}: lists no videos")
        return cls(_ReadRows(columns, prefix), name=str(path))

    def write(self, path: str | Path) -> None:
        """Write it atomically, in the format that the path's suffix names; `read` gives back an equal manifest.

        Paths inside the manifest's folder are written relative to it, so that the folder can be moved.
        """
        from longvid.tasks.manifest_files import write_records

        path = Path(path)
        write_records(path, [_record_of(row, path.parent) for row in self.rows])


def read_rows(path: str | Path) -> Iterator[ManifestRow]:
    """The rows of a manifest, each read and checked when it is asked for; unlike `Manifest.read`, none is kept.

    Keys are not compared with each other. Raises `AnnotationError` at an invalid row, and for a file without rows.
    """
    from longvid.tasks.manifest_files import read_records

    path = Path(path)
    prefix, records = read_records(path)
    folder, number = str(path.parent.absolute()), None
    for number, record in records:
        source = f"{prefix}{number}"
        values = _row_values(record, source, folder)
        row = object.__new__(ManifestRow)  # checked already, and in the form of a row
        extra = {name: values.pop(name) for name in [name for name in values if name not in _COLUMN_SET]}
        about = row.__dict__
        about.update(_EMPTY_ROW)
        about.update(values)
        about["extra"], about["source"] = extra, source
        yield row
    if number is None:
        raise AnnotationError(f"{path}: lists no videos")


def _row_values(record: dict[str, Any], where: str, folder: str) -> dict[str, Any]:
    """What the row that a file's line describes holds, checked; relative paths are taken from the absolute `folder`."""
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in record.items():
        if value is None:
            continue
        if name not in _COLUMN_SET:
            extra[name] = value
        elif name in TEXT_COLUMNS:
            values[name] = value if type(value) is str else _text(value, name, where)
        elif name in ("start_seconds", "end_seconds"):
            values[name] = _number(value, name, where)
        else:
            values[name] = value
    if "key" not in values:
        values["key"] = _key_of(values.get("path"), where)
    for name in ("path", "label_path"):
        if name in values:
            values[name] = _absolute(values[name], folder)
    _check(values, extra, where)
    return values | extra if extra else values


def _check(values: dict[str, Any], extra: dict[str, Any], where: str) -> None:
    """Raises AnnotationError unless these can be a row; `values` has no None, and its split becomes the usual word."""
    for name, value in values.items():
        if name in TEXT_COLUMNS and not (len(value) <= _LONGEST_KEY and value.isprintable()):
            _check_text(value, name, where, longest=_LONGEST_KEY if name == "key" else _LONGEST_TEXT)
    if not values["key"] or values["key"].isspace():
        raise AnnotationError(f"{where}: the key is empty; every video needs a name of its own")
    if "label" in values:
        _check_label(values["label"], where)
    if "start_seconds" in values or "end_seconds" in values:
        _check_span(values.get("start_seconds"), values.get("end_seconds"), where)
    if values.get("split") not in _SPLITS_OR_NONE:
        split = _normal_split(values.pop("split"), where)
        if split is not None:
            values["split"] = split
    if "sha256" in values:
        sha256 = _normal_sha256(values.pop("sha256"), where)
        if sha256 is not None:
            values["sha256"] = sha256
    if extra:
        _check_extra(extra, where)


def _key_of(path: str | None, where: str) -> str:
    """The path without its ending."""
    if path is None:
        raise AnnotationError(f"{where}: has neither a key nor a path")
    if "://" in path:  # the query of a URL may hold a signature, which must not become part of a key
        from longvid.video.source import source_key

        return source_key(path)
    if not Path(path).name:
        raise AnnotationError(f"{where}: path {_quote(path)} does not name a file, and the key is missing")
    return Path(path).with_suffix("").as_posix()


def _alike(keys: list[str]) -> list[int]:
    """Indices of the keys that may occur twice: those that share their hash with another one, in order.

    A dictionary of a million keys takes 0.1 GB, their sorted hashes 8 MB.
    """
    hashes = np.fromiter((hash(key) for key in keys), np.int64, len(keys))
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(hashes, repeated)).tolist() if len(repeated) else []


def named(rows: Iterable[ManifestRow]) -> dict[str, ManifestRow]:
    """Rows by key."""
    return {row.key: row for row in rows}


def _record_of(row: ManifestRow, folder: Path) -> dict[str, Any]:
    record = row.given()
    for name in ("path", "label_path"):
        if name in record:
            record[name] = _relative(record[name], folder)
    return record


def _absolute(path: str, folder: str) -> str:
    if path.startswith("tar://") and "::" in path:  # a member of a tar, which may itself lie beside the manifest
        member, _, shard = path.partition("::")
        return f"{member}::{_absolute(shard, folder)}"
    if "://" in path:
        return path
    if _PLAIN_SEPARATOR and path and path[0] != "." and path[-1] != "/" and "//" not in path and "/." not in path:
        return path if path[0] == "/" else f"{folder}/{path}"  # what the line below says, ten times faster
    return str(Path(folder, path))


def _relative(path: str, folder: Path) -> str:
    if "://" in path:
        return path
    absolute, base = Path(path).absolute(), folder.absolute()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)


def _normal_split(split: str | None, where: str) -> str | None:
    if split is None or split in SPLITS:
        return split
    if not split.strip():
        return None
    name = split.strip().lower()
    name = _SPLIT_ALIASES.get(name, name)
    if name not in SPLITS:
        raise AnnotationError(f"{where}: split {_quote(split)} is not one of {', '.join(SPLITS)} (or empty)")
    return name


def _normal_sha256(sha256: str, where: str) -> str | None:
    digits = sha256.strip().lower()
    if digits and not _SHA256.fullmatch(digits):
        raise AnnotationError(f"{where}: sha256 {_quote(sha256)} is not 64 hexadecimal digits, as `sha256sum` prints")
    return digits or None


def _check_text(text: str, name: str, where: str, *, longest: int = _LONGEST_TEXT) -> None:
    if len(text) <= longest and text.isprintable():
        return
    if len(text) > longest:
        raise AnnotationError(f"{where}: {name} is {len(text)} characters long; at most {longest} are allowed")
    if _UNWRITABLE.search(text):
        raise AnnotationError(f"{where}: {name} {_quote(text)} holds a control character or broken text")


def _check_label(label: Any, where: str, levels: int = _MOST_LEVELS) -> None:
    if label is None or type(label) is int:
        return
    if isinstance(label, list):
        if not levels:
            raise AnnotationError(f"{where}: label holds lists nested deeper than {_MOST_LEVELS} levels")
        for part in label:
            _check_label(part, where, levels - 1)
    elif isinstance(label, float) and not math.isfinite(label):
        raise AnnotationError(f"{where}: label {label} is not a finite number")
    elif isinstance(label, str):
        _check_text(label, "label", where)
    elif isinstance(label, bool) or not (label is None or isinstance(label, int | float)):
        raise AnnotationError(f"{where}: label {_quote(label)} must be a number, text or a list of them")


def _check_extra(extra: dict[str, Any], where: str) -> None:
    for name, value in extra.items():
        if not name or name in _COLUMN_SET:
            raise AnnotationError(f"{where}: {name!r} cannot be the name of an extra column")
        if name.isprintable() and type(value) is str and value.isprintable():
            continue
        if _is_deeper(value, _MOST_LEVELS):
            raise AnnotationError(f"{where}: column {_quote(name)} is nested deeper than {_MOST_LEVELS} levels")
        try:
            json.dumps([name, value], ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            raise AnnotationError(f"{where}: column {_quote(name)} holds {_quote(value)}, not plain JSON") from None


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_is_deeper(part, levels - 1) for part in inner))


def _check_span(start_seconds: float | None, end_seconds: float | None, where: str) -> None:
    for name, value in (("start_seconds", start_seconds), ("end_seconds", end_seconds)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise AnnotationError(f"{where}: {name}={value} must be a number of seconds, 0 or more")
    if end_seconds is not None and end_seconds <= (start_seconds or 0):
        raise AnnotationError(f"{where}: end_seconds={end_seconds} is not after start_seconds={start_seconds}")


def _text(value: Any, name: str, where: str) -> str:
    """Text unchanged; a whole number (an id) as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise AnnotationError(f"{where}: {name}={_quote(value)} must be text")
    return str(value)


def _number(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AnnotationError(f"{where}: {name}={_quote(value)} must be a number of seconds")
    try:
        return float(value)
    except OverflowError:
        raise AnnotationError(f"{where}: {name} is too large a number") from None


def _quote(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} nested too deep to show"
    return text if len(text) <= 80 else text[:77] + "..."
