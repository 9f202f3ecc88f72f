"""HMDB51 from its folder of split lists.

    brush_hair_test_split1.txt    April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1

1: training, 2: test, 0: not used in this split; 70 and 30 per class. Classes have no numbers of their own: they are
numbered in alphabetical order. `split` is split 1; s1, s2, s3 are all of them. The group is the source film, the part
of a file's name before its class.
"""

import re
from pathlib import Path

from longvid.benchmarks.benchmark import Benchmark
from longvid.benchmarks.listing import Fault, Unusable, numbered_lines, quoted
from longvid.benchmarks.recognition.rows import ListedClip, clip_benchmark, plain_name
from longvid.errors import AnnotationError

NUM_CLASSES = 51
_FILE = re.compile(r"(.+)_test_split([123])\.txt")
_USES = {"0": None, "1": "train", "2": "test"}


def hmdb51_benchmark(folder: str | Path) -> Benchmark:
    """HMDB51 from the folder of `CLASS_test_splitN.txt` (`testTrainMulti_7030_splits`)."""
    folder = Path(folder)
    files = sorted(folder.glob("*_test_split[123].txt")) if folder.is_dir() else []
    if not files:
        raise AnnotationError(f"{folder}: holds no CLASS_test_split1.txt of HMDB51")
    named = [(path, *_parts(path)) for path in files]
    classes = sorted({name for _, name, _ in named})
    if len(classes) < 2:
        raise AnnotationError(f"{folder}: holds the lists of one class only, {classes[0]}")
    numbers = {name: number for number, name in enumerate(classes)}
    splits: dict[str, dict[str, str]] = {}
    where_of: dict[str, str] = {}
    faults: list[Fault] = []
    for path, name, number in named:
        for where, line in numbered_lines(path):
            try:
                file, _, use = line.strip().rpartition(" ")
                if use not in _USES:
                    raise Unusable(f"{quoted(line)} does not end in 0, 1 or 2")
                key = f"{name}/{plain_name(file, 'video').removesuffix('.avi')}"
                told = splits.setdefault(key, {})
                split, before = _USES[use], told.get(f"s{number}")
                if before is not None and before != split:
                    raise Unusable(f"video {key!r} is listed twice in split {number}, with different uses")
                if split is not None:
                    told[f"s{number}"] = split
                where_of.setdefault(key, where)
            except Unusable as error:
                faults.append(Fault(where, str(error)))
    clips = []
    for key, told in splits.items():
        name, _, file = key.partition("/")
        source, found, _ = file.partition(f"_{name}_")
        clips.append(ListedClip(key, told.get("s1"), numbers[name], source if found else None, told, where_of[key]))
    there = sorted({number for _, _, number in named})
    notes = [f"no lists of split {number} in {folder}" for number in (1, 2, 3) if number not in there]
    if len(classes) != NUM_CLASSES:
        notes.append(f"lists of {len(classes)} classes, the published ones have {NUM_CLASSES}")
    return clip_benchmark(
        "hmdb51",
        clips,
        classes,
        folder,
        splits={f"s{number}": f"split {number}" for number in there},
        suffix=".avi",
        faults=faults,
        notes=notes,
    )


def _parts(path: Path) -> tuple[str, int]:
    found = _FILE.fullmatch(path.name)
    assert found is not None
    return found[1], int(found[2])
