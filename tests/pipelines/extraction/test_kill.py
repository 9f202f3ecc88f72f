"""`kill -9` of the extracting process, then the same command again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from longvid.pipelines.extraction import VideoRequest
from longvid.stores import FeatureStore, verify

pytestmark = pytest.mark.faults

Bytes = Callable[[Path], dict[str, bytes]]


def command(videos: Path, store: Path, scheduler: str) -> list[str]:
    """The command line of an extraction into eight shards and more."""
    words = ["extract", str(videos), "--encoder", "patch-statistics", "--out", str(store), "--clips-per-shard", "4"]
    sampling = ["--sampling", "frames=1,fps=8,stride_seconds=0.125"]
    return [
        sys.executable,
        "-m",
        "longvid.pipelines.cli",
        *words,
        *sampling,
        "--scheduler",
        scheduler,
        "--workers",
        "1",
    ]


@pytest.mark.parametrize("scheduler", ["serial", "local"])
def test_after_kill_9_the_same_command_finishes_and_the_bytes_are_those_of_an_unbroken_run(
    video_folder: Path, requests: list[VideoRequest], tmp_path: Path, file_bytes: Bytes, scheduler: str
) -> None:
    whole, cut = tmp_path / "whole.zarr", tmp_path / "cut.zarr"
    subprocess.run(command(video_folder, whole, "serial"), check=True, capture_output=True)
    process = subprocess.Popen(
        command(video_folder, cut, scheduler),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(shards := list(cut.glob("videos/*/tokens/c.*.0.0"))) < 3:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in shards if path.exists()}
    assert set(FeatureStore.open(cut).keys()) < {request.key for request in requests}
    again = subprocess.run(command(video_folder, cut, scheduler), check=True, capture_output=True, text=True)
    assert "3 done" in again.stdout or "kept" in again.stdout
    for path, changed in kept.items():
        assert path.stat().st_mtime_ns == changed, f"{path} was written again"
    assert file_bytes(cut) == file_bytes(whole)
    assert verify(FeatureStore.open(cut)) == []
