"""LVU: nine questions about film clips from YouTube.

The data set is by Wu and Krähenbühl (CVPR 2021).

    lvu_1.0/<task>/{train,val,test}.csv    columns separated by spaces despite the name, one header line
    lvu_1.0/lvu_durations.csv              videoid,duration in whole seconds (from ViS4mer's copy; optional)

The video is the second column from the right, the film the last; the label is the first (`like_ratio`: the first two).
Each task has its own splits: a test video of one task may be a training video of another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from longvid.benchmarks.listing import Fault, Listing, Unusable, listed, numbered_lines, quoted, without_repeats
from longvid.benchmarks.youtube import youtube_id
from longvid.errors import AnnotationError
from longvid.tasks.task import LabelTransform, Task

SPLITS = ("train", "val", "test")

_CLASSES = {
    "relationship": ("friend", "ex_boyfriend_ex_girlfriend", "husband_wife", "boyfriend_girlfriend"),
    "way_speaking": ("explains", "confronts", "discuss", "teaches", "threatens"),
    "scene": ("office", "airport", "school", "hotel", "prison", "restaurant"),
    # numbers 2 and 3 never occur; other work also keeps ten outputs
    "director": (
        *("nm0000229", "nm0000217", "unused 2", "unused 3", "nm0000165"),
        *("nm0001675", "nm0040630", "nm0001392", "nm0000631", "nm0000233"),
    ),
    "genre": ("Comedy", "Action-Crime-Adventure", "Romance", "Thriller-Horror"),
    # \N, the NULL of a database, is a class like the others; numbers 3, 4 and 8 never occur
    "writer": (
        *("\\N", "nm0001220", "nm0000175", "unused 3", "unused 4"),
        *("nm0000455", "nm0462895", "nm0000230", "unused 8", "nm0326040"),
    ),
    "year": tuple(str(decade) for decade in range(1930, 2020, 10)),
}

_TRANSFORMS = {
    # ten times the share of likes, and the natural logarithm of the views, both centred by the authors' constants
    "like_ratio": LabelTransform("identity", scale=10.0, shift=-9.138220535629456),
    "view_count": LabelTransform("log", shift=-11.76425435683139),
}

LVU_TASKS: Mapping[str, Task] = MappingProxyType(
    {name: Task(f"lvu/{name}", "classification", classes, column=name) for name, classes in _CLASSES.items()}
    | {name: Task(f"lvu/{name}", "regression", column=name, transform=change) for name, change in _TRANSFORMS.items()}
)
"""Folder of each task and what it asks; content, metadata and user tasks in the order of the papers' tables."""

