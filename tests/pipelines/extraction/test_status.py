"""What `longvid status` says of runs: while they run, when they were killed, of shares."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longvid.pipelines.cli import main
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.coordinating import Silent
from longvid.pipelines.extraction.events import open_events
from longvid.pipelines.extraction.piece import PieceResult
from longvid.pipelines.extraction.report import VideoRow
from longvid.pipelines.extraction.share import Share
from longvid.pipelines.extraction.status import read_status
from longvid.pipelines.extraction.tally import MOST_KINDS, Tally
from longvid.stores import FeatureStore


def longvid(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().out


def row(key: str, status: str = "done", seconds: float = 60.0, reason: str = "", clips: int = 0) -> VideoRow:
    return VideoRow(key, f"{key}.mp4", status, reason, video_seconds=seconds, num_clips=clips)  # type: ignore[arg-type]


def counted(tally: Tally) -> dict:
    return tally.document(workers=1, signs_of_life={})


def test_the_time_left_is_weighted_by_duration_and_not_by_the_number_of_videos() -> None:
    tally = Tally(listed=4)
    tally.ended(row("short", seconds=100.0))
    tally.opened(row("film", seconds=900.0, clips=10), 90)
    assert counted(tally)["video_seconds"]["left"] == pytest.approx(810 + 2 * 500)
    tally.piece(PieceResult("film", 1, 45, 1.0, 1.0, 0.1))
    document = counted(tally)
    assert document["video_seconds"]["left"] == pytest.approx(405 + 2 * 500)
    assert document["video_seconds"]["done"] == pytest.approx(100 + 495)
    assert document["seconds_left"] == pytest.approx(1405 / document["video_seconds_per_second"])


def test_failures_are_told_by_kind_of_reason_with_their_number_in_bounded_memory() -> None:
    tally = Tally(listed=None)
    for number in range(300):
        tally.ended(row(f"v{number}", "failed", 0.0, f"v{number}.mp4: no such file"))
    tally.ended(row("late", "failed", 0.0, "late.mp4: not done after 15 s"))
    first, second = counted(tally)["failed"]
    assert (first["videos"], first["key"]) == (300, "v0")
    assert (second["videos"], second["reason"]) == (1, "late.mp4: not done after 15 s")
    for number in range(10 * MOST_KINDS):
        tally.ended(row("x", "failed", 0.0, "-" * number))
    kinds = counted(tally)["failed"]
    assert len(kinds) <= MOST_KINDS + 1
    assert sum(kind["videos"] for kind in kinds) == 301 + 10 * MOST_KINDS


def test_the_stage_that_takes_most_of_the_workers_time_is_named() -> None:
    tally = Tally(listed=2)
    video = row("a")
    video.plan_seconds, video.decode_seconds, video.encode_seconds = 1.0, 30.0, 2.0
    tally.ended(video)
    assert counted(tally)["limited_by"] == "decode"


def test_a_run_that_ended_says_what_is_done_and_which_command_tries_the_failed_ones_again(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*requests, VideoRequest("absent", str(tmp_path / "absent.mp4"))]
    extract(asked, job, tmp_path / "x.zarr", scheduler="inline")
    status, out = longvid(capsys, "status", tmp_path / "x.zarr")
    assert status == 3
    assert "3 of 4 in the store" in out
    assert "no such file" in out
    assert "--retry-failed" in out
    assert "limited by" in out
    document = json.loads(longvid(capsys, "status", tmp_path / "x.zarr", "--json")[1])
    (run,) = document["runs"]
    assert run["state"] == "ended"
    assert run["videos"] == {"listed": 4, "done": 3, "kept": 0, "failed": 1, "under_way": 0}
    assert run["video_seconds"]["done"] == pytest.approx(19.0, abs=0.5)
    assert run["video_seconds"]["left"] == 0
    assert extract(requests, job, tmp_path / "x.zarr", scheduler="inline").exit_status == 0
    assert longvid(capsys, "status", tmp_path / "x.zarr")[0] == 0


def test_nothing_of_it_is_in_the_store(requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path) -> None:
    extract(requests[2:], job, tmp_path / "x.zarr", scheduler="inline")
    assert (tmp_path / "x.zarr.status.json").is_file()
    assert sorted(path.name for path in (tmp_path / "x.zarr").iterdir()) == ["catalogue", "videos", "zarr.json"]


def test_an_interrupted_run_has_a_row_for_every_video_that_it_had_begun(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    class Interrupt(Silent):
        def encoded(self, *, clips: int) -> None:
            raise KeyboardInterrupt

    report = tmp_path / "report.jsonl"
    with pytest.raises(KeyboardInterrupt):
        extract(requests, job, tmp_path / "x.zarr", scheduler="inline", progress=Interrupt(), report_path=report)
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert rows
    assert {row["status"] for row in rows} <= {"done", "unfinished"}
    assert "unfinished" in {row["status"] for row in rows}
    (run,) = read_status(tmp_path / "x.zarr").runs
    assert run.state == "interrupted"


@pytest.mark.faults
def test_a_killed_run_is_told_from_a_running_one(
    video_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "x.zarr"
    words = ["extract", video_folder, "-e", "patch-statistics", "-o", store, "--scheduler", "inline"]
    many = ["--sampling", "frames=1,fps=50,stride_seconds=0.001", "--clips-per-shard", "8", "--threads", "1"]
    command = [sys.executable, "-m", "longvid.pipelines.cli", *map(str, words), *many]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    begun = time.monotonic()
    while not list(store.glob("videos/*/tokens/c.*")):
        assert process.poll() is None
        assert time.monotonic() - begun < 180
        time.sleep(0.05)
    (run,) = read_status(store).runs
    assert run.state == "running"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = read_status(store).runs
    assert run.state == "silent"
    status, out = longvid(capsys, "status", store)
    assert status == 3
    assert "ended without a word" in out


def test_a_store_without_a_status_says_what_it_holds(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract(requests[2:], job, tmp_path / "x.zarr", scheduler="inline")
    (tmp_path / "x.zarr.status.json").write_text('{"state": "running", "share": [1, 0]}')
    status, out = longvid(capsys, "status", tmp_path / "x.zarr")
    assert status == 0
    assert "1 video complete" in out


def test_events_are_lines_of_json_in_the_order_in_which_things_happened(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "run.jsonl"
    extract(requests, job, tmp_path / "x.zarr", scheduler="inline", log_path=log)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "run started"
    assert names[-1] == "run ended"
    ended = [event["key"] for event in events if event["event"] == "video ended"]
    assert sorted(ended) == sorted(request.key for request in requests), "each once, in the order in which they ended"
    times = [event["time"] for event in events]
    assert times == sorted(times)
    extract(requests, job, tmp_path / "x.zarr", scheduler="inline", log_path=log)
    assert len(log.read_text().splitlines()) > len(events), "a second run's events come after the first's"


def test_warnings_are_among_the_events(tmp_path: Path) -> None:
    import logging

    with open_events(tmp_path / "log.jsonl"):
        logging.getLogger("longvid.somewhere").warning("no worker has joined %s", "tcp://x")
    (event,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (event["event"], event["message"]) == ("warning", "no worker has joined tcp://x")


@pytest.mark.parametrize("word", ["3", "3/", "-1/4", "4/4", "0/0", "a/b", "1/2/3"])
def test_a_share_that_is_none_is_refused_by_name(word: str) -> None:
    from longvid.errors import ConfigError

    with pytest.raises(ConfigError, match="share"):
        Share.parse(word)


def test_every_video_is_in_exactly_one_share() -> None:
    keys = [f"video-{number}" for number in range(3000)]
    shares = [Share(count=3, index=index) for index in range(3)]
    counts = [sum(share.holds(key) for key in keys) for share in shares]
    assert sum(counts) == len(keys)
    assert all(900 < count < 1100 for count in counts)
    assert all(sum(share.holds(key) for share in shares) == 1 for key in keys)


def test_shares_in_any_order_and_twice_make_the_store_of_one_run_and_the_last_one_its_catalogue(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes
) -> None:
    extract(requests, job, tmp_path / "whole.zarr", scheduler="inline")
    store = tmp_path / "x.zarr"

    def run(index: int) -> None:
        extract(requests, job, store, scheduler="inline", share=Share(count=3, index=index))

    run(2)
    assert read_status(store).missing_shares == [Share(3, 0), Share(3, 1)]
    run(0)
    assert not (store / "catalogue").exists()
    run(2)
    assert read_status(store).missing_shares == [Share(3, 1)]
    run(1)
    assert read_status(store).missing_shares == []
    assert file_bytes(store) == file_bytes(tmp_path / "whole.zarr")


def test_a_share_that_was_killed_is_missing_until_it_has_run_again(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "x.zarr"
    for index in (0, 1):
        extract(requests, job, store, scheduler="inline", share=Share(count=2, index=index))
    path = tmp_path / "x.zarr.status-share-1-of-2.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"state": "running", "updated": "2026-01-01T00:00:00.000+00:00"}))
    status, out = longvid(capsys, "status", store)
    assert status == 3
    assert "missing shares: 1/2" in out
    assert len(FeatureStore.open(store)) == 3
    extract(requests, job, store, scheduler="inline", share=Share(count=2, index=1))
    status, out = longvid(capsys, "status", store)
    assert status == 0
    assert "missing" not in out
    assert "video-hours per hour" not in out, "nobody is at work, and shares may have run one after another"
