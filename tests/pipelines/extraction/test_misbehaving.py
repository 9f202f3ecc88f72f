"""Files that hang, crash or confuse what reads them: each is a named row, and the others go on."""

import ctypes
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders import Encoder, EncoderSpec, build_encoder, wrap
from longvid.errors import ConfigError
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.stores import FeatureStore, repair, verify

pytestmark = pytest.mark.faults

HERE = Path(__file__).parent
HEALTHY = ["video-0", "video-1", "video-2"]


@pytest.fixture
def bad_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes PyAV misbehave on files of certain names, in the processes that start from here."""
    monkeypatch.setenv("PYTHONPATH", str(HERE / "misbehaving"))


@pytest.fixture
def copies(requests: list[VideoRequest], tmp_path: Path) -> list[VideoRequest]:
    """A sound file under each name that PyAV then misbehaves on."""
    made = []
    for name in ("hangs", "holds", "crashes", "odd"):
        path = tmp_path / f"{name}.mp4"
        shutil.copy(requests[2].path, path)
        made.append(VideoRequest(name, str(path)))
    return made


@pytest.mark.usefixtures("bad_reader")
@pytest.mark.parametrize("scheduler", ["serial", "local"])
def test_files_that_hang_or_crash_their_reader_are_named_rows(
    requests: list[VideoRequest], copies: list[VideoRequest], job: ExtractionJob, tmp_path: Path, scheduler: str
) -> None:
    report = extract(
        [*copies, *requests], job, tmp_path / "x.zarr", scheduler=scheduler, workers=1, deadline_seconds=20.0
    )
    reasons = {row.key: row.reason for row in report.failed}
    assert reasons.keys() == {"hangs", "holds", "crashes", "odd"}
    assert "did not end in 20 s" in reasons["hangs"]
    assert "did not end in 20 s" in reasons["holds"]
    assert "crashed its process twice" in reasons["crashes"]
    assert "signal 11" in reasons["crashes"]
    assert "UnicodeDecodeError" in reasons["odd"]
    assert all(f"{key}.mp4" in reason and "\n" not in reason for key, reason in reasons.items())
    assert FeatureStore.open(tmp_path / "x.zarr").keys() == HEALTHY


@pytest.mark.usefixtures("poison_on_path")
@pytest.mark.parametrize(
    ("builder", "words"),
    [
        ("build_killer", "killed"),
        ("build_holder", "15 s"),
        pytest.param("build_sleeper", "15 s", marks=pytest.mark.slow),
    ],
)
def test_serial_loses_only_the_video_whose_decoder_or_encoder_dies_or_hangs(
    requests: list[VideoRequest], white_video: VideoRequest, tmp_path: Path, builder: str, words: str
) -> None:
    job = ExtractionJob(f"poison:{builder}", torch_threads=1)
    report = extract(
        [white_video, *requests], job, tmp_path / "x.zarr", scheduler="serial", clips_per_shard=8, deadline_seconds=15.0
    )
    assert [row.key for row in report.failed] == ["white"]
    assert words in report.failed[0].reason
    assert FeatureStore.open(tmp_path / "x.zarr").keys() == HEALTHY


def test_inline_says_that_it_cannot_end_a_piece(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="inline"):
        extract(requests, job, tmp_path / "x.zarr", scheduler="inline", deadline_seconds=1.0)


def test_a_truncated_document_of_one_video_is_its_row_and_repair_mends_it(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    place = tmp_path / "x.zarr"
    extract(requests, job, place, scheduler="inline")
    document = place / "videos" / "video-1" / "zarr.json"
    document.write_bytes(document.read_bytes()[:40])
    report = extract(requests, job, place, scheduler="inline")
    assert [(row.key, row.status) for row in report.rows if row.status != "kept"] == [("video-1", "failed")]
    assert "`longvid repair`" in report.failed[0].reason
    repair(FeatureStore.open(place, mode="a"))
    again = extract(requests, job, place, scheduler="inline")
    assert [row.key for row in again.rows if row.status == "done"] == ["video-1"]
    assert verify(FeatureStore.open(place)) == []


def test_two_runs_with_one_report_path_write_each_its_own_file(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    path = tmp_path / "report.jsonl"
    path.write_text("of an earlier run\n")
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(
                extract, requests, job, tmp_path / f"{n}.zarr", scheduler="inline", report_path=path, clips_per_shard=4
            )
            for n in range(2)
        ]
        reports = [run.result() for run in runs]
    assert {report.path for report in reports} <= {path, tmp_path / "report.2.jsonl"}
    for report in reports:
        assert report.path is not None
    for written in {report.path for report in reports}:
        assert written is not None
        rows = [json.loads(line) for line in written.read_text().splitlines()]
        assert sorted(row["key"] for row in rows) == HEALTHY


def test_a_report_that_another_run_writes_to_is_left_alone(tmp_path: Path) -> None:
    from longvid.pipelines.extraction.report import VideoRow, open_report

    path = tmp_path / "report.jsonl"
    with open_report(path) as first, open_report(path) as second:
        first.add(VideoRow("a", "a.mp4"))
        second.add(VideoRow("b", "b.mp4"))
        assert second.path == tmp_path / "report.2.jsonl"
        first.add(VideoRow("c", "c.mp4"))
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "c"]
    with open_report(path) as third:
        assert third.path == path
        assert path.read_text() == ""


def test_one_decoder_self_test_serves_all_planning_threads(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longvid.video.backends import check

    tested = []
    self_test = check._wrong_frames
    monkeypatch.setattr(check, "_wrong_frames", lambda name: tested.append(name) or self_test(name))
    check.check_backend.cache_clear()
    extract(requests, job, tmp_path / "x.zarr", scheduler="inline")
    assert tested == ["pyav"]


def _own_encoder() -> Encoder:
    """An encoder that no name builds."""
    spec = EncoderSpec("own", Sampling(frames=1, fps=4.0, stride_seconds=0.25), Preprocessing(height=8, width=8))
    layer = torch.nn.Linear(3, 5)
    return wrap(_Colours(layer), spec)


class _Colours(torch.nn.Module):
    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.layer(clips.mean(dim=(3, 4)).movedim(1, 2)).unsqueeze(2)


def test_a_built_encoder_makes_the_same_features_here_in_a_process_and_on_workers(
    requests: list[VideoRequest], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("patch-statistics", dim=16)
    tokens = {}
    for scheduler in ("inline", "serial", "local"):
        place = tmp_path / f"{scheduler}.zarr"
        job = ExtractionJob(sampling=Sampling(frames=1, fps=4.0, stride_seconds=0.25), torch_threads=1)
        report = extract(requests[2:], job, place, encoder=encoder, scheduler=scheduler, workers=1)
        assert report.exit_status == 0, report.failed
        tokens[scheduler] = FeatureStore.open(place).video("video-2").read(0, 16)
    np.testing.assert_array_equal(tokens["serial"], tokens["inline"])
    np.testing.assert_array_equal(tokens["local"], tokens["inline"])


def test_an_encoder_made_in_a_script_needs_no_name(requests: list[VideoRequest], tmp_path: Path) -> None:
    report = extract(requests[2:], ExtractionJob(), tmp_path / "x.zarr", encoder=_own_encoder(), scheduler="inline")
    assert report.exit_status == 0
    assert FeatureStore.open(tmp_path / "x.zarr").recipe.encoder == "own"


def test_an_encoder_that_cannot_travel_is_one_line_with_the_way_out(
    requests: list[VideoRequest], tmp_path: Path
) -> None:
    library = ctypes.CDLL(None)

    def tokens(clips: torch.Tensor) -> torch.Tensor:
        library.getpid()
        return clips.mean(dim=(3, 4)).movedim(1, 2).unsqueeze(2)

    encoder = wrap(tokens, _own_encoder().spec)
    with pytest.raises(ConfigError, match="inline") as caught:
        extract(requests, ExtractionJob(), tmp_path / "x.zarr", encoder=encoder, scheduler="serial")
    assert "\n" not in str(caught.value)
    assert (
        extract(requests[2:], ExtractionJob(), tmp_path / "y.zarr", encoder=encoder, scheduler="inline").exit_status
        == 0
    )


def test_a_job_without_an_encoder_is_refused(requests: list[VideoRequest], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no encoder"):
        extract(requests, ExtractionJob(), tmp_path / "x.zarr")


@pytest.mark.parametrize(
    "settings",
    [
        {"scheduler": "serial", "workers": 2},
        {"scheduler": "serial", "interface": "lo"},
        {"scheduler": "inline", "dashboard": True},
        {"scheduler": "serial", "keys": Path("keys")},
        {"scheduler": "local", "slurm_options": {"account": "a"}},
        {"scheduler": "tcp://127.0.0.1:1", "interface": "lo"},
        {"scheduler": "tcp://127.0.0.1:1", "keys": Path("keys")},
    ],
    ids=lambda settings: ",".join(settings),
)
def test_a_setting_that_would_be_ignored_is_refused_by_name(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, settings: dict[str, object]
) -> None:
    *_, name = settings
    with pytest.raises(ConfigError, match=name) as caught:
        extract(requests, job, tmp_path / "x.zarr", **settings)
    assert "\n" not in str(caught.value)
