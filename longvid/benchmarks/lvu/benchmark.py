"""LVU as one manifest of 9,996 clips.

Each of the nine tasks has a label column and a split column; joint splits cover all tasks.

    relationship                  the label; likewise for every task
    relationship_split            the published split
    relationship_split_disjoint   the same without training and validation clips from tested films
    joint_labels                  {task: label} for the tasks in which the clip's split is its joint split
    joint_split                   `test` if any task tests the clip, else `val` if any validates on it, else `train`
    joint_split_disjoint          the same without training and validation clips from films that any task tests

A model trained on the joint splits has seen no clip that any task tests, and each task is tested on its whole published
test split. A clip's labels in its other tasks are left out, so nothing is learnt from a tested or validated clip.
"""

from pathlib import Path
from typing import Any

from longvid.benchmarks.benchmark import Benchmark, SplitSet, rows_of, with_columns
from longvid.benchmarks.leaks import leaking_training
from longvid.benchmarks.lvu.annotations import LVU_TASKS, LvuAnnotations, LvuVideo, read_lvu
from longvid.benchmarks.youtube import watch_url
from longvid.tasks.manifest import Manifest, ManifestRow

JOINT = "joint"
DISJOINT = "_disjoint"


def lvu_benchmark(folder: str | Path) -> Benchmark:
    """LVU from its folder of lists; tasks whose lists are absent are left out, and a note says so."""
    annotations = read_lvu(folder)
    manifest = lvu_manifest(annotations, name=str(folder))
    absent = [task for task in LVU_TASKS if task not in annotations.tasks]
    notes = [f"no lists of {', '.join(absent)} in {folder}"] if absent else []
    if not annotations.duration_seconds:
        notes.append("no lvu_durations.csv: the durations of the files cannot be compared with the listed ones")
    return Benchmark(
        name="lvu",
        manifest=manifest,
        splits=tuple(SplitSet(f"{task}_split", LVU_TASKS[task]) for task in annotations.tasks),
        names=lambda row: (row.key,),
        home=lambda row: f"{row.key}.mp4",
        url=lambda row: watch_url(row.key),
        faults=annotations.faults,
        notes=tuple(notes),
    )


def lvu_manifest(annotations: LvuAnnotations, *, name: str = "lvu") -> Manifest:
    """Every clip once, in list order, with the columns described above; the group is the film."""
    lists: dict[str, list[LvuVideo]] = {}
    for video in annotations.videos:
        lists.setdefault(video.key, []).append(video)
    rows = []
    for key, entries in lists.items():
        extra: dict[str, Any] = {}
        if key in annotations.duration_seconds:
            extra["duration_seconds"] = annotations.duration_seconds[key]
        for entry in entries:
            extra |= {entry.task: entry.label, f"{entry.task}_split": entry.split}
        rows.append(ManifestRow(key, group=entries[0].film, extra=extra | _joint(entries), source=entries[0].where))
    manifest = Manifest(tuple(rows), name=name)
    columns = [f"{task}_split" for task in annotations.tasks] + [f"{JOINT}_split"]
    return with_columns(manifest, {column + DISJOINT: _disjoint(manifest, column) for column in columns})


def _joint(entries: list[LvuVideo]) -> dict[str, Any]:
    splits = {entry.split for entry in entries}
    split = next(name for name in ("test", "val", "train") if name in splits)
    labels = {entry.task: entry.label for entry in entries if entry.split == split}
    return {f"{JOINT}_labels": labels, f"{JOINT}_split": split}


def _disjoint(manifest: Manifest, column: str) -> dict[str, str]:
    """The column's splits by key, without the training and validation clips from tested films."""
    left_out = leaking_training(manifest, column)
    return {row.key: str(row.value(column)) for row in rows_of(manifest, column) if row.key not in left_out}
