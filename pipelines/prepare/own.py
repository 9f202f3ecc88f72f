"""Your own data set: class folders, or a table with one row per video."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.errors import AnnotationError, ConfigError
from longvid.tasks import Manifest, carve_split, infer_task, manifest_from_folder


def own_benchmark(
    videos: str | Path, table: str | Path | None = None, *, test_fraction: float | None = None
) -> Benchmark:
    """The videos of a folder with its subfolders as classes, or those of a table (.jsonl, .csv, .parquet).

    Rows of a table without a path are looked for below `videos` by their key. If there is no test split,
    `test_fraction` moves that share of the training videos there, in whole groups, by a hash of their names.
    """
    manifest = manifest_from_folder(videos) if table is None else _with_places(Manifest.read(table), Path(videos))
    notes = []
    if test_fraction is not None and not manifest.split("test"):
        manifest = carve_split(manifest, "test", fraction=test_fraction)
        notes.append(f"{len(manifest.split('test'))} training videos were moved to test, by a hash of their names")
    if not manifest.split("test"):
        notes.append("there is no test split: give rows the split `test`, or use --test-fraction 0.2")
    return Benchmark(
        name="folder",
        manifest=manifest,
        splits=tuple(_splits(manifest)),
        names=lambda row: (row.key,),
        home=lambda row: f"{row.key}.mp4",
        url=lambda row: str(row.extra["url"]) if row.extra.get("url") else None,
        notes=tuple(notes),
    )


def _with_places(manifest: Manifest, videos: Path) -> Manifest:
    """Rows keep the path that they give if a file is there; the others lose it, so that they are looked for."""
    rows = (row if row.path is None or Path(row.path).is_file() else replace(row, path=None) for row in manifest)
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
