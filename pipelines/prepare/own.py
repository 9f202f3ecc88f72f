"""A data set of one's own: class folders, or a table with a row a video."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.errors import AnnotationError, ConfigError
from longvid.tasks import Manifest, carve_split, infer_task, manifest_from_folder


def own_benchmark(
    videos: str | Path, table: str | Path | None = None, *, test_fraction: float | None = None
) -> Benchmark:
    """The videos of a folder with their folders' names as classes, or those of a table (.jsonl, .csv, .parquet).

    A table's rows without a path are looked for below `videos` by their key. `test_fraction` sets that share of the
    training videos aside where nothing is tested yet, whole groups, by a hash of their names.
    """
    manifest = manifest_from_folder(videos) if table is None else _with_places(Manifest.read(table), Path(videos))
    notes = []
    if test_fraction is not None and not manifest.split("test"):
        manifest = carve_split(manifest, "test", fraction=test_fraction)
        notes.append(f"{len(manifest.split('test'))} training videos were set aside for test, by a hash of their names")
    if not manifest.split("test"):
        notes.append("nothing is tested: give rows the split `test`, or --test-fraction 0.2")
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
    """Rows with the path they give, where a file is there; without it otherwise, so that they are looked for."""
    rows = (row if row.path is None or Path(row.path).is_file() else replace(row, path=None) for row in manifest)
    return Manifest(tuple(rows), name=manifest.name)


def _splits(manifest: Manifest) -> Iterable[SplitSet]:
    """One set of splits, where any row has one and the labels say what is asked."""
    if not manifest.counts().keys() - {""}:
        return
    try:
        task = infer_task(manifest)
    except (AnnotationError, ConfigError):  # labels of one class only, or of no known form
        return
    yield SplitSet("split", task)
