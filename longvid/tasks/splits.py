"""A validation or test split, taken from the training videos."""

import hashlib
from collections import defaultdict

from longvid.errors import AnnotationError
from longvid.tasks.manifest import Manifest, ManifestRow


def carve_split(
    manifest: Manifest, into: str = "val", *, fraction: float = 0.15, seed: int = 0, column: str = "label"
) -> Manifest:
    """The manifest with about `fraction` of its training videos moved to another split.

    Whole groups move (a film, a person; a video without a group is its own group), so that none is in both splits.
    Within each label the groups with the smallest hashes move: the choice depends only on the names and the seed, not
    on the order of rows, and adding a video does not reshuffle the others. If the labels are so rare that rounding
    would leave most of them out, one group moves of as many labels as make the fraction. Raises `AnnotationError` if a
    split would be left empty.
    """
    if not 0 < fraction < 1:
        raise AnnotationError(f"fraction={fraction} of the training videos must be between 0 and 1")
    groups: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in manifest.split("train"):
        groups[row.group or f"video {row.key}"].append(row)
    if len(groups) < 2:
        raise AnnotationError(
            f"{manifest.name}: its training videos form {len(groups)} group{'' if len(groups) == 1 else 's'}, which "
            f"cannot be cut into train and {into}; give some rows the split `{into}`"
        )
    strata: dict[str, list[str]] = defaultdict(list)
    for name, members in groups.items():
        strata[_stratum(members, column)].append(name)
    counts = _counts({stratum: len(names) for stratum, names in strata.items()}, fraction, seed)
    chosen = [name for stratum, names in strata.items() for name in _first_by_hash(names, counts[stratum], seed)]
    if len(chosen) == len(groups):
        raise AnnotationError(f"{manifest.name}: fraction={fraction} for {into} leaves no video to train on; lower it")
    if not chosen:
        chosen = _first_by_hash(list(groups), 1, seed)
    return manifest.with_splits({row.key: into for name in chosen for row in groups[name]})


def _counts(sizes: dict[str, int], fraction: float, seed: int) -> dict[str, int]:
    """How many groups of each label move: its share, rounded; with rare labels one group of some of them."""
    counts = {stratum: round(fraction * size) for stratum, size in sizes.items()}
    wanted = round(fraction * sum(sizes.values()))
    if 2 * sum(counts.values()) >= wanted:
        return counts
    # a label with a single group stays where it can be learned
    rare = [stratum for stratum, size in sizes.items() if not counts[stratum] and size > 1]
    for stratum in _first_by_hash(rare, wanted - sum(counts.values()), seed):
        counts[stratum] = 1
    return counts


def _stratum(members: list[ManifestRow], column: str) -> str:
    """The label that all members share, if it is a class; one stratum for everything else."""
    labels = {str(value) for row in members if isinstance(value := row.value(column), str | int)}
    return labels.pop() if len(labels) == 1 else ""


def _first_by_hash(names: list[str], count: int, seed: int) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())[:count]
