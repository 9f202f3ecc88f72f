"""COIN: 11,827 instructional videos, 180 tasks, 778 steps.

The videos are from YouTube; the data set is by Tang et al. (CVPR 2019).

    COIN.json    {"database": {<youtube id>: {"class": "MakePaperDice", "recipe_type": 78, "subset": "training",
                  "duration": 131.0, "start": 56.6, "end": 85.7, "video_url": ...,
                  "annotation": [{"id": "212", "segment": [60.0, 69.0], "label": "take out the ..."}, ...]}, ...}}

Times are seconds of the whole video; `start` .. `end` is the part that shows the task. MA-LMM's copy, without the level
`database` and with the subsets `train` and `val`, is read too; the three class names that changed in 2020 are mapped
to the new ones.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longvid.benchmarks.listing import Fault, Listing, Unusable, quoted
from longvid.benchmarks.youtube import youtube_id
from longvid.errors import AnnotationError
from longvid.tasks.manifest_files import read_text

NUM_TASKS = 180
NUM_STEPS = 778

_SUBSETS = dict.fromkeys(("training", "train"), "train")
_SUBSETS |= dict.fromkeys(("testing", "test", "validation", "val"), "test")
"""COIN has two subsets. The second is called `testing` in its file, `validation` in its README, `val` by MA-LMM."""

_CLASS = re.compile("[A-Za-z0-9_-]{1,80}")
_RENAMED = {
    "MakeFrenchFried": "MakeFrenchFries",
    "InstallIpadScreenProtector": "PasteScreenProtectorOnPad",
    "InstallBicycleRackToCar": "InstallBicycleRack",
}


@dataclass(frozen=True)
class CoinStep:
    """One step of a task, between two times of the video in seconds."""

    number: int
    """1..778."""
    start_seconds: float
    end_seconds: float
    label: str


@dataclass(frozen=True)
class CoinVideo:
    """One video. `start_seconds` and `end_seconds` bound the part that shows the task."""

    key: str
    """YouTube id."""
    task: int
    """`recipe_type`, 0..179."""
    task_name: str
    split: str
    """`train` or `test`."""
    duration_seconds: float
    start_seconds: float
    end_seconds: float
    steps: tuple[CoinStep, ...]
    where: str = field(compare=False, repr=False, default="")


def read_coin(path: str | Path) -> Listing[CoinVideo]:
    """The videos of a COIN.json, in file order.

    A video that cannot be used is a fault. So is a step that cannot be used; its video is kept without it. Raises
    `AnnotationError` if the file is not COIN's.
    """
    path = Path(path)
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file; give COIN.json")
    text = read_text(path)
    database = _database(text, path)
    line_of = _line_finder(text)
    videos: list[CoinVideo] = []
    faults: list[Fault] = []
    for key, record in database.items():
        try:
            if key in database.repeated:
                raise Unusable(f"video {key!r} is listed more than once")
            video, step_reasons = _video(key, record, f"{path}:{line_of(key)}")
        except Unusable as error:
            faults.append(Fault(f"{path}:{line_of(key)}", f"video {quoted(key)}: {error}"))
            continue
        videos.append(video)
        faults += [Fault(video.where, f"video {key!r}: {reason}") for reason in step_reasons]
    return _one_name_each(videos, faults)


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its names occurred more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(self) < len(pairs) else {}
        self.repeated = [name for name, times in counts.items() if times > 1]


def _database(text: str, path: Path) -> _Object:
    """Records by video id."""
    try:
        content = json.loads(text, object_pairs_hook=_Object)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise AnnotationError(f"{path}{f':{line}' if line else ''}: cannot be read as JSON ({error})") from None
    except RecursionError:
        raise AnnotationError(f"{path}: is nested too deeply for a COIN.json") from None
    database = content.get("database", content) if isinstance(content, _Object) else None
    records = database.values() if isinstance(database, _Object) else ()
    if not isinstance(database, _Object) or not records or not all(isinstance(r, _Object) for r in records):
        raise AnnotationError(f'{path}: is not a COIN.json, an object {{"database": {{video id: {{...}}}}}}')
    return database


def _line_finder(text: str) -> Callable[[str], int]:
    """The line of a video's key; asked for faults only, in file order."""
    place, line = 0, 1

    def line_of(key: str) -> int:
        nonlocal place, line
        found = text.find(json.dumps(key), place)
        if found < 0:
            return line
        line += text.count("\n", place, found)
        place = found
        return line

    return line_of


