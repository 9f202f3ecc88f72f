"""Which videos there are: one row a video, with its file, its split and what is true about it.

    key            the video's name: the same in the manifest, in the feature store and in every result
    path           its file; relative paths are relative to the manifest; may be missing once features are stored
    split          train, val or test; empty: the video is listed but takes part in nothing
    label          a class name or number, a value, or a list of them; a `Task` says what it means
    label_path     a file of labels along the video, for dense tasks; relative as `path` is
    start_seconds  the part of the video that counts, half-open; empty: from its beginning,
    end_seconds    and to its end
    group          what must not be spread over two splits: a film, a person, a recording day
    (others)       kept by name in `extra`

Files: JSON lines, CSV (or TSV) with a header, parquet. `manifest_files.py` holds the three formats.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from longvid.errors import AnnotationError

SPLITS = ("train", "val", "test")
_SPLIT_ALIASES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
_LONGEST_KEY = 1024
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and halves of surrogate pairs

Label = int | float | str | list[Any] | None


@dataclass(frozen=True)
class ManifestRow:
    """One video. Impossible values raise `AnnotationError`, which names the file and line the row came from."""

    key: str
    split: str | None = None
    label: Label = None
    path: str | None = None
    label_path: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False, repr=False)
    """The file and line it was read from, `manifest.csv:12`."""

    def __post_init__(self) -> None:
        _check_text(self.key, "key", self.where, longest=_LONGEST_KEY)
        if not self.key.strip():
            raise AnnotationError(f"{self.where}: the key is empty; every video needs a name of its own")
        for name in ("path", "label_path", "group", "split"):
            _check_text(getattr(self, name), name, self.where)
        _check_label(self.label, self.where)
        _check_span(self.start_seconds, self.end_seconds, self.where)
        object.__setattr__(self, "split", _normal_split(self.split, self.where))
        _check_extra(self.extra, self.where)

    @property
    def where(self) -> str:
        """How errors name this row."""
        return self.source or f"video {self.key!r}"

    def value(self, column: str) -> Any:
        """What stands in a column, own or extra; None where nothing does."""
        return getattr(self, column) if column in COLUMNS else self.extra.get(column)


_TEXT_COLUMNS = ("key", "path", "label_path", "group", "split")
COLUMNS = tuple(f.name for f in fields(ManifestRow) if f.name not in ("extra", "source"))


@dataclass(frozen=True)
class Manifest:
    """Rows with distinct keys, in the order they were listed."""

    rows: tuple[ManifestRow, ...]
    name: str = "manifest"

    def __post_init__(self) -> None:
        seen: dict[str, ManifestRow] = {}
        for row in self.rows:
            if row.key in seen:
                raise AnnotationError(f"{row.where}: key {row.key!r} was already given at {seen[row.key].where}")
            seen[row.key] = row

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self.rows)

    def row(self, key: str) -> ManifestRow:
        """The row of that key; `AnnotationError` where there is none."""
        for row in self.rows:
            if row.key == key:
                return row
        raise AnnotationError(f"{self.name} lists no video {key!r}")

    def split(self, name: str) -> tuple[ManifestRow, ...]:
        """Rows of one split (`train`, `val`, `test`), in order."""
        wanted = _normal_split(name, self.name)
        return tuple(row for row in self.rows if row.split == wanted)

    def counts(self) -> dict[str, int]:
        """How many videos each split lists; `""` counts those in none. Splits without any are left out."""
        counted = Counter(row.split or "" for row in self.rows)
        return {split: counted[split] for split in (*SPLITS, "") if counted[split]}

    def with_splits(self, splits: dict[str, str]) -> "Manifest":
        """The same rows, those whose keys are given moved to another split."""
        moved = (replace(row, split=splits.get(row.key, row.split)) for row in self.rows)
        return Manifest(tuple(moved), name=self.name)

    @classmethod
    def read(cls, path: str | Path) -> "Manifest":
        """The manifest in a `.jsonl`, `.csv`, `.tsv` or `.parquet` file.

        Anything that cannot be used raises `AnnotationError` with the file and line. A missing key is taken from
        the row's path without its ending; unknown columns go to `extra`.
        """
        from longvid.tasks.manifest_files import read_records

        path = Path(path)
        rows = tuple(row_from_record(record, where, path.parent) for where, record in read_records(path))
        if not rows:
            raise AnnotationError(f"{path}: lists no videos")
        return cls(rows, name=str(path))

    def write(self, path: str | Path) -> None:
        """Write it, whole or not at all, in the format of the path's ending; `read` gives it back equal.

        Paths inside the manifest's folder are written relative to it, so that the folder can be moved.
        """
        from longvid.tasks.manifest_files import write_records

        path = Path(path)
        write_records(path, [_record_of(row, path.parent) for row in self.rows])


def row_from_record(record: dict[str, Any], where: str, folder: Path) -> ManifestRow:
    """The row that a file's line describes; relative paths are taken from `folder`."""
    given = {name: value for name, value in record.items() if value is not None}
    if "key" not in given and isinstance(given.get("path"), str):
        given["key"] = Path(given["path"]).with_suffix("").as_posix()
    if "key" not in given:
        raise AnnotationError(f"{where}: has neither a key nor a path")
    values = {name: given[name] for name in COLUMNS if name in given}
    _check_label(values.get("label"), where)
    values |= {name: _text(values[name], name, where) for name in _TEXT_COLUMNS if name in values}
    values |= {name: _number(values[name], name, where) for name in ("start_seconds", "end_seconds") if name in values}
    values |= {name: _absolute(values[name], folder) for name in ("path", "label_path") if name in values}
    extra = {name: value for name, value in given.items() if name not in COLUMNS}
    return ManifestRow(**values, extra=extra, source=where)


