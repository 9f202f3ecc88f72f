"""Your own data set: class folders, or a table with one row per video."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.errors import AnnotationError, ConfigError
from longvid.tasks import Manifest, carve_split, infer_task, manifest_from_folder
from longvid.video.storage import is_url


def own_benchmark(
    videos: str | Path,
    table: str | Path | None = None,
    *,
    test_fraction: float | None = None,
    val_fraction: float | None = None,
    group: str | None = None,
) -> Benchmark:
    """The videos of a folder with its subfolders as classes, or those of a table (.jsonl, .csv, .parquet).

    Rows of a table without a path are looked for below `videos` by their key. If there is no test split,
    `test_fraction` moves that share of the training videos there, likewise `val_fraction`: the same share of each
    class, in whole groups, by a hash of their names. Without any split, all videos are training videos at first.
    `group`: a regular expression; what it finds in a key, or its first group does, is the group of a video without one.
    """
    manifest = manifest_from_folder(videos) if table is None else _with_places(Manifest.read(table), Path(videos))
    manifest = manifest if group is None else _grouped(manifest, group)
    notes = []
    wanted = {"test": test_fraction, "val": val_fraction}
    if any(wanted.values()) and not manifest.counts().keys() - {""}:
        manifest = manifest.with_splits({row.key: "train" for row in manifest})
    left = 1.0  # share of the videos that are still for training
    for split, fraction in wanted.items():
        if fraction is None or manifest.split(split):
            continue
        if not 0 < fraction < left:
            raise ConfigError(f"--{split}-fraction {fraction:g}: must be more than 0 and leave videos to train on")
        manifest = carve_split(manifest, split, fraction=fraction / left)
        left -= fraction
        notes.append(f"{len(manifest.split(split))} training videos were moved to {split}, by a hash of their names")
    if not manifest.split("test"):
        notes.append("no row has the split `test`: give some rows that split, or use --test-fraction 0.2")
    return Benchmark(
        name="folder",
        manifest=manifest,
        splits=tuple(_splits(manifest)),
        names=lambda row: (row.key,),
        home=lambda row: f"{row.key}.mp4",
        url=lambda row: str(row.extra["url"]) if row.extra.get("url") else None,
        notes=tuple(notes),
    )


def _grouped(manifest: Manifest, pattern: str) -> Manifest:
    """Every video that has no group with the one that its key shows; `AnnotationError` if no key shows one."""
    try:
        find = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--group {pattern!r} is not a regular expression ({error})") from None
    found = {row.key: match for row in manifest if (match := find.search(row.key))}
    if not found:
        raise AnnotationError(f"--group {pattern!r} is found in no key, such as {manifest.rows[0].key!r}")
    groups = {key: match[1] if find.groups else match[0] for key, match in found.items()}
    rows = (replace(row, group=row.group or groups.get(row.key)) for row in manifest)
    return Manifest(tuple(rows), name=manifest.name)


def _with_places(manifest: Manifest, videos: Path) -> Manifest:
    """Rows keep a URL, and the path that they give if a file is there; others lose it, so that they are looked for."""
    rows = (
        row if row.path is None or is_url(row.path) or Path(row.path).is_file() else replace(row, path=None)
        for row in manifest
    )
    return Manifest(tuple(rows), name=manifest.name)


def _splits(manifest: Manifest) -> Iterable[SplitSet]:
    """One set of splits, if any row has a split and the labels define a task."""
    if not manifest.counts().keys() - {""}:
        return
    try:
        task = infer_task(manifest)
    except (AnnotationError, ConfigError):  # labels of a single class, or of an unknown form
        return
    yield SplitSet("split", task)
