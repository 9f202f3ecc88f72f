"""A process of a run that is stopped (SIGSTOP) for longer than the deadline is given up."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from longvid.stores import FeatureStore, verify

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_a_worker_that_is_stopped_for_longer_than_the_deadline_is_replaced_and_nothing_else_is_lost(
    video_folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "x.zarr"
    command = [sys.executable, "-m", "longvid.pipelines.cli", "extract", str(video_folder), "-o", str(store)]
    command += ["-e", "patch-statistics", "--sampling", "frames=1,fps=8,stride_seconds=0.125", "--clips-per-shard", "2"]
    command += ["--scheduler", "serial"]
    run = subprocess.Popen(
        [*command, "--deadline-seconds", "20"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 200
    while not list(store.glob("videos/*/tokens/c.*.0.0")):
        assert run.poll() is None, "the run ended before a worker could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for child in psutil.Process(run.pid).children(recursive=True):
        child.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    out, err = run.communicate(timeout=300)
    assert time.monotonic() - stopped > 20
    assert "Traceback" not in out + err
    rows = [json.loads(line) for line in (tmp_path / "x.zarr.report.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    failed = [row for row in rows if row["status"] == "failed"]  # a piece that was late is tried once more
    assert run.returncode == (3 if failed else 0), err
    assert all("did not end in 20 s" in row["reason"] for row in failed)
    assert {damage.kind for damage in verify(FeatureStore.open(store))} <= {"stray"}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert len(FeatureStore.open(store)) == 3
    assert verify(FeatureStore.open(store)) == []
