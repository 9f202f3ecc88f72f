"""What the command line tells of a run: short where much is wrong, and true of what can still be done."""

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest

from longvid.encoders import POOLINGS
from longvid.pipelines.cli import main
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.report import VideoRow, default_report_path, failed_together
from longvid.pooling_names import Pooling
from longvid.stores import FeatureStore


def longvid(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command of ours, run here."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


def test_thousands_of_videos_that_fail_alike_are_one_line_with_their_number_and_the_report(
    requests: list[VideoRequest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "m.csv"
    rows = [f"{n},{tmp_path}/absent/{n}.mp4" for n in range(3000)] + [f"there,{requests[2].path}"]
    (tmp_path / "empty.mp4").touch()
    manifest.write_text("\n".join(["key,path", *rows, f"empty,{tmp_path / 'empty.mp4'}"]) + "\n")
    words = ["extract", manifest, "-e", "patch-statistics", "--scheduler", "inline", "-o", tmp_path / "x.zarr"]
    status, out, err = longvid(capsys, *words)
    assert status == 3
    assert len(out.splitlines()) == 4
    assert out.splitlines()[0].endswith(".mp4: no such file (and 2,999 videos for the same reason)")
    assert "the file is empty" in out.splitlines()[1]
    assert f"report: {tmp_path / 'x.zarr.report.jsonl'}" in out
    assert len(err.splitlines()) == 11, "the first ten by name, and that there are more"
    assert len((tmp_path / "x.zarr.report.jsonl").read_text().splitlines()) == 3002
    status, out, err = longvid(capsys, *words, "--plan")
    assert status == 3
    assert len([line for line in err.splitlines() if line.startswith("failed")]) == 2
    document = json.loads(longvid(capsys, *words, "--plan", "--json")[1])
    assert len(document["failed"]) == 3001


def test_reasons_that_differ_in_names_and_numbers_only_are_one_kind() -> None:
    rows = [
        VideoRow("a", "/v/a.mp4", "failed", "/v/a.mp4: not done after 15 s"),
        VideoRow("c", "/v/c.mp4", "failed", "/v/c.mp4: no such file"),
        VideoRow("b", "/v/b.mp4", "failed", "/v/b.mp4: not done after 7.5 s"),
    ]
    kinds = failed_together(rows)
    assert [(kind.reason, kind.keys) for kind in kinds] == [(rows[0].reason, ["a", "b"]), (rows[1].reason, ["c"])]


@pytest.mark.usefixtures("poison_on_path")
def test_to_run_again_is_said_only_of_videos_that_this_may_complete(
    requests: list[VideoRequest], white_video: VideoRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "x.zarr"
    job = ExtractionJob("poison:build_raiser", torch_threads=1)
    report = default_report_path(str(place))
    extract([white_video, requests[2]], job, place, scheduler="inline", report_path=report)
    out = longvid(capsys, "info", place)[1]
    assert "again to complete" not in out
    assert "1 video failed in the last run" in out
    assert str(report) in out
    seconds = FeatureStore.open(place).video("video-2").seconds
    FeatureStore.open(place, mode="a").plan("started", seconds, {"size_bytes": 1})
    assert "run the same `longvid extract` again to complete 1 video\n" in longvid(capsys, "info", place)[1]
    assert longvid(capsys, "delete", place, "white", "started")[0] == 0
    out = longvid(capsys, "info", place)[1]
    assert "again" not in out
    assert "failed" not in out


def test_help_names_every_pooling_there_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert get_args(Pooling) == tuple(POOLINGS)
    out = longvid(capsys, "extract", "--help")[1]
    words = " ".join(out.replace("│", " ").split())
    assert f"{', '.join(list(POOLINGS)[:-1])} or {list(POOLINGS)[-1]}" in words


def test_a_name_that_spells_an_emoji_is_printed_as_it_is(
    requests: list[VideoRequest], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(requests[2].path, tmp_path / "a:smile:b.mp4")
    (tmp_path / "c:heart:d.mp4").write_text("no video")
    words = ["extract", tmp_path / "a:smile:b.mp4", tmp_path / "c:heart:d.mp4", "-e", "patch-statistics"]
    status, out, _ = longvid(capsys, *words, "--scheduler", "inline", "-o", tmp_path / "x.zarr")
    assert status == 3
    assert "a:smile:b" in out
    assert "c:heart:d" in out
