"""What the extraction bench measures with."""

from pathlib import Path

import pytest

from longvid.pipelines.bench.extract import SAMPLING, make_video, save_small_vit
from longvid.pipelines.bench.measure import interleaved_times
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.video import probe


def test_its_encoder_is_made_and_used_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    video = make_video(tmp_path / "video.mp4", seconds=2, seed=0, height=64, width=64)
    job = ExtractionJob(str(save_small_vit(tmp_path / "vit")), sampling=SAMPLING, pooling="tokens", torch_threads=1)
    report = extract([VideoRequest("video", str(video))], job, tmp_path / "x.zarr")
    assert report.num_clips == len(SAMPLING.plan_video(probe(video)))
    assert capfd.readouterr() == ("", "")


def test_each_candidate_is_timed_by_both_clocks() -> None:
    took = interleaved_times({"idle": lambda: None, "busy": lambda: sum(range(300_000))}, rounds=2)
    assert took["idle"].processor_seconds < took["busy"].processor_seconds
    assert took["idle"].wall_seconds < took["busy"].wall_seconds
