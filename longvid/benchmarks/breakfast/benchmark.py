"""Breakfast as one manifest of 1,712 videos.

It holds the split for classification, ViS4mer's own split, and the four folds.

    split              train P03-P41, val P42-P46, test P47-P54: ViS4mer's test people, validation by person
    vis4mer_split      ViS4mer's train and test; no validation, and three training videos are skipped
    s1 .. s4           the folds by person; the five people after those tested are for validation
    s1_labelled ..     the same without videos that have no frame labels
    label              the dish
    label_path         its label file, 15 lines per second; `segments` if only the official spans exist
    duration_seconds   the duration in ViS4mer's lists
    label_name         the name of label files and MS-TCN's features: the `key_column` for a store of those

The test people of `split` are among those of fold s4: models trained on `split` have seen P42-P46, whom s4 tests.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.benchmarks.breakfast.annotations import (
    DISHES,
    FOLDS,
    LABELS_PER_SECOND,
    PEOPLE,
    UNITS,
    BreakfastName,
    read_breakfast_list,
    read_bundle,
    read_coarse_labels,
    read_frame_labels,
    read_mapping,
)
from longvid.benchmarks.listing import Fault
from longvid.errors import AnnotationError
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.tasks.manifest_files import read_text
from longvid.tasks.task import Task

VALIDATION_PEOPLE = ("P42", "P43", "P44", "P45", "P46")
TEST_PEOPLE = tuple(person for person in PEOPLE if person >= "P47")
FOLD_VALIDATION_PEOPLE = 5
VIS4MER_SKIPS = ("P28-cam01-P28_cereals", "P28-cam02-P28_cereals", "P27-stereo-P27_milk_ch0")
"""Training videos that ViS4mer and MA-LMM leave out as unreadable; their labels are usable."""
SHORT_LABELS_SECONDS = 5.0
"""A note names the videos whose labels end at least this long before the video does."""

DISH_TASK = Task(
    "breakfast/dish",
    "classification",
    DISHES,
    metrics=("accuracy", "mean_average_precision", "mean_class_accuracy", "macro_f1"),
)
UNIT_TASK = Task(
    "breakfast/units",
    "dense",
    UNITS,
    metrics=("mof", "edit", "f1@10", "f1@25", "f1@50", "mean_class_accuracy"),
    column="segments",
    labels_per_second=LABELS_PER_SECOND,
)


@dataclass(frozen=True)
class _Labels:
    """Location of a video's frame labels, and how long they last."""

    path: str | None
    segments: list[list[Any]] | None
    duration_seconds: float


def breakfast_benchmark(folder: str | Path) -> Benchmark:
    """Breakfast from a folder of annotations (see `annotations.py`); absent lists are derived from the people."""
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder; it should hold train.csv and test.csv, or splits/")
    faults: list[Fault] = []
    lists = _read_lists(folder, faults)
    bundles = _read_bundles(folder, faults)
    if not lists and not bundles:
        raise AnnotationError(f"{folder}: holds neither train.csv and test.csv nor splits/*.bundle")
    named: dict[str, BreakfastName] = {}
    for entries in (lists, *bundles.values()):
        named |= {key: entry.name for key, entry in entries.items()}
    labels = _find_labels(folder, named.values(), faults)
    rows = tuple(_row(name, lists, bundles, labels.get(name.key)) for name in named.values())
    return Benchmark(
        name="breakfast",
        manifest=Manifest(rows, name=str(folder)),
        splits=tuple(_split_sets(labelled=bool(labels))),
        names=_names,
        home=lambda row: f"{BreakfastName.of_key(row.key).file}.avi",
        url=lambda row: None,
        faults=tuple(faults),
        notes=tuple(_notes(folder, lists, bundles, labels, len(rows))),
    )


@dataclass(frozen=True)
class _Entry:
    name: BreakfastName
    split: str
    where: str
    duration_seconds: int | None = None


_Entries = dict[str, _Entry]


def _read_lists(folder: Path, faults: list[Fault]) -> _Entries:
    """ViS4mer's lists by key; empty if the folder has neither of the two."""
    paths = {split: folder / f"{split}.csv" for split in ("train", "test")}
    if not any(path.is_file() for path in paths.values()):
        return {}
    entries: _Entries = {}
    for split, path in paths.items():
        listing = read_breakfast_list(path)
        faults += listing.faults
        found = [_Entry(video.name, split, video.where, video.duration_seconds) for video in listing.records]
        _put(entries, found, faults)
    return entries


def _read_bundles(folder: Path, faults: list[Fault]) -> dict[int, _Entries]:
    """The folds' lists; empty if the folder has none, `AnnotationError` if only some of the eight exist."""
    places = folder / "splits" if (folder / "splits").is_dir() else folder
    if not any(places.glob("*.bundle")):
        return {}
    folds: dict[int, _Entries] = {}
    for fold in FOLDS:
        entries: _Entries = {}
        for split in ("train", "test"):
            listing = read_bundle(places / f"{split}.split{fold}.bundle")
            faults += listing.faults
            _put(entries, [_Entry(video.name, split, video.where) for video in listing.records], faults)
        folds[fold] = entries
    return folds


def _put(entries: _Entries, found: Iterable[_Entry], faults: list[Fault]) -> None:
    """Add a list's entries. A video that was in the training list becomes a test video only, which is a fault."""
    for entry in found:
        before = entries.get(entry.name.key)
        if before is not None:
            faults.append(
                Fault(before.where, f"video {entry.name.key!r} is a test video too ({entry.where}): not trained on")
            )
        entries[entry.name.key] = entry


