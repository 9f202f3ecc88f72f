"""How much of a film several worker processes read together, from a disk and from an object store.

`pytest -m slow tests/pipelines/extraction/test_bytes_of_a_film.py` prints the numbers. That all processes of a machine
together read a small film at a URL once is in `test_remote_videos.py`.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from longvid.clips.sampling import Sampling
from longvid.pipelines.bench.extract import make_video
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.stores import FeatureStore
from longvid.video.storage import Storage

MOST_LOCAL, MOST_ELSEWHERE = 2.2, 1.2
"""Times the size of the film. A disk is read once to measure it and once, in pieces, to decode it; from a place
elsewhere each block comes once to a machine, which stages it. A piece also reads from the last keyframe before it, ten
seconds at most in this film: with pieces of 128 s, as here, 2.0; with pieces of 32 s (clips every 0.5 s), 2.24."""

film = partial(make_video, seed=0, height=90, width=160)


@pytest.fixture
def job() -> ExtractionJob:
    options = {"size": 32, "dim": 16}
    sampling = Sampling(frames=4, fps=4.0, stride_seconds=2.0)
    return ExtractionJob("patch-statistics", encoder_options=options, sampling=sampling, torch_threads=1)


@pytest.mark.slow  # a minute with two workers, and several with eight
@pytest.mark.parametrize(("workers", "minutes"), [(2, 8), (8, 16)], ids=["two", "eight"])
def test_a_film_is_read_by_all_workers_together_little_more_than_twice_from_a_disk_and_once_from_s3(
    workers: int,
    minutes: int,
    job: ExtractionJob,
    s3_endpoint: str,
    s3_options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    monkeypatch.setenv("LONGVID_STAGING", str(tmp_path / "staging"))
    path = film(tmp_path / "film.mp4", seconds=60 * minutes)
    place = f"longvid/{tmp_path.name}-{workers}.mp4"
    fsspec.filesystem("s3", **s3_options).put_file(str(path), place)
    size_bytes = path.stat().st_size
    there = replace(job, storage=Storage({"s3": s3_options}))
    times = {}
    for name, source, own in (("local", str(path), job), ("s3", f"s3://{place}", there)):
        request = VideoRequest("film", source)
        report = extract([request], own, tmp_path / f"{name}.zarr", scheduler="local", workers=workers)
        assert report.counts == {"done": 1}, report.rows[0].reason
        times[name] = report.to_dict()["read_bytes"] / size_bytes
    with capsys.disabled():
        print(
            f"\n{size_bytes / 1e6:.1f} MB, {workers} workers: read {times['local']:.2f} x local, {times['s3']:.2f} x S3"
        )
    assert 1.9 < times["local"] <= MOST_LOCAL
    assert 1.0 <= times["s3"] <= MOST_ELSEWHERE
    num_clips = 30 * minutes
    stored = [FeatureStore.open(tmp_path / f"{name}.zarr").video("film").read(0, num_clips) for name in times]
    assert stored[0].tobytes() == stored[1].tobytes()
