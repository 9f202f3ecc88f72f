"""Walks: a command is refused, what its message says is done, and then it works."""

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import command_in_process
from short_videos import extract_short_videos, train_on_short_videos
from walks import FAILED, Walk

from longvid.pipelines.evaluation.evaluate import evaluate


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short videos `v0.mp4` to `v3.mp4`, `manifest.jsonl`, `features.zarr`, and `run`, trained and evaluated."""
    folder = tmp_path_factory.mktemp("sound")
    extract_short_videos(folder)
    train_on_short_videos(folder, "run", seeds=[0], epochs=1)
    for split in ("train", "test"):
        evaluate(folder / "run", split=split, device="cpu")
    return folder


@pytest.fixture
def walk(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Walk], str]:
    """Does what a walk says, and returns what the command that works printed."""
    folder = tmp_path / "here"
    shutil.copytree(sound, folder)
    for file in (*(folder / "run").glob("*.*"), folder / "manifest.jsonl"):
        file.write_text(file.read_text().replace(str(sound), str(folder)))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "500")
    longvid = command_in_process(capsys)

    def run(one: Walk) -> str:
        if callable(one.first):
            one.first(folder)
        elif one.first:
            assert longvid(*shlex.split(one.first))[0] == 0
        status, out, err = longvid(*shlex.split(one.command))
        said = " ".join(f"{out} {err}".split())
        assert status in FAILED, said
        assert one.says in said, said
        assert len([line for line in err.splitlines() if line.startswith("error")]) <= 1
        assert "Traceback" not in err
        if callable(one.do):
            one.do(folder)
        elif one.do:
            status, out, err = longvid(*shlex.split(one.do))
            assert status in (0, 1), out + err  # 1: something was found, and dealt with
        os.chdir(folder)
        status, out, err = longvid(*shlex.split(one.then or one.command))
        assert status == 0, f"{out} {err}"
        return out

    return run
