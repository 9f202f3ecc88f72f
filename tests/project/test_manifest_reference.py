"""Every example of docs/manifests.md trains, and its table names every column."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.data import open_training_data
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest
from longvid.tasks.manifest import COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "manifests.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ title=\"(\S+)\"\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE))
COMMANDS = [line.split()[2:] for line in re.findall(r"^    (longvid train .*)$", PAGE, flags=re.MULTILINE)]
KINDS = {
    "classes.csv": "classification", "labels.jsonl": "multilabel", "values.csv": "regression",
    "segments.jsonl": "dense", "frames.csv": "dense", "parts.csv": "classification", "groups.csv": "classification",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files, and a store with the videos a to d of eight seconds."""
    recipe = Recipe(
        encoder="toy", encoder_config={}, weights_sha256="0" * 64,
        sampling={"frames": 1, "fps": 1, "stride_seconds": 1}, preprocessing={}, pooling="mean", num_tokens=1, dim=4,
    )  # fmt: skip
    store = FeatureStore.create(tmp_path / "x.zarr", recipe, clips_per_shard=8)
    begins = np.arange(8.0)
    for key in "abcd":
        store.plan(key, np.stack([begins, begins + 1], axis=1), {})
        store.write_shard(key, 0, np.random.default_rng(ord(key)).standard_normal((8, 1, 4)).astype(np.float32))
        store.complete(key)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_names_every_column() -> None:
    assert set(COLUMNS) <= set(re.findall(r"`(\w+)`", PAGE.partition("| others |")[0]))


def test_each_kind_of_task_has_an_example() -> None:
    assert {word.removeprefix("manifest=") for words in COMMANDS for word in words if "manifest=" in word} == set(KINDS)


@pytest.mark.parametrize("words", COMMANDS, ids=list(KINDS))
def test_its_example_opens_as_the_kind_of_task_it_stands_under(folder: Path, words: list[str]) -> None:
    data = open_training_data(load_config(None, words))
    manifest = next(word.removeprefix("manifest=") for word in words if "manifest=" in word)
    assert data.task.kind == KINDS[manifest]
    targets = data.train.targets()
    match manifest:
        case "labels.jsonl":
            assert targets.tolist() == [[1, 0, 1], [0, 1, 0]]
        case "values.csv":
            assert targets[:, 0].tolist() == pytest.approx(np.log([1200, 35]).tolist())
        case "segments.jsonl":
            assert targets[:8].tolist() == [1, 1, 2, 2, 2, 2, 0, 0]  # the middle of the third clip is 2.5
        case "frames.csv":
            assert targets[:8].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
        case "parts.csv":
            assert [data.train.span(index) for index in range(2)] == [(0, 4), (4, 8)]
        case "groups.csv":
            sides = [{row.group for row in data.manifest.split(split)} for split in ("train", "val")]
            assert not sides[0] & sides[1]


def test_the_folder_becomes_splits_of_whole_groups(tmp_path: Path, monkeypatch, make_pictures: Callable) -> None:
    monkeypatch.chdir(tmp_path)
    for person in range(8):
        for take in range(2):
            make_pictures(tmp_path / "videos" / ("wave", "jump")[person % 2] / f"p{person}_{take}.mp4")
    (line,) = re.findall(r"^    longvid (prepare folder .*)$", PAGE, flags=re.MULTILINE)
    from longvid.pipelines.cli import main

    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))
    assert ended.value.code == 0
    manifest = Manifest.read("own.csv")
    assert manifest.counts() == {"train": 8, "val": 4, "test": 4}
    splits = {split: manifest.split(split) for split in ("train", "val", "test")}
    assert all({row.label for row in rows} == {"wave", "jump"} for rows in splits.values())
    groups = [{row.group for row in rows} for rows in splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 8


@pytest.fixture
def make_pictures() -> Callable[[Path], None]:
    """Writes a video of half a second."""
    from longvid.video.writing import write_video

    def make(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, (np.full((32, 32, 3), 40 * index, np.uint8) for index in range(4)), fps=8)

    return make