def _find_labels(folder: Path, names: Iterable[BreakfastName], faults: list[Fault]) -> dict[str, _Labels]:
    """Frame labels by key. A file with an unknown label is a fault, and its video counts as unlabelled."""
    mapping = folder / "mapping.txt"
    if mapping.is_file() and (listed := read_mapping(mapping)) != UNITS:
        raise AnnotationError(f"{mapping}: its {len(listed)} labels are not Breakfast's 48 units in order")
    truth = folder / "groundTruth"
    coarse = {path.stem: path for path in sorted((folder / "segmentation_coarse").rglob("*.txt"))}
    found: dict[str, _Labels] = {}
    for name in names:
        path = truth / f"{name.label_name}.txt"
        try:
            if path.is_file():
                found[name.key] = _Labels(str(path.absolute()), None, _count_labels(path) / LABELS_PER_SECOND)
            elif name.label_name in coarse:
                spans = read_coarse_labels(coarse[name.label_name])
                segments = [[*span.seconds, span.label] for span in spans]
                found[name.key] = _Labels(None, segments, spans[-1].seconds[1])
        except AnnotationError as error:
            where, _, reason = str(error).partition(": ")
            faults.append(Fault(where, reason))
    return found


def _count_labels(path: Path) -> int:
    """The number of lines of a label file; `AnnotationError` names the line of an unknown label."""
    labels = read_text(path).split("\n")
    while labels and not labels[-1].strip():
        labels.pop()
    if {label.strip() for label in labels} <= set(UNITS):
        return len(labels)
    return len(read_frame_labels(path))


def _row(name: BreakfastName, lists: _Entries, bundles: dict[int, _Entries], labels: _Labels | None) -> ManifestRow:
    entry = lists.get(name.key)
    extra: dict[str, Any] = {"label_name": name.label_name if name.channel != "ch1" else None}
    extra |= {} if entry is None else {"duration_seconds": entry.duration_seconds}
    published = entry.split if entry is not None else ("test" if name.person in TEST_PEOPLE else "train")
    if (entry is not None or not lists) and name.key not in VIS4MER_SKIPS:
        extra["vis4mer_split"] = published
    for fold in FOLDS:
        split = _fold_split(name, fold, bundles)
        extra |= {f"s{fold}": split} | ({f"s{fold}_labelled": split} if labels is not None and split else {})
    if labels is not None and labels.segments is not None:
        extra["segments"] = labels.segments
    split = "val" if published == "train" and name.person in VALIDATION_PEOPLE else published
    return ManifestRow(
        name.key,
        split=split if entry is not None or not lists else None,
        label=name.dish,
        label_path=None if labels is None else labels.path,
        group=name.person,
        extra={column: value for column, value in extra.items() if value is not None},
        source=entry.where if entry is not None else "",
    )


def _fold_split(name: BreakfastName, fold: int, bundles: dict[int, _Entries]) -> str | None:
    if bundles:
        entry = bundles[fold].get(name.key)
        split = None if entry is None else entry.split
    else:
        split = "test" if name.person in FOLDS[fold] else "train"
    return "val" if split == "train" and name.person in fold_validation_people(fold) else split


def fold_validation_people(fold: int) -> tuple[str, ...]:
    """The five people after those tested, in the order of their numbers; the first follows the last."""
    after = PEOPLE.index(FOLDS[fold][-1]) + 1
    return tuple(PEOPLE[(after + step) % len(PEOPLE)] for step in range(FOLD_VALIDATION_PEOPLE))


def _split_sets(*, labelled: bool) -> list[SplitSet]:
    validation = f"validation: {VALIDATION_PEOPLE[0]}-{VALIDATION_PEOPLE[-1]}"
    sets = [
        SplitSet("split", DISH_TASK, f"ViS4mer's test people; {validation}", across=False),
        SplitSet(
            "vis4mer_split", DISH_TASK, "as published: no validation, three training videos skipped", across=False
        ),
    ]
    sets += [SplitSet(f"s{fold}", DISH_TASK, f"fold {fold} of 4 by person", across=False) for fold in FOLDS]
    if labelled:
        what = "fold {} of 4 by person"
        sets += [SplitSet(f"s{fold}_labelled", UNIT_TASK, what.format(fold), across=False) for fold in FOLDS]
    return sets


def _names(row: ManifestRow) -> tuple[str, ...]:
    name = BreakfastName.of_key(row.key)
    return name.file, name.key, name.label_name, name.file.replace("/", "_")


def _notes(
    folder: Path, lists: _Entries, bundles: dict[int, _Entries], labels: dict[str, _Labels], num_rows: int
) -> list[str]:
    notes = []
    if not lists:
        notes.append(f"no train.csv and test.csv in {folder}: the split is derived from the people (test: P47-P54)")
    if not bundles:
        notes.append(f"no splits/*.bundle in {folder}: the four folds are derived from the people")
    notes.append("fold s4 tests P42-P46, on whom `split` validates: test a model only on its own fold")
    notes.append(f"{len(labels)} of {num_rows} videos have frame labels; the others take part in classification only")
    short = [
        f"{key} ({entry.duration_seconds} s, labels end at {found.duration_seconds:.0f} s)"
        for key, entry in lists.items()
        if (found := labels.get(key)) is not None
        and entry.duration_seconds is not None
        and found.duration_seconds < entry.duration_seconds - SHORT_LABELS_SECONDS
    ]
    if short:
        notes.append(f"labels end before the video; the rest is not scored: {', '.join(short)}")
    return notes
