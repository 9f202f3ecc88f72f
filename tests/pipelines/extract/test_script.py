"""A script that extracts over workers, as users write one."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from pipelines.extract import ExtractionJob, VideoRequest, extract
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
