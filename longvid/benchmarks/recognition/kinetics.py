"""Kinetics-400, 600 and 700 from their official csv files.

    label,youtube_id,time_start,time_end,split,is_cc        a class number is the place of its name in alphabetical
    abseiling,0347ZoDXyP0,95,105,train,0                    order among the training rows

split           train, and the official validation set as test: that is where every published number was measured
official_split  as the files say: train, val, test (whose labels some editions keep back)
group           the YouTube video
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.benchmarks.listing import Fault, Unusable, quoted
from longvid.benchmarks.recognition.rows import (
    ListedClip,
    clip_manifest,
    clip_task,
    distinct,
    look_alikes,
    plain_name,
)
from longvid.benchmarks.youtube import watch_url, youtube_id
from longvid.errors import AnnotationError
from longvid.tasks.manifest import ManifestRow
from longvid.tasks.manifest_files import read_text

_SPLITS = {"train": "train", "training": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
_NEEDED = ("youtube_id", "time_start", "time_end")
EDITIONS = {400: "kinetics-400", 600: "kinetics-600", 700: "kinetics-700"}
LAST_SECOND = 999_999

Row = tuple[str, dict[str, str]]
"""`file:line`, and values by column."""


def kinetics_benchmark(folder: str | Path) -> Benchmark:
    """Kinetics from the folder of its csv files (train, val or validate, test), or from one such file."""
    paths = _lists(Path(folder))
    rows = [row for path in paths for row in _rows(path)]
    classes, notes = _classes(rows)
    numbers = {name: number for number, name in enumerate(classes)}
    clips: list[ListedClip] = []
    faults: list[Fault] = []
    for where, row in rows:
        try:
            clips.append(_clip(row, numbers, where))
        except Unusable as error:
            faults.append(Fault(where, str(error)))
    kept, repeated = distinct(clips)
    manifest = clip_manifest(kept, classes, str(folder))
    task = clip_task(EDITIONS.get(len(classes), "kinetics"), classes)
    if len(classes) not in EDITIONS:
        notes.append(f"{len(classes)} classes are those of no edition (400, 600, 700): lists of a part of Kinetics?")
    sets = [SplitSet("split", task, "as published: the official validation set is the test", across=False)]
    if any(row.value("official_split") == "test" and row.label is not None for row in manifest):
        sets.append(SplitSet("official_split", task, "the official sets", across=False))
    return Benchmark(
        name="kinetics",
        manifest=manifest,
        splits=tuple(sets),
        names=lambda row: (row.key, row.key[:11]),
        home=lambda row: _home(row, classes),
        url=lambda row: watch_url(row.key[:11]),
        faults=(*faults, *repeated),
        notes=(*notes, *look_alikes(manifest)),
    )


def _lists(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.csv")) if path.is_dir() else []
    if not found:
        raise AnnotationError(f"{path}: holds no csv file; give the folder with train.csv and val.csv of Kinetics")
    return found


def _rows(path: Path) -> Iterator[Row]:
    """The rows of one file, whose header must be Kinetics'."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        lacking = [name for name in _NEEDED if name not in header]
        if lacking:
            raise AnnotationError(
                f"{path}:1: has no column {' and '.join(lacking)}; Kinetics' lists start with "
                "label,youtube_id,time_start,time_end,split"
            )
        for row in reader:
            values = {str(name).strip(): (value or "").strip() for name, value in row.items() if name is not None}
            if any(values.values()):
                yield f"{path}:{reader.line_num}", values | {"file": path.stem}
    except csv.Error as error:
        raise AnnotationError(f"{path}:{reader.line_num}: is not readable as csv ({error})") from None


def _classes(rows: list[Row]) -> tuple[list[str], list[str]]:
    """Class names in the order of their numbers, and a note where that order is a guess."""
    labels = {
        split: {row["label"] for _, row in rows if row.get("label") and _split(row) == split} for split in _SPLITS
    }
    if labels["train"]:
        return sorted(labels["train"]), []
    everything = sorted(set().union(*labels.values()))
    if len(everything) < 2:
        raise AnnotationError(f"{rows[0][0] if rows else 'Kinetics'}: no two classes are named; give train.csv too")
    return everything, ["no training list: classes are numbered by the names in the others, which may lack some"]


def _split(row: dict[str, str]) -> str | None:
    """The row's official split, from its column or from the name of its file."""
    told = row.get("split", "").lower()
    if told:
        return _SPLITS.get(told)
    return next((split for word, split in _SPLITS.items() if word in row["file"].lower()), None)


def _clip(row: dict[str, str], numbers: dict[str, int], where: str) -> ListedClip:
    video = youtube_id(row["youtube_id"])
    start, end = (_seconds(row[name], name) for name in ("time_start", "time_end"))
    if not start < end:
        raise Unusable(f"time_start {start:g} is not before time_end {end:g}")
    split = _split(row)
    if split is None:
        raise Unusable(f"split {quoted(row.get('split', ''))} is not train, val or test")
    label = row.get("label", "")
    if not label and split != "test":
        raise Unusable("has no label")
    if label and plain_name(label, "label") not in numbers:
        raise Unusable(f"label {quoted(label)} is not among the classes of the training list")
    return ListedClip(
        f"{video}_{int(start):06d}_{int(end):06d}",
        {"train": "train", "val": "test"}.get(split),
        numbers[label] if label else None,
        video,
        {"official_split": split, "duration_seconds": end - start},
        where,
    )


def _seconds(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LAST_SECOND:
        raise Unusable(f"{name} {quoted(text)} is not a time in seconds")
    return value


def _home(row: ManifestRow, classes: list[str]) -> str:
    folder = f"{classes[row.label]}/" if isinstance(row.label, int) else ""
    return f"{row.value('official_split')}/{folder}{row.key}.mp4"
