"""Diving48 from its official json files.

    Diving48_V2_train.json   [{"vid_name": "...", "label": 12, "start_frame": 0, "end_frame": 140}, ...]
    Diving48_V2_test.json    likewise
    Diving48_vocab.json      [["Back", "15som", "05Twis", "FREE"], ...]: a dive per class number

Version 2 corrects labels: numbers measured on version 1 are not comparable with it. The group is the video of the
competition, the first eleven characters of a name.
"""

from pathlib import Path
from typing import Any

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.benchmarks.listing import Fault, Unusable, quoted
from longvid.benchmarks.recognition.rows import (
    ListedClip,
    clip_manifest,
    clip_task,
    distinct,
    in_folder,
    plain_name,
    read_json_file,
)
from longvid.benchmarks.youtube import YOUTUBE_ID
from longvid.errors import AnnotationError

NUM_CLASSES = 48


def diving48_benchmark(folder: str | Path) -> Benchmark:
    """Diving48 from the folder of its json files; those of version 2 are taken where both are there."""
    folder = Path(folder)
    classes = [str(number) for number in range(NUM_CLASSES)]
    notes: list[str] = []
    if (folder / "Diving48_vocab.json").is_file():
        classes = _read_vocabulary(folder / "Diving48_vocab.json")
    else:
        notes.append(f"no Diving48_vocab.json in {folder}: classes have numbers only")
    clips: list[ListedClip] = []
    faults: list[Fault] = []
    for split in ("train", "test"):
        names = (f"Diving48_V2_{split}.json", f"Diving48_{split}.json")
        path = in_folder(folder, names, f"list of the {split} videos of Diving48")
        if path.name == names[1]:
            notes.append(f"{path.name} is version 1, whose labels version 2 corrects: numbers are not comparable")
        content = read_json_file(path)
        if not isinstance(content, list):
            raise AnnotationError(f"{path}: is not a list of videos as Diving48's files are")
        for number, record in enumerate(content, 1):
            where = f"{path}: video {number}"
            try:
                clips.append(_clip(record, split, len(classes), where))
            except Unusable as error:
                faults.append(Fault(where, str(error)))
    kept, repeated = distinct(clips)
    return Benchmark(
        name="diving48",
        manifest=clip_manifest(kept, classes, str(folder)),
        splits=(SplitSet("split", clip_task("diving48", classes), "as published", across=False),),
        names=lambda row: (row.key,),
        home=lambda row: f"{row.key}.mp4",
        url=lambda row: None,
        faults=(*faults, *repeated),
        notes=tuple(notes),
    )


def _read_vocabulary(path: Path) -> list[str]:
    content = read_json_file(path)
    if not isinstance(content, list) or len(content) < 2:
        raise AnnotationError(f"{path}: is not the list of Diving48's dives")
    names = [" ".join(map(str, dive)) if isinstance(dive, list) else str(dive) for dive in content]
    if len(set(names)) < len(names):
        raise AnnotationError(f"{path}: names a dive twice")
    return names


def _clip(record: Any, split: str, classes: int, where: str) -> ListedClip:
    if not isinstance(record, dict):
        raise Unusable(f"{quoted(record)} is not a video with a vid_name and a label")
    key, label = plain_name(record.get("vid_name"), "vid_name"), record.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
        raise Unusable(f"video {key!r}: label {quoted(label)} is not a class number from 0 to {classes - 1}")
    source = key[:11] if YOUTUBE_ID.fullmatch(key[:11]) and key[11:12] == "_" else None
    frames = {name: record[name] for name in ("start_frame", "end_frame") if isinstance(record.get(name), int)}
    return ListedClip(key, split, label, source, frames, where)
