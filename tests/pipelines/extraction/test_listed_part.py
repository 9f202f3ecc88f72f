"""With `span="listed"` only the part of a video that the manifest lists is sampled, and stores stay on its clock."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longvid.clips.sampling import Sampling
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, expand_inputs, extract
from longvid.stores import FeatureStore
from longvid.tasks import Manifest, ManifestRow
from longvid.windows import WindowDataset, Windows

LISTED = Sampling(frames=1, fps=4.0, stride_seconds=0.25, span="listed")


@pytest.fixture
def part(requests: list[VideoRequest]) -> VideoRequest:
    """The first video, of which the seconds 1.5 to 4 are listed."""
    return replace(requests[0], start_seconds=1.5, end_seconds=4.0)


def seconds_of(place: Path, key: str = "video-0") -> np.ndarray:
    return FeatureStore.open(place).video(key).seconds


@pytest.mark.parametrize(
    ("sampling", "clips"),
    [(LISTED, 10), (Sampling(frames=8, fps=None, segments=5, span="listed"), 5)],
    ids=["dense", "segments of own frames"],
)
def test_the_clips_lie_within_the_part_on_the_videos_clock(part, job, tmp_path, sampling, clips):
    extract([part], replace(job, sampling=sampling), tmp_path / "x.zarr", scheduler="inline")
    seconds = seconds_of(tmp_path / "x.zarr")
    assert len(seconds) == clips
    assert seconds[0, 0] == pytest.approx(1.5, abs=0.05)
    assert (seconds >= 1.5 - 0.05).all()
    assert (seconds <= 4.0).all()


def test_the_part_holds_the_features_that_the_whole_video_has_there(part, job, tmp_path):
    extract([part], replace(job, sampling=LISTED), tmp_path / "part.zarr", scheduler="inline")
    extract([part], job, tmp_path / "whole.zarr", scheduler="inline")
    whole = FeatureStore.open(tmp_path / "whole.zarr").video("video-0")
    found = FeatureStore.open(tmp_path / "part.zarr").video("video-0")
    np.testing.assert_array_equal(found.read(0, 10), whole.read(6, 16))
    np.testing.assert_array_equal(found.seconds, whole.seconds[6:16])


def test_a_manifest_brings_its_parts_and_training_sees_all_their_clips(part, job, tmp_path):
    row = ManifestRow("video-0", path=part.path, start_seconds=1.5, end_seconds=4.0)
    Manifest((row,)).write(tmp_path / "m.jsonl")
    (request,) = expand_inputs([tmp_path / "m.jsonl"])
    assert request == part
    extract([request], replace(job, sampling=LISTED), tmp_path / "x.zarr", scheduler="inline")
    data = WindowDataset(FeatureStore.open(tmp_path / "x.zarr"), [row], Windows())
    assert data.span(0) == (0, 10)


def test_a_video_without_a_listed_part_is_sampled_whole(requests, job, tmp_path):
    extract(requests[:1], replace(job, sampling=LISTED), tmp_path / "x.zarr", scheduler="inline")
    assert len(seconds_of(tmp_path / "x.zarr")) == 24


def test_another_part_is_noticed_as_another_file_would_be(part, job, tmp_path):
    listed = replace(job, sampling=LISTED)
    extract([part], listed, tmp_path / "x.zarr", scheduler="inline")
    report = extract([replace(part, end_seconds=4.1)], listed, tmp_path / "x.zarr", scheduler="inline")
    assert [row.status for row in report.rows] == ["failed"]
    assert "listed_seconds" in str(report.rows[0].reason)


def test_a_part_beyond_the_end_is_a_named_failure(part, job, tmp_path):
    beyond = replace(part, start_seconds=60.0, end_seconds=70.0)
    report = extract([beyond], replace(job, sampling=LISTED), tmp_path / "x.zarr", scheduler="inline")
    assert "holds nothing of the part that the manifest lists, 60.0 to 70.0 s" in str(report.rows[0].reason)


def test_a_recipe_of_whole_videos_says_nothing_of_parts(job: ExtractionJob):
    assert job.sampling is not None
    assert "span" not in job.sampling.to_dict()
    assert Sampling.from_dict(LISTED.to_dict()) == LISTED
