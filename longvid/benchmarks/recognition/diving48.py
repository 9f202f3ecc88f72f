"""Diving48 from its official json files.

    Diving48_V2_train.json   [{"vid_name": "...", "label": 12, "start_frame": 0, "end_frame": 140}, ...]
    Diving48_V2_test.json    likewise
    Diving48_vocab.json      [["Back", "15som", "05Twis", "FREE"], ...]: a dive per class number

Version 2 corrects labels: numbers measured on version 1 are not comparable with it. The group is the video of the
competition, the first eleven characters of a name.
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
        read, unusable = json_clips(path, partial(_clip, len(classes), split), "Diving48")
        clips += read
        faults += unusable
    kept, repeated = distinct(clips)
    return clip_benchmark(
        "diving48",
        kept,
        classes,
        folder,
        splits={"split": "as published"},
        suffix=".mp4",
        faults=(*faults, *repeated),
        notes=notes,
    )


def _read_vocabulary(path: Path) -> list[str]:
    content = read_json_file(path)
    if not isinstance(content, list) or len(content) < 2:
        raise AnnotationError(f"{path}: is not the list of Diving48's dives")
    names = [" ".join(map(str, dive)) if isinstance(dive, list) else str(dive) for dive in content]
    if len(set(names)) < len(names):
        raise AnnotationError(f"{path}: names a dive twice")
    return names


def _clip(classes: int, split: str, record: Any, where: str) -> ListedClip:
    if not isinstance(record, dict):
        raise Unusable(f"{quoted(record)} is not a video with a vid_name and a label")
    key, label = plain_name(record.get("vid_name"), "vid_name"), record.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
        raise Unusable(f"video {key!r}: label {quoted(label)} is not a class number from 0 to {classes - 1}")
    source = key[:11] if YOUTUBE_ID.fullmatch(key[:11]) and key[11:12] == "_" else None
    frames = {name: record[name] for name in ("start_frame", "end_frame") if isinstance(record.get(name), int)}
    return ListedClip(key, split, label, source, frames, where)