def named(rows: Iterable[ManifestRow]) -> dict[str, ManifestRow]:
    """Rows by key."""
    return {row.key: row for row in rows}


def _record_of(row: ManifestRow, folder: Path) -> dict[str, Any]:
    record = {name: value for name in COLUMNS if (value := getattr(row, name)) is not None}
    for name in ("path", "label_path"):
        if name in record:
            record[name] = _relative(record[name], folder)
    return record | {name: value for name, value in row.extra.items() if value is not None}


def _absolute(path: str, folder: Path) -> str:
    return path if "://" in path else str((folder / path).absolute())


def _relative(path: str, folder: Path) -> str:
    if "://" in path:
        return path
    absolute, base = Path(path).absolute(), folder.absolute()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else str(absolute)


def _normal_split(split: str | None, where: str) -> str | None:
    if split is None or not split.strip():
        return None
    name = split.strip().lower()
    name = _SPLIT_ALIASES.get(name, name)
    if name not in SPLITS:
        raise AnnotationError(f"{where}: split {_quote(split)} is not one of {', '.join(SPLITS)} (or empty)")
    return name


def _check_text(text: str | None, name: str, where: str, *, longest: int = 4096) -> None:
    if text is None:
        return
    if len(text) > longest:
        raise AnnotationError(f"{where}: {name} is {len(text)} characters long; {longest} are allowed")
    if _UNWRITABLE.search(text):
        raise AnnotationError(f"{where}: {name} {_quote(text)} holds a control character or broken text")


def _check_label(label: Any, where: str) -> None:
    if isinstance(label, list):
        for part in label:
            _check_label(part, where)
    elif isinstance(label, float) and not math.isfinite(label):
        raise AnnotationError(f"{where}: label {label} is not a finite number")
    elif isinstance(label, str):
        _check_text(label, "label", where)
    elif isinstance(label, bool) or not (label is None or isinstance(label, int | float)):
        raise AnnotationError(f"{where}: label {_quote(label)} must be a number, text or a list of them")


def _check_extra(extra: dict[str, Any], where: str) -> None:
    for name, value in extra.items():
        if not name or name in COLUMNS:
            raise AnnotationError(f"{where}: {name!r} cannot be the name of an extra column")
        try:
            json.dumps([name, value], ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            raise AnnotationError(f"{where}: column {_quote(name)} holds {_quote(value)}, not plain JSON") from None


def _check_span(start_seconds: float | None, end_seconds: float | None, where: str) -> None:
    for name, value in (("start_seconds", start_seconds), ("end_seconds", end_seconds)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise AnnotationError(f"{where}: {name}={value} must be a number of seconds, 0 or more")
    if end_seconds is not None and end_seconds <= (start_seconds or 0):
        raise AnnotationError(f"{where}: end_seconds={end_seconds} does not lie after start_seconds={start_seconds}")


def _text(value: Any, name: str, where: str) -> str:
    """Text as it is, a whole number (an id) as text."""
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
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
