"""A folder as the pages of the documentation have it: videos, tables, a store, an encoder on the hub."""

import json
import shutil
from pathlib import Path

import pytest

from longvid.pipelines.demo.videos import Script, encode
from longvid.pipelines.extraction import ExtractionJob, expand_inputs, extract

SPLITS = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "val", "f": "test", "g": "test"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every page may use, made once: two kinds of videos, tables of each kind of task, `first.zarr`."""
    folder = tmp_path_factory.mktemp("documentation")
    videos = folder / "videos"
    videos.mkdir()
    for index, key in enumerate(SPLITS):
        encode(Script(key, index % 2, 12.0 + index, 2.0, 7.0, seed=index), videos)
    encode(Script("new", 0, 9.0, 1.0, 5.0, seed=99), folder)
    kinds = [("first-then-second", "second-then-first")[index % 2] for index in range(len(SPLITS))]
    rows = list(zip(SPLITS, SPLITS.values(), kinds, strict=True))
    write_table(folder / "videos.csv", "key,split,label", rows)
    write_table(folder / "labels.csv", "key,label", [(key, label) for key, _, label in rows])
    lengths = [(key, split, 12 + index) for index, (key, split) in enumerate(SPLITS.items())]
    write_table(folder / "numbers.csv", "key,split,label", lengths)
    write_lines(
        folder / "several.jsonl",
        [
            {"key": key, "split": split, "label": ["one", "two"][index % 2 :]}
            for index, (key, split, _) in enumerate(rows)
        ],
    )
    write_lines(
        folder / "dense.jsonl",
        [{"key": key, "split": split, "label": [[2, 4, "one"], [7, 9, "two"]]} for key, split, _ in rows],
    )
    extract(expand_inputs([videos]), ExtractionJob("patch-statistics"), folder / "first.zarr", scheduler="inline")
    return folder


def write_table(path: Path, head: str, rows: list[tuple[object, ...]]) -> None:
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows), ""]))


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it for one page."""
    return Path(shutil.copytree(made, tmp_path / "page"))
