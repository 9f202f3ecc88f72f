"""Breakfast annotations: ten dishes, 52 people, several cameras.

The data set is by Kuehne, Arslan and Serre (CVPR 2014). One video has three names. They map one to one; base names do
not: `P47_cereals` exists once per camera.

    its file             P27/stereo/P27_milk_ch0.avi
    ViS4mer's list       P27-stereo-P27_milk_ch0           used as the key here
    label files          P27_stereo01_P27_milk.txt         the second stereo channel, ch1, has none

Files in a folder of annotations; each may be absent, but one of the two kinds of lists must be there:

    train.csv, test.csv                   file_name,duration,action,class_id: ViS4mer's lists
    splits/{train,test}.split{1..4}.bundle  one label file name per line: the four folds by person
    groundTruth/<label name>.txt          one label per line, 15 lines per second
    segmentation_coarse/**/<label name>.txt   the official labels: `31-150 take_bowl`, frames from 1, both ends included
    mapping.txt                           `<number> <label>`, 48 lines
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from longvid.benchmarks.listing import Listing, Unusable, listed, numbered_lines, quoted, without_repeats
from longvid.errors import AnnotationError

DISHES = (
    *("cereals", "coffee", "tea", "pancake", "friedegg"),
    *("scrambledegg", "sandwich", "juice", "milk", "salat"),
)
"""Dishes in the order of ViS4mer's class numbers."""
CAMERAS = ("cam01", "cam02", "webcam01", "webcam02", "stereo")
LABELS_PER_SECOND = 15.0
PEOPLE = tuple(f"P{number:02d}" for number in range(3, 55))
FOLDS = {fold: PEOPLE[13 * (fold - 1) : 13 * fold] for fold in (1, 2, 3, 4)}
"""The people tested in each of the four folds, thirteen per fold in order."""

UNITS = (
    *("SIL", "pour_cereals", "pour_milk", "stir_cereals", "take_bowl", "pour_coffee", "take_cup", "spoon_sugar"),
    *("stir_coffee", "pour_sugar", "pour_oil", "crack_egg", "add_saltnpepper", "fry_egg", "take_plate"),
    *("put_egg2plate", "take_eggs", "butter_pan", "take_knife", "cut_orange", "squeeze_orange", "pour_juice"),
    *("take_glass", "take_squeezer", "spoon_powder", "stir_milk", "spoon_flour", "stir_dough", "pour_dough2pan"),
    *("fry_pancake", "put_pancake2plate", "pour_flour", "cut_fruit", "put_fruit2bowl", "peel_fruit", "stir_fruit"),
    *("cut_bun", "smear_butter", "take_topping", "put_toppingOnTop", "put_bunTogether", "take_butter", "stir_egg"),
    *("pour_egg2pan", "stirfry_egg", "add_teabag", "pour_water", "stir_tea"),
)
"""The 48 action units in the order of `mapping.txt`; SIL, where nothing happens, is scored as a class."""

