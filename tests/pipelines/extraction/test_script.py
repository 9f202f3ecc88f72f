"""A script that extracts over workers, as users write one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

SCRIPT = """
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
extract([VideoRequest("a", {video!r})], ExtractionJob("patch-statistics"), {store!r}, scheduler="local", workers=1)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_ends_with_the_cure(video_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(video=str(video_folder / "video-2.mp4"), store=str(tmp_path / "x.zarr")))
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "no worker process came up" in last
    assert "under `if __name__ == '__main__':`" in last


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["serial", "local"])
def test_ctrl_c_is_one_line_and_status_130(scheduler: str, video_folder: Path, tmp_path: Path) -> None:
    words = ["extract", video_folder, "-e", "patch-statistics", "-o", tmp_path / "x.zarr", "--scheduler", scheduler]
    many = ["--sampling", "frames=1,fps=50,stride_seconds=0.001", "--workers", "1"]
    command = [sys.executable, "-m", "longvid.pipelines.cli", *map(str, words), *many]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not list((tmp_path / "x.zarr").glob("videos/*/tokens/c.*")):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in said
