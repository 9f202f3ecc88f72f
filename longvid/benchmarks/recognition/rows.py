"""A clip as these data sets list it, its row, and files of a folder."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.benchmarks.listing import Fault, Unusable, quoted
from longvid.errors import AnnotationError
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.tasks.manifest_files import read_text
from longvid.tasks.task import Task

METRICS = ("accuracy", "top5_accuracy", "mean_class_accuracy", "macro_f1")
LONGEST_NAME = 200


@dataclass(frozen=True)
class ListedClip:
    """One labelled clip of an annotation file."""

    key: str
    split: str | None
    label: int | None
    """Class number; None where the test labels are not public."""
    group: str | None = None
    """What clips of one source share."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    where: str = field(compare=False, repr=False, default="")


def clip_task(name: str, classes: Sequence[str]) -> Task:
    """The classification over these classes, in the order of their numbers."""
    return Task(name, "classification", tuple(classes), metrics=METRICS)


def clip_manifest(clips: Iterable[ListedClip], classes: Sequence[str], name: str) -> Manifest:
    """One row per clip, with the name of its class."""
    rows = []
    for clip in clips:
        named = {} if clip.label is None else {"label_names": {str(clip.label): classes[clip.label]}}
        rows.append(
            ManifestRow(
                clip.key,
                split=clip.split,
                label=clip.label,
                group=clip.group,
                extra=named | dict(clip.extra),
                source=clip.where,
            )
        )
    if not rows:
        raise AnnotationError(f"{name}: no clip of its lists can be used")
    return Manifest(tuple(rows), name=name)


def clip_benchmark(
    name: str,
    clips: Iterable[ListedClip],
    classes: Sequence[str],
    folder: Path,
    *,
    splits: Mapping[str, str],
    suffix: str,
    faults: Iterable[Fault] = (),
    notes: Iterable[str] = (),
) -> Benchmark:
    """A data set whose videos are files named by their keys, with or without the folder of their class.

    `splits`: what sets each column of splits apart, by its name.
    """
    task = clip_task(name, classes)
    return Benchmark(
        name=name,
        manifest=clip_manifest(clips, classes, str(folder)),
        splits=tuple(SplitSet(column, task, what, across=False) for column, what in splits.items()),
        names=lambda row: tuple(dict.fromkeys((row.key, row.key.rpartition("/")[2]))),
        home=lambda row: f"{row.key}{suffix}",
        url=lambda row: None,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def look_alikes(manifest: Manifest) -> list[str]:
    """A note on keys that differ in capital letters only, whose files overwrite each other on some disks."""
    times = Counter(row.key.casefold() for row in manifest)
    alike = [row.key for row in manifest if times[row.key.casefold()] > 1]
    if not alike:
        return []
    return [
        f"{len(alike)} keys differ from another in capital letters only, as {alike[0]}: their files overwrite each "
        "other on disks that do not tell such names apart"
    ]


def in_folder(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of these files that the folder holds; AnnotationError names them if it holds none."""
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder; give the folder that holds {what}")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise AnnotationError(f"{folder}: holds no {what} ({' or '.join(names)})")


def read_json_file(path: Path) -> Any:
    """The content of a JSON file; AnnotationError names the line that is not JSON."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise AnnotationError(f"{path}{f':{line}' if line else ''}: cannot be read as JSON ({error})") from None
    except RecursionError:
        raise AnnotationError(f"{path}: is nested too deeply for an annotation file") from None


def json_clips(
    path: Path, read: Callable[[Any, str], ListedClip], data_set: str
) -> tuple[list[ListedClip], list[Fault]]:
    """The clips of a JSON list, and its records that `read`, called with each and its place, cannot use."""
    content = read_json_file(path)
    if not isinstance(content, list):
        raise AnnotationError(f"{path}: is not a list of videos as {data_set}'s files are")
    clips, faults = [], []
    for number, record in enumerate(content, 1):
        where = f"{path}: video {number}"
        try:
            clips.append(read(record, where))
        except Unusable as error:
            faults.append(Fault(where, str(error)))
    return clips, faults


def plain_name(text: object, what: str) -> str:
    """The text as a key or a class name; Unusable for anything that is none, or that leads out of a folder."""
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST_NAME or not text.isprintable():
        raise Unusable(f"{what} {quoted(text)} is not a name")
    if text.startswith(("/", "\\")) or ".." in text.replace("\\", "/").split("/"):
        raise Unusable(f"{what} {quoted(text)} leads out of the folder")
    return text.strip()


def distinct(clips: Iterable[ListedClip]) -> tuple[list[ListedClip], list[Fault]]:
    """One clip per key; a clip that two rows list differently is a fault at both, a repeated row at the second."""
    groups: dict[str, list[ListedClip]] = {}
    for clip in clips:
        groups.setdefault(clip.key, []).append(clip)
    kept, faults = [], []
    for key, members in groups.items():
        first = members[0]
        if all(clip == first for clip in members):
            kept.append(first)
            faults += [Fault(clip.where, f"video {key!r} repeats {first.where}") for clip in members[1:]]
            continue
        places = ", ".join(clip.where for clip in members[:3])
        reason = f"video {key!r} is listed {len(members)} times with different values ({places})"
        faults += [Fault(clip.where, reason) for clip in members]
    return kept, faults
