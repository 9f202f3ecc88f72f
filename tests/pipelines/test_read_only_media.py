"""Stores and runs on media that cannot be written to: what reads works, what writes says so in one line."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import command_in_process
from short_videos import extract_short_videos, train_on_short_videos

AS_THERE = (
    "--encoder patch-statistics --option size=32 --option dim=16 --option frames=2 --seed 3 --pooling mean "
    "--sampling frames=2,fps=4,stride_seconds=0.5 --scheduler inline"
)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A read-only file system with four videos, their store, the same store damaged, and a run."""
    made, media = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("media")
    extract_short_videos(made)
    train_on_short_videos(made, "run", seeds=[0], epochs=1)
    shutil.copytree(made / "features.zarr", made / "damaged.zarr")
    (made / "damaged.zarr/videos/v0/tokens/c.0.0.0").write_bytes(b"half a shard")
    mounted = subprocess.run(["mount", "--bind", made, media], capture_output=True, check=False).returncode == 0
    try:
        if not mounted or subprocess.run(["mount", "-o", "remount,ro,bind", media], check=False).returncode:
            pytest.skip("mounting needs more rights than this user has")
        yield media
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", media], check=True)  # files of it may be kept open


@pytest.fixture
def longvid(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "media").symlink_to(media)
    return command_in_process(capsys)


@pytest.mark.parametrize(
    "command",
    [
        "info media/features.zarr --videos",
        "verify media/features.zarr",
        "repair media/features.zarr",
        "status media/features.zarr",
        "export media/features.zarr out",
        "search media/features.zarr --like v0@0:01-0:02",
        "train store=media/features.zarr manifest=media/manifest.jsonl decoder.name=mean-linear epochs=1 seeds=[0] "
        "tensorboard=false device=cpu out=new",
        "predict media/run media/v0.mp4",
        f"extract media/v0.mp4 {AS_THERE} -o new.zarr",
    ],
)
def test_what_reads_works(longvid: Command, command: str) -> None:
    status, out, err = longvid(*command.split())
    assert status == 0, out + err


@pytest.mark.parametrize(
    "command",
    [
        "repair media/damaged.zarr",
        "delete media/features.zarr v0",
        "import out media/new.zarr",
        f"extract media/v0.mp4 {AS_THERE} -o media/features.zarr",
        f"extract media/v0.mp4 {AS_THERE} -o media/new.zarr",
        f"extract media/v0.mp4 {AS_THERE} -o new.zarr --report media/report.jsonl",
        "train store=media/features.zarr manifest=media/manifest.jsonl decoder.name=mean-linear epochs=1 seeds=[0] "
        "tensorboard=false device=cpu out=media/new",
        "evaluate media/run",
        "predict media/run media/v0.mp4 --out media/scores.csv",
        "search media/features.zarr --like v0@0:01-0:02 --page media/hits.html",
        "cluster-keys media/keys",
    ],
)
def test_what_writes_says_in_one_line_where_it_cannot_and_what_to_do(longvid: Command, command: str) -> None:
    if command.startswith("import"):
        assert longvid("export", "media/features.zarr", "out")[0] == 0
    status, _, err = longvid(*command.split())
    assert status == 2
    (line,) = err.splitlines()
    assert "Read-only file system; " in line
    assert "media" in line
    assert ".partial" not in line
    assert "permit writing there" in line


def test_damage_is_found_where_it_cannot_be_repaired(longvid: Command) -> None:
    status, out, _ = longvid("verify", "media/damaged.zarr")
    assert status == 1
    assert "video 'v0': shard 0" in out
