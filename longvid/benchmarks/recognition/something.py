"""Something-Something v2 from its official json files.

    labels.json       {"Approaching something with your camera": "0", ...}: 174 names, numbers as text
    train.json        [{"id": "78687", "template": "Holding [something] next to [something]", ...}, ...]
    validation.json   likewise; test.json has ids only

A video's class is its template without brackets, never its `label`, which names the objects. Everyone tests on the
validation set, which is `test` here. Classes tell left from right: clips must never be mirrored.
"""

from functools import partial
from pathlib import Path
from typing import Any

from longvid.benchmarks.benchmark import Benchmark
from longvid.benchmarks.listing import Fault, Unusable, quoted
from longvid.benchmarks.recognition.rows import (
    ListedClip,
    clip_benchmark,
    distinct,
    in_folder,
    json_clips,
    plain_name,
    read_json_file,
)
from longvid.errors import AnnotationError

NUM_CLASSES = 174
_LONG = "something-something-v2-"
_SETS = {"train": "train", "validation": "test", "test": None}


def something_benchmark(folder: str | Path) -> Benchmark:
    """Something-Something v2 from the folder of its json files, under their short or long names."""
    folder = Path(folder)
    classes = _read_classes(in_folder(folder, ("labels.json", f"{_LONG}labels.json"), "labels.json"))
    numbers = {name: number for number, name in enumerate(classes)}
    clips: list[ListedClip] = []
    faults: list[Fault] = []
    absent = []
    for name, split in _SETS.items():
        path = next((p for p in (folder / f"{name}.json", folder / f"{_LONG}{name}.json") if p.is_file()), None)
        if path is None:
            absent.append(name)
            continue
        read, unusable = json_clips(path, partial(_clip, numbers, split), "Something-Something")
        clips += read
        faults += unusable
    if "train" in absent and "validation" in absent:
        raise AnnotationError(f"{folder}: holds neither train.json nor validation.json of Something-Something v2")
    kept, repeated = distinct(clips)
    notes = [f"no {name}.json in {folder}" for name in absent]
    if len(classes) != NUM_CLASSES:
        notes.append(f"labels.json names {len(classes)} classes, the published one {NUM_CLASSES}")
    return clip_benchmark(
        "ssv2",
        kept,
        classes,
        folder,
        splits={"split": "the official validation set is the test"},
        suffix=".webm",
        faults=(*faults, *repeated),
        notes=notes,
    )


def _read_classes(path: Path) -> list[str]:
    """Names in the order of their numbers, which must be 0..n-1."""
    content = read_json_file(path)
    if not isinstance(content, dict) or not content:
        raise AnnotationError(f'{path}: is not a labels.json, an object {{"name of a class": "0", ...}}')
    try:
        numbered = {int(str(number)): str(name) for name, number in content.items()}
    except ValueError as error:
        raise AnnotationError(f"{path}: a class has no whole number ({error})") from None
    if sorted(numbered) != list(range(len(content))):
        raise AnnotationError(f"{path}: the classes' numbers are not 0 to {len(content) - 1}, each once")
    return [numbered[number] for number in range(len(numbered))]


def _clip(numbers: dict[str, int], split: str | None, record: Any, where: str) -> ListedClip:
    if not isinstance(record, dict):
        raise Unusable(f"{quoted(record)} is not a video with an id")
    key = plain_name(str(record.get("id", "")), "id")
    if split is None:
        return ListedClip(key, None, None, extra={"official_split": "test"}, where=where)
    template = plain_name(record.get("template"), "template").replace("[", "").replace("]", "")
    if template not in numbers:
        raise Unusable(f"video {key!r}: template {quoted(template)} is not in labels.json")
    official = "train" if split == "train" else "val"
    return ListedClip(key, split, numbers[template], extra={"official_split": official}, where=where)
