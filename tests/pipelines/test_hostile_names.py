"""Hostile names of videos through extraction, the store, verification, exports, imports, and a terminal."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile_keys import OBEYED, READABLE

from longvid.stores import FeatureStore, path_name, verify
from longvid.stores.testing import toy_features, toy_recipe, write_toy_video

pytestmark = pytest.mark.faults

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A store of a small video under each name, to be read only."""
    store = FeatureStore.create(
        tmp_path_factory.mktemp("named") / "x.zarr", toy_recipe(), clips_per_shard=4, clips_per_chunk=2
    )
    for seed, key in enumerate([*READABLE, *OBEYED]):
        write_toy_video(store, key, toy_features(2, seed=seed))
    store.update_catalogue()
    return store


def assert_holds(store: FeatureStore, keys: list[str]) -> None:
    """The store holds these videos, each with its own numbers."""
    assert store.keys() == sorted(keys)
    for key in keys:
        np.testing.assert_array_equal(
            store.video(key).read(0, 2), toy_features(2, seed=[*READABLE, *OBEYED].index(key))
        )


def test_there_are_enough_of_them_and_no_two_meet():
    names = [*READABLE, *OBEYED]
    assert len(names) == len(set(names)) >= 81
    assert len({path_name(key).casefold() for key in names}) == len(names)


@pytest.mark.parametrize("to", ["x.h5", "npy"])
def test_every_name_goes_out_and_comes_back(to: str, named: FeatureStore, tmp_path: Path, command: Command) -> None:
    before = set(tmp_path.parent.iterdir())
    status, _, err = command("export", named.location, to)
    assert status == 0, err
    status, _, err = command("import", to, "back.zarr")
    assert status == 0, err
    assert_holds(FeatureStore.open(tmp_path / "back.zarr"), [*READABLE, *OBEYED])
    assert set(tmp_path.parent.iterdir()) == before  # nothing was written beside the folder


def test_every_name_is_looked_at_and_printed_as_text(named: FeatureStore, tmp_path: Path, command: Command) -> None:
    assert_holds(named, [*READABLE, *OBEYED])
    assert verify(named) == []
    copy = shutil.copytree(named.location, tmp_path / "copy.zarr")
    for name in OBEYED:
        file = copy / "videos" / path_name(name) / "tokens/c.0.0.0"
        file.write_bytes(file.read_bytes()[::-1])
    status, out, err = command("verify", copy)
    assert status == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", out + err)


def test_real_videos_of_such_names_are_extracted_and_reported(
    tmp_path: Path, make_video: Callable[..., Path], command: Command
) -> None:
    video = make_video(tmp_path / "v.mp4", seconds=1.0)
    rows = [json.dumps({"key": key, "path": str(video)}) for key in READABLE]
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows))
    words = ["-e", "patch-statistics", "--option", "size=32", "--sampling", "frames=1,fps=4,stride_seconds=0.5"]
    status, out, err = command("extract", "manifest.jsonl", "-o", "x.zarr", *words, "--scheduler", "inline")
    assert status == 0, err
    assert FeatureStore.open(tmp_path / "x.zarr").keys() == sorted(READABLE)
    assert verify(FeatureStore.open(tmp_path / "x.zarr")) == []
    assert "\x1b" not in out + err
    report = [json.loads(line) for line in (tmp_path / "x.zarr.report.jsonl").read_text().splitlines()]
    assert sorted(row["key"] for row in report) == sorted(READABLE)


def test_a_name_that_would_fill_the_screen_is_shown_by_its_start_and_its_length(
    tmp_path: Path, command: Command
) -> None:
    store = FeatureStore.create(tmp_path / "long.zarr", toy_recipe(), clips_per_shard=4, clips_per_chunk=2)
    key = "x" * 100_000
    write_toy_video(store, key, toy_features(2))
    (tmp_path / "long.zarr" / "videos" / path_name(key) / "tokens" / "c.0.0.0").write_bytes(b"")
    status, out, err = command("verify", "long.zarr")
    assert status != 0
    assert "x" * 190 in out.replace("\n", "") + err
    assert re.search(r"\(100,0\d\d characters\)", out + err)
    assert len(out + err) < 2000