_KEY = re.compile(r"(P[0-9]{2})-([a-z0-9]+)-(P[0-9]{2})_([a-z]+?)(?:_(ch[01]))?", re.ASCII)
_LABEL_NAME = re.compile(r"(P[0-9]{2})_([a-z0-9]+)_(P[0-9]{2})_([a-z]+)", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,9})-([0-9]{1,9})", re.ASCII)
_WHOLE_NUMBER = re.compile("[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True)
class BreakfastName:
    """Person, camera and dish: all that the three names of a video are made of."""

    person: str
    camera: str
    dish: str
    channel: str | None = None
    """`ch0` or `ch1` for the stereo camera, else None."""

    def __post_init__(self) -> None:
        if self.person not in PEOPLE:
            raise Unusable(f"person {self.person} is not among P03 .. P54")
        if self.camera not in CAMERAS:
            raise Unusable(f"camera {quoted(self.camera)} is not one of {', '.join(CAMERAS)}")
        if self.dish not in DISHES:
            raise Unusable(f"dish {quoted(self.dish)} is not one of {', '.join(DISHES)}")
        if (self.channel is not None) != (self.camera == "stereo"):
            raise Unusable(f"channel {self.channel} with camera {self.camera}: only stereo files have a channel")

    @property
    def file(self) -> str:
        """Path below the folder of videos, without suffix."""
        channel = f"_{self.channel}" if self.channel else ""
        return f"{self.person}/{self.camera}/{self.person}_{self.dish}{channel}"

    @property
    def key(self) -> str:
        """The name in ViS4mer's lists."""
        return self.file.replace("/", "-")

    @property
    def label_name(self) -> str:
        """Name of its label file, without suffix."""
        camera = "stereo01" if self.camera == "stereo" else self.camera
        return f"{self.person}_{camera}_{self.person}_{self.dish}"

    @classmethod
    def of_key(cls, text: str) -> "BreakfastName":
        """The name `P27-stereo-P27_milk_ch0` describes; `Unusable` if the text is not of that form."""
        found = _KEY.fullmatch(text)
        if found is None or found[1] != found[3]:
            raise Unusable(f"{quoted(text)} is not a name like P03-cam01-P03_cereals")
        return cls(found[1], found[2], found[4], found[5])

    @classmethod
    def of_label_name(cls, text: str) -> "BreakfastName":
        """The name `P27_stereo01_P27_milk` describes; stereo labels belong to channel 0."""
        found = _LABEL_NAME.fullmatch(text)
        if found is None or found[1] != found[3]:
            raise Unusable(f"{quoted(text)} is not a name like P03_cam01_P03_cereals")
        stereo = found[2] == "stereo01"
        return cls(found[1], "stereo" if stereo else found[2], found[4], "ch0" if stereo else None)


@dataclass(frozen=True)
class BreakfastVideo:
    """One line of ViS4mer's lists."""

    name: BreakfastName
    duration_seconds: int
    where: str = field(compare=False, repr=False, default="")


@dataclass(frozen=True)
class BundledVideo:
    """One line of a fold's list."""

    name: BreakfastName
    where: str = field(compare=False, repr=False, default="")


@dataclass(frozen=True)
class LabelledSpan:
    """Frames first .. last, both included and counted from 1, at 15 frames per second."""

    first_frame: int
    last_frame: int
    label: str
    where: str = field(compare=False, repr=False, default="")

    @property
    def seconds(self) -> tuple[float, float]:
        """The same span in seconds, half-open."""
        return (self.first_frame - 1) / LABELS_PER_SECOND, self.last_frame / LABELS_PER_SECOND


def read_breakfast_list(path: str | Path) -> Listing[BreakfastVideo]:
    """The videos of ViS4mer's `train.csv` or `test.csv`; name, `action` and `class_id` must agree on the dish."""
    path = Path(path)
    lines = numbered_lines(path)
    where, header = next(lines)
    if [name.strip() for name in header.split(",")] != ["file_name", "duration", "action", "class_id"]:
        raise AnnotationError(
            f"{where}: the header is {quoted(header)}; it should be file_name,duration,action,class_id"
        )

    def parse(line: str, where: str) -> BreakfastVideo:
        values = [value.strip() for value in line.split(",")]
        if len(values) != 4:
            raise Unusable(f"has {len(values)} values, but the header names 4")
        name = BreakfastName.of_key(values[0])
        if values[2] != name.dish or values[3] != str(DISHES.index(name.dish)):
            said = f"action {quoted(values[2])} with class_id {quoted(values[3])}"
            raise Unusable(f"{said}; {name.key} shows {name.dish!r}, class {DISHES.index(name.dish)}")
        if not _WHOLE_NUMBER.fullmatch(values[1]) or int(values[1]) == 0:
            raise Unusable(f"duration={quoted(values[1])} is not a whole number of seconds")
        return BreakfastVideo(name, int(values[1]), where)

    return without_repeats(listed(lines, parse), lambda video: video.name.key)


def read_bundle(path: str | Path) -> Listing[BundledVideo]:
    """The videos of a fold's list; a `#bundle` line and folders before the names are accepted."""
    lines = (line for line in numbered_lines(Path(path)) if not line[1].startswith("#"))

    def parse(line: str, where: str) -> BundledVideo:
        name = line.strip().rsplit("/", 1)[-1]
        if not name.endswith(".txt"):
            raise Unusable(f"{quoted(line)} is not the name of a label file (it must end in .txt)")
        return BundledVideo(BreakfastName.of_label_name(name.removesuffix(".txt")), where)

    return without_repeats(listed(lines, parse), lambda video: video.name.key)


def read_mapping(path: str | Path) -> tuple[str, ...]:
    """The labels of a `mapping.txt` in the order of their numbers; `AnnotationError` unless those are 0..n-1."""
    path = Path(path)

    def parse(line: str, where: str) -> tuple[int, str]:
        number, _, name = line.strip().partition(" ")
        if not _WHOLE_NUMBER.fullmatch(number) or not name.strip() or " " in name.strip():
            raise Unusable(f"{quoted(line)} is not a number, a space and a label")
        return int(number), name.strip()

    pairs = listed(numbered_lines(path), parse).checked()
    names = dict(pairs)
    if sorted(number for number, _ in pairs) != list(range(len(pairs))) or len(set(names.values())) < len(pairs):
        raise AnnotationError(f"{path}: the numbers must be 0 .. {len(pairs) - 1}, each with a different label")
    return tuple(names[number] for number in range(len(pairs)))


def read_frame_labels(path: str | Path, labels: Iterable[str] = UNITS) -> tuple[str, ...]:
    """The label of each frame of a `groundTruth` file; `AnnotationError` for a label that is not among `labels`."""
    known = frozenset(labels)

    def parse(line: str, where: str) -> str:
        if line.strip() not in known:
            raise Unusable(f"{quoted(line.strip())} is not one of the {len(known)} labels")
        return line.strip()

    return listed(numbered_lines(Path(path)), parse).checked()


def read_coarse_labels(path: str | Path, labels: Iterable[str] = UNITS) -> tuple[LabelledSpan, ...]:
    """The spans of an official `segmentation_coarse` file; `AnnotationError` unless they are in order."""
    known = frozenset(labels)

    def parse(line: str, where: str) -> LabelledSpan:
        span, _, label = line.strip().partition(" ")
        found = _SPAN.fullmatch(span)
        if found is None or label.strip() not in known:
            raise Unusable(f"{quoted(line.strip())} is not `first-last label` with one of the {len(known)} labels")
        if not 1 <= int(found[1]) <= int(found[2]):
            raise Unusable(f"frames {span}: the first must be 1 or later, the last not before it")
        return LabelledSpan(int(found[1]), int(found[2]), label.strip(), where)

    spans = listed(numbered_lines(Path(path)), parse).checked()
    for before, after in pairwise(spans):
        if after.first_frame <= before.last_frame:
            raise AnnotationError(f"{after.where}: starts at frame {after.first_frame}, before {before.where} ends")
    return spans