_HEADERS = dict.fromkeys(_CLASSES, "class_id class_name youtube_id imdb_id") | {
    "like_ratio": "like_count dislike_count youtube_id imdb_id",
    "view_count": "view_count youtube_id imdb_id",
}
_WHOLE_NUMBER = re.compile("[0-9]{1,15}", re.ASCII)
_FILM = re.compile("tt[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True)
class LvuVideo:
    """One line of a task's list."""

    key: str
    """YouTube id."""
    film: str
    """IMDb id of the film that the clip is from."""
    task: str
    split: str
    label: int | float
    """Class number, number of views, or share of likes in 0..1."""
    where: str = field(compare=False, repr=False, default="")


@dataclass(frozen=True)
class LvuDuration:
    """The listed duration of a clip."""

    key: str
    duration_seconds: int
    where: str = field(compare=False, repr=False, default="")


@dataclass(frozen=True)
class LvuAnnotations:
    """The content of a folder of LVU lists."""

    videos: tuple[LvuVideo, ...]
    duration_seconds: dict[str, int]
    """By video; empty if the folder has no `lvu_durations.csv`."""
    faults: tuple[Fault, ...]
    tasks: tuple[str, ...]
    """Tasks whose lists exist."""

    def split(self, task: str, split: str) -> tuple[LvuVideo, ...]:
        """The videos of one list, in file order."""
        return tuple(video for video in self.videos if (video.task, video.split) == (task, split))


def read_lvu(folder: str | Path) -> LvuAnnotations:
    """All lists in a folder `lvu_1.0` (or in the folder above it).

    Raises `AnnotationError` if there is no task, a task lacks one of its three lists, or a file is not of the expected
    form; rows that cannot be used are among the faults.
    """
    folder = _annotation_folder(Path(folder))
    tasks = tuple(name for name in LVU_TASKS if (folder / name).is_dir())
    if not tasks:
        raise AnnotationError(f"{folder}: holds none of the LVU tasks' folders ({', '.join(LVU_TASKS)})")
    videos: list[LvuVideo] = []
    faults: list[Fault] = []
    for task in tasks:
        listing = _one_split_each([read_lvu_list(folder / task / f"{split}.csv", task, split) for split in SPLITS])
        videos += listing.records
        faults += listing.faults
    durations_file = folder / "lvu_durations.csv"
    durations = read_lvu_durations(durations_file) if durations_file.is_file() else Listing[LvuDuration](())
    seconds = {record.key: record.duration_seconds for record in durations.records}
    return LvuAnnotations(tuple(videos), seconds, (*faults, *durations.faults, *_film_faults(videos)), tasks)


def read_lvu_list(path: str | Path, task: str, split: str) -> Listing[LvuVideo]:
    """The videos of one list of a task."""
    path = Path(path)
    lines = numbered_lines(path)
    where, header = next(lines)
    if header.split() != _HEADERS[task].split():
        raise AnnotationError(
            f"{where}: the header is {quoted(header)}; a list of LVU's {task} starts with {_HEADERS[task]!r}"
        )

    def parse(line: str, where: str) -> LvuVideo:
        values = line.split()
        if len(values) != len(_HEADERS[task].split()):
            raise Unusable(f"has {len(values)} values, but the header names {len(_HEADERS[task].split())}")
        *label, key, film = values
        if not _FILM.fullmatch(film):
            raise Unusable(f"{quoted(film)} is not an IMDb id (tt and digits)")
        return LvuVideo(youtube_id(key), film, task, split, _label(task, label), where)

    return without_repeats(listed(lines, parse), lambda video: video.key)


def read_lvu_durations(path: str | Path) -> Listing[LvuDuration]:
    """The listed duration of every clip in `lvu_durations.csv`."""
    lines = numbered_lines(Path(path))
    where, header = next(lines)
    if header.replace(" ", "") != "videoid,duration":
        raise AnnotationError(f"{where}: the header is {quoted(header)}; it should be 'videoid,duration'")

    def parse(line: str, where: str) -> LvuDuration:
        key, comma, seconds = line.partition(",")
        if not comma or not _WHOLE_NUMBER.fullmatch(seconds.strip()) or int(seconds) == 0:
            raise Unusable(f"{quoted(line)} is not a video id, a comma and a number of seconds")
        return LvuDuration(youtube_id(key.strip()), int(seconds), where)

    return without_repeats(listed(lines, parse), lambda record: record.key)


def _annotation_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder; give the unpacked lvu_1.0")
    return folder / "lvu_1.0" if (folder / "lvu_1.0").is_dir() else folder


def _label(task: str, values: list[str]) -> int | float:
    """The label in the columns before the video."""
    if task in _CLASSES:
        number, name = _count(values[0], "class_id"), values[1]
        names = _CLASSES[task]
        if number >= len(names):
            raise Unusable(f"class_id {number} is not among the {len(names)} classes of {task}")
        if name != names[number] and not names[number].startswith("unused"):
            raise Unusable(f"class {number} of {task} is {names[number]!r}, not {quoted(name)}")
        return number
    if task == "view_count":
        views = _count(values[0], "view_count")
        if views == 0:
            raise Unusable("view_count 0 has no logarithm")
        return views
    likes, dislikes = _count(values[0], "like_count"), _count(values[1], "dislike_count")
    if likes + dislikes == 0:
        raise Unusable("has neither likes nor dislikes, so it has no ratio")
    return likes / (likes + dislikes)


def _count(text: str, column: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise Unusable(f"{column}={quoted(text)} is not a whole number")
    return int(text)


def _one_split_each(listings: list[Listing[LvuVideo]]) -> Listing[LvuVideo]:
    """The three lists of a task as one; a video in two of them stays in the later one (test, then val, then train)."""
    split_of = {video.key: video for listing in listings for video in listing.records}
    faults = [fault for listing in listings for fault in listing.faults]
    records = []
    for video in (video for listing in listings for video in listing.records):
        last = split_of[video.key]
        if last is video:
            records.append(video)
        else:
            reason = f"video {video.key!r} is also in {last.split} ({last.where}) and is left out here"
            faults.append(Fault(video.where, reason))
    return Listing(tuple(records), tuple(faults))


def _film_faults(videos: list[LvuVideo]) -> list[Fault]:
    """Videos that two lists assign to different films: the first film counts, each later one is a fault."""
    films: dict[str, LvuVideo] = {}
    faults = []
    for video in videos:
        first = films.setdefault(video.key, video)
        if first.film != video.film:
            reason = f"video {video.key!r} is from film {video.film} here and from {first.film} at {first.where}"
            faults.append(Fault(video.where, reason))
    return faults
