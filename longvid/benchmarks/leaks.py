"""Test videos that training may have seen.

A test video leaks through the splits of another question, or through a training video of the same film or person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from longvid.benchmarks.benchmark import SplitSet, rows_of
from longvid.tasks.manifest import Manifest


@dataclass(frozen=True)
class Leak:
    """Test videos that are also training videos, or that share their group with one."""

    kind: Literal["group", "video"]
    """`group`: a training video of the same splits has the same group (film, person). `video`: the test video itself
    is in the training or validation split of another question."""
    column: str
    """Split column of the test videos."""
    trained_in: tuple[str, ...]
    """Split columns of the training videos."""
    keys: tuple[str, ...]
    """Keys of the leaking test videos, in manifest order."""
    num_test: int

    def __str__(self) -> str:
        seen = f"{len(self.keys)} of {self.num_test} test videos of {self.column}"
        if self.kind == "group":
            return f"{seen} share their group (film, person) with a training video"
        return f"{seen} are used for training or validation in {', '.join(self.trained_in)}"


def find_leaks(manifest: Manifest, splits: Sequence[SplitSet]) -> list[Leak]:
    """Every leak within and between the sets of splits."""
    found = []
    for one in splits:
        others = [other.column for other in splits if other.across and other.column != one.column]
        found += [_group_leak(manifest, one.column)]
        if one.across:
            found += [_video_leak(manifest, one.column, others)]
    return [leak for leak in found if leak.keys]


def leaking_training(manifest: Manifest, column: str) -> set[str]:
    """Keys of training and validation videos whose group is tested: leave them out for a clean test."""
    groups = _groups(manifest, column, ["test"])
    return {
        row.key for split in ("train", "val") for row in rows_of(manifest, column, split) if row.group in groups
    } - {row.key for row in rows_of(manifest, column, "test")}


def _group_leak(manifest: Manifest, column: str) -> Leak:
    test, trained = rows_of(manifest, column, "test"), _groups(manifest, column, ["train"])
    return Leak("group", column, (column,), tuple(row.key for row in test if row.group in trained), len(test))


def _video_leak(manifest: Manifest, column: str, others: Sequence[str]) -> Leak:
    test = rows_of(manifest, column, "test")
    seen = {row.key: [other for other in others if row.value(other) in ("train", "val")] for row in test}
    columns = tuple(other for other in others if any(other in found for found in seen.values()))
    return Leak("video", column, columns, tuple(key for key, found in seen.items() if found), len(test))


def _groups(manifest: Manifest, column: str, splits: Iterable[str]) -> set[str]:
    return {row.group for split in splits for row in rows_of(manifest, column, split) if row.group is not None}
