"""UCF101 from its folder of split lists.

    classInd.txt          1 ApplyEyeMakeup: numbers from 1, here from 0
    trainlist01..03.txt   ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
    testlist01..03.txt    the same without a number

The class is that of the folder: files of `HandstandPushups` are called `v_HandStandPushups_...`. Published numbers are
means of the three splits, or of split 1 alone; `split` is split 1, and s1, s2, s3 are all of them.
"""

import re
from pathlib import Path

from longvid.benchmarks.benchmark import Benchmark
from longvid.benchmarks.listing import Fault, Unusable, numbered_lines, quoted
from longvid.benchmarks.recognition.rows import ListedClip, clip_benchmark, in_folder, plain_name
from longvid.errors import AnnotationError

SPLITS = (1, 2, 3)
_GROUP = re.compile(r"_(g\d+)_c\d+$")


def ucf101_benchmark(folder: str | Path) -> Benchmark:
    """UCF101 from the folder that holds classInd.txt and the lists (`ucfTrainTestlist`)."""
    folder = Path(folder)
    classes = _read_classes(in_folder(folder, ("classInd.txt",), "classInd.txt"))
    numbers = {name: number for number, name in enumerate(classes)}
    splits: dict[str, dict[str, str]] = {}
    where_of: dict[str, str] = {}
    faults: list[Fault] = []
    there = []
    for number in SPLITS:
        for kind in ("train", "test"):
            path = folder / f"{kind}list{number:02d}.txt"
            if not path.is_file():
                continue
            there.append(number)
            for where, line in numbered_lines(path):
                try:
                    key = _key(line, numbers)
                    told = splits.setdefault(key, {})
                    if told.setdefault(f"s{number}", kind) != kind:
                        raise Unusable(f"video {key!r} is both in trainlist{number:02d} and in testlist{number:02d}")
                    where_of.setdefault(key, where)
                except Unusable as error:
                    faults.append(Fault(where, str(error)))
    if not there:
        raise AnnotationError(f"{folder}: holds no trainlist01.txt or testlist01.txt of UCF101")
    clips = []
    for key, told in splits.items():
        name = key.partition("/")[0]
        found = _GROUP.search(key)
        group = f"{name}/{found[1]}" if found else None
        clips.append(ListedClip(key, told.get("s1"), numbers[name], group, told, where_of[key]))
    return clip_benchmark(
        "ucf101",
        clips,
        classes,
        folder,
        splits={f"s{number}": f"split {number}" for number in sorted(set(there))},
        suffix=".avi",
        faults=faults,
        notes=[f"no lists of split {number} in {folder}" for number in SPLITS if number not in there],
    )


def _read_classes(path: Path) -> list[str]:
    names: dict[int, str] = {}
    for where, line in numbered_lines(path):
        number, _, name = line.strip().partition(" ")
        if not number.isdecimal() or not name.strip():
            raise AnnotationError(f"{where}: {quoted(line)} is not a number and a class, as `1 ApplyEyeMakeup`")
        if names.setdefault(int(number), name.strip()) != name.strip():
            raise AnnotationError(f"{where}: class number {number} is given twice")
    if sorted(names) != list(range(1, len(names) + 1)):
        raise AnnotationError(f"{path}: the classes' numbers are not 1 to {len(names)}, each once")
    return [names[number] for number in sorted(names)]


def _key(line: str, numbers: dict[str, int]) -> str:
    """`Class/name` without the suffix; the number behind it, if there is one, must be the folder's class."""
    path, _, number = line.strip().partition(" ")
    name, slash, file = plain_name(path, "video").partition("/")
    if not slash or not file or name not in numbers:
        raise Unusable(f"{quoted(path)} is not a video in the folder of a class of classInd.txt")
    if number.strip() and number.strip() != str(numbers[name] + 1):
        raise Unusable(f"{quoted(path)} has class {number.strip()}, its folder is class {numbers[name] + 1}")
    return f"{name}/{file.removesuffix('.avi')}"