def _video(key: str, record: _Object, where: str) -> tuple[CoinVideo, list[str]]:
    """A video, and the reasons why some of its steps cannot be used."""
    youtube_id(key)
    _refuse_repeats(record)
    task, name, subset = record.get("recipe_type"), record.get("class"), record.get("subset")
    if isinstance(task, bool) or not isinstance(task, int) or not 0 <= task < NUM_TASKS:
        raise Unusable(f"recipe_type {quoted(task)} is not a whole number from 0 to {NUM_TASKS - 1}")
    if not isinstance(name, str) or not _CLASS.fullmatch(name):
        raise Unusable(f"class {quoted(name)} is not a name")
    if not isinstance(subset, str) or subset not in _SUBSETS:
        raise Unusable(f"subset {quoted(subset)} is neither training nor testing")
    duration = _seconds(record.get("duration"), "duration")
    start, end = _seconds(record.get("start", 0), "start"), _seconds(record.get("end", duration), "end")
    if not start < end:
        raise Unusable(f"start {start:g} is not before end {end:g}")
    annotation = record.get("annotation")
    if not isinstance(annotation, list):
        raise Unusable("annotation is not a list of steps")
    steps, reasons = [], []
    for index, entry in enumerate(annotation):
        try:
            steps.append(_step(entry))
        except Unusable as error:
            reasons.append(f"step {index + 1}: {error}")
    name = _RENAMED.get(name, name)
    return CoinVideo(key, task, name, _SUBSETS[subset], duration, start, end, tuple(steps), where), reasons


def _step(entry: Any) -> CoinStep:
    if not isinstance(entry, _Object):
        raise Unusable(f"{quoted(entry)} is not an object")
    _refuse_repeats(entry)
    number = entry.get("id")
    if not isinstance(number, str) or not (number.isascii() and number.isdecimal() and len(number) <= 4):
        raise Unusable(f'id {quoted(number)} is not a number in quotes, as in "212"')
    if not 1 <= int(number) <= NUM_STEPS:
        raise Unusable(f"id {number} is not among the steps 1 to {NUM_STEPS}")
    segment, label = entry.get("segment"), entry.get("label")
    if not isinstance(segment, list) or len(segment) != 2:
        raise Unusable(f"segment {quoted(segment)} is not [start, end]")
    start, end = (_seconds(value, "segment") for value in segment)
    if not start < end:
        raise Unusable(f"segment {segment} does not start before it ends")
    if not isinstance(label, str) or not label.strip() or not label.isprintable() or len(label) > 300:
        raise Unusable(f"label {quoted(label)} is not text")
    return CoinStep(int(number), start, end, label.strip())


def _one_name_each(videos: list[CoinVideo], faults: list[Fault]) -> Listing[CoinVideo]:
    """Videos with one name per class number, that of the first video; videos with another name are faults."""
    names: dict[int, CoinVideo] = {}
    numbers: dict[str, CoinVideo] = {}
    kept = []
    for video in videos:
        first, same_name = names.setdefault(video.task, video), numbers.setdefault(video.task_name, video)
        if first.task_name != video.task_name or same_name.task != video.task:
            other = first if first.task_name != video.task_name else same_name
            said = f"recipe_type {video.task} is {video.task_name!r} here"
            reason = f"video {video.key!r}: {said}, {other.task} is {other.task_name!r} at {other.where}"
            faults.append(Fault(video.where, reason))
        else:
            kept.append(video)
    return Listing(tuple(kept), tuple(faults))


def _refuse_repeats(record: _Object) -> None:
    if record.repeated:
        raise Unusable(f"{quoted(record.repeated[0])} is given more than once")


def _seconds(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e7 or math.isnan(value):
        raise Unusable(f"{name} {quoted(value)} is not a number of seconds")
    return float(value)
