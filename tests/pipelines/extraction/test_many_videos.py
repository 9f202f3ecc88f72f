"""The coordinating process keeps neither the list nor the report of a long run in memory."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.extraction import VideoRequest, dealing, expand_inputs
from longvid.pipelines.extraction import report as reports
from longvid.pipelines.extraction.assignments import OpenVideos, Returned
from longvid.pipelines.extraction.coordinating import Run, Silent
from longvid.pipelines.extraction.dealing import Dealer
from longvid.pipelines.extraction.events import Events
from longvid.pipelines.extraction.inputs import ListedVideos
from longvid.pipelines.extraction.report import RunReport, VideoRow, open_report
from longvid.pipelines.extraction.tally import Tally


def manifest(path: Path, videos: int) -> Path:
    with path.open("w") as file:
        file.writelines(json.dumps({"key": f"v{n}", "path": f"/videos/{n}.mp4"}) + "\n" for n in range(videos))
    return path


class Instantly:
    """An executor whose workers take no time; every other video fails."""

    workers = 1

    def run(self, dealer):
        while batch := dealer.take(4, slots=4):
            for assignment in batch:
                assert isinstance(assignment, OpenVideos)
                rows = [
                    VideoRow(one.key, one.path, "failed" if int(one.key[1:]) % 2 else "done", video_seconds=70.0)
                    for one in assignment.requests
                ]
                yield assignment, Returned(ended=rows, seconds=0.001 * len(rows))

    def load_encoder(self) -> None: ...

    def signs_of_life(self) -> dict[str, float]:
        return {}


def run_of(path: Path, videos: int) -> None:
    """The coordinator's part of a run over so many videos."""
    requests = ListedVideos([manifest(path / f"{videos}.jsonl", videos)])
    with open_report(path / f"{videos}.report.jsonl") as report:
        dealer = Dealer(requests, clips_per_shard=64, deadline_seconds=3600.0)
        Run(report, Silent(), Tally(listed=len(requests)), Events()).execute(Instantly(), dealer)
    assert report.counts == {"done": videos // 2, "failed": videos // 2}


def peak_of(path: Path, videos: int) -> int:
    tracemalloc.start()
    run_of(path, videos)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.fixture
def few_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a long run, but soon."""
    monkeypatch.setattr(reports, "MOST_ROWS", 200)
    monkeypatch.setattr(dealing, "AHEAD", 200)


@pytest.mark.usefixtures("few_in_memory")
def test_five_times_the_videos_take_no_more_memory(tmp_path: Path) -> None:
    peak_of(tmp_path, 600)  # what is imported and compiled once is in memory from now on
    few, many = 600, 3000
    # checking keys takes eight bytes per video, a few times over while they are sorted
    assert peak_of(tmp_path, many) < 1.1 * peak_of(tmp_path, few) + 64 * (many - few)


PEAK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import test_many_videos as here
here.run_of(Path({path!r}), {videos})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow  # a million rows: pytest -m slow -k a_million_listed -s prints the memory
def test_a_million_listed_videos_take_a_few_bytes_each_of_the_coordinators_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = {}
    for videos in (10_000, 1_000_000):
        code = PEAK.format(folder=str(Path(__file__).parent), path=str(tmp_path), videos=videos)
        peaks[videos] = 1024 * int(
            subprocess.run([sys.executable, "-c", code], check=True, stdout=-1, text=True).stdout
        )
    with capsys.disabled():
        print({f"{videos:,} videos": f"{peak / 1e6:.0f} MB" for videos, peak in peaks.items()})
    # checking that no key is listed twice takes eight bytes per video, a few times over while they are sorted
    assert peaks[1_000_000] - peaks[10_000] < 64 * 1_000_000


@pytest.mark.usefixtures("few_in_memory")
def test_a_report_of_any_length_gives_its_rows_back(tmp_path: Path) -> None:
    count = 407
    with open_report(tmp_path / "report.jsonl") as report:
        for number in range(count):
            report.add(VideoRow(f"v{number}", f"v{number}.mp4", "failed" if number % 5 == 0 else "done"))
        held = [row.key for row in report.rows]
    assert held == [row.key for row in report.each_row()] == [f"v{number}" for number in range(count)]
    assert len(report.failed) == -(-count // 5)
    unwritten = RunReport()
    unwritten.add(*(VideoRow(f"v{number}", "x") for number in range(count)))
    assert [row.key for row in unwritten.rows] == held


def test_a_list_is_the_same_however_often_it_is_read(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.jsonl", 100)
    listed = ListedVideos([path, path.parent / "more.mp4", path.parent / "more.mp4"])
    assert len(listed) == 101
    assert list(listed) == list(listed) == expand_inputs([path, path.parent / "more.mp4"])


def test_a_key_that_one_manifest_gives_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("key,path\na,/x/a.mp4\nb,/x/b.mp4\na,/x/a.mp4\n")
    with pytest.raises(AnnotationError, match=r"m.csv:4: key 'a' was already given at .*m.csv:2"):
        ListedVideos([path])


def test_a_key_of_two_manifests_that_means_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(f"key,path\na,/{name}/a.mp4\n")
    with pytest.raises(ConfigError, match=r"/one/a.mp4 and /two/a.mp4 would both be stored as 'a'"):
        ListedVideos([tmp_path / "one.csv", tmp_path / "two.csv"])


def test_a_manifest_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("\n")
    with pytest.raises(AnnotationError, match="lists no videos"):
        ListedVideos([tmp_path / "m.jsonl"])
    assert ListedVideos([]) is not None
    assert isinstance(next(iter(ListedVideos([tmp_path / "a.mp4"]))), VideoRequest)
