"""A rerun tries failed videos again, leaves them out, or tries nothing else; notes about many videos are one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from longvid.errors import ConfigError
from longvid.pipelines.cli.extract_printing import note_lines
from longvid.pipelines.extraction import extract, measuring
from longvid.pipelines.extraction.failed_before import AGAIN
from longvid.pipelines.extraction.report import RunReport, VideoRow, default_report_path
from longvid.stores import FeatureStore


@pytest.fixture
def folder(video_folder: Path, tmp_path: Path) -> Path:
    """One good file and a broken one."""
    (tmp_path / "in").mkdir()
    shutil.copy(video_folder / "video-2.mp4", tmp_path / "in" / "good.mp4")
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video" * 1000)
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read through."""
    names: list[str] = []
    probe_once = measuring.probe_once
    monkeypatch.setattr(
        measuring, "probe_once", lambda path, *given: (names.append(Path(path).name), probe_once(path, *given))[1]
    )
    return names


def test_a_video_that_failed_is_left_out_until_its_file_changes(folder: Path, command: Callable, opened: list[str]):
    words = ["extract", "in", "-e", "patch-statistics", "--scheduler", "inline", "-o", "x.zarr"]
    assert command(*words, "--skip-failed")[0] == 3, "a first run tries all"
    assert sorted(opened) == ["broken.mp4", "good.mp4"]
    opened.clear()
    for _ in range(2):
        status, out, _ = command(*words, "--skip-failed")
        assert status == 3, "the video is not in the store"
        assert out.count(AGAIN.strip()) == 1
        assert "1 failed, 1 kept" in out
    assert opened == []
    assert command(*words)[0] == 3
    assert opened == ["broken.mp4"], "without the option it is tried again"
    shutil.copy(folder / "in" / "good.mp4", folder / "in" / "broken.mp4")
    later = default_report_path("x.zarr").stat().st_mtime + 10
    os.utime(folder / "in" / "broken.mp4", (later, later))
    assert command(*words, "--skip-failed")[0] == 0
    assert "broken" in FeatureStore.open("x.zarr")


def test_only_the_failed_are_tried_and_no_other_file_is_looked_at(folder: Path, command: Callable, opened: list[str]):
    words = ["extract", "in", "-e", "patch-statistics", "--scheduler", "inline", "-o", "x.zarr"]
    status, _, err = command(*words, "--retry-failed")
    assert status == 2
    assert "no report of an earlier run" in err
    assert not Path("x.zarr").exists()
    assert command(*words)[0] == 3
    shutil.copy(folder / "in" / "good.mp4", folder / "in" / "broken.mp4")
    (folder / "in" / "good.mp4").write_bytes(b"not looked at")
    opened.clear()
    assert command(*words, "--retry-failed")[0] == 0
    assert opened == ["broken.mp4"]
    assert [json.loads(line)["key"] for line in default_report_path("x.zarr").read_text().splitlines()] == ["broken"]
    status, _, err = command(*words, "--retry-failed", "--skip-failed")
    assert status == 2
    assert "give one of the two" in err


def test_a_function_takes_the_same_choice(folder: Path, job, requests, opened: list[str]):
    place = folder / "x.zarr"
    with pytest.raises(ConfigError, match="no report"):
        extract(requests, job, place, scheduler="inline", failed="only")
    extract(requests[2:], job, place, scheduler="inline", report_path=default_report_path(str(place)))
    opened.clear()
    assert extract(requests[2:], job, place, scheduler="inline", failed="only").rows == []
    assert opened == []


def test_a_note_about_many_videos_is_one_line_and_a_rare_one_names_each():
    rate = "its frame rate varies from 23.{} to 30"
    rows = [VideoRow(f"v{n}", f"/in/v{n}.mp4", problems=[rate.format(n)]) for n in range(50)]
    rows += [VideoRow(f"w{n}", f"/in/w{n}.mp4", problems=[f"starts late, at {n} s"]) for n in range(2)]
    rows.append(VideoRow("x", "/in/x.mp4", "failed", reason="broken", problems=["starts late, at 9 s"]))
    report = RunReport()
    report.add(*rows)
    assert note_lines(report) == [
        f"note: v0: {rate.format(0)} (and 49 videos likewise; the report has all)",
        "note: w0: starts late, at 0 s",
        "note: w1: starts late, at 1 s",
    ]
