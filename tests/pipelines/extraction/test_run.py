"""Extraction on real files: what is done is kept, what fails is named, and a rerun makes the same bytes."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from rounding import rounding

from longvid.clips.sampling import Sampling
from longvid.encoders import build_encoder, pool
from longvid.pipelines import extraction as stage_one
from longvid.pipelines.extraction import ExtractionJob, VideoRequest
from longvid.pipelines.extraction.coordinating import Silent
from longvid.pipelines.extraction.plan import VideoPlan
from longvid.pipelines.extraction.report import VideoRow
from longvid.stores import FeatureStore, RecipeMismatch, StoreAccessError
from longvid.video import iter_frames, probe
from longvid.video.probing import FINGERPRINT_BLOCK_BYTES as BLOCK
from longvid.video.probing import fingerprint

HALF = rounding(np.float16, terms=2)
"""Features are stored in float16."""

Bytes = Callable[[Path], dict[str, bytes]]

extract = partial(stage_one.extract, scheduler="inline")
"""What is stored and reported is the same in every process; this one starts at once."""


def test_the_store_holds_what_encoding_frame_by_frame_gives(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    import torch

    extract(requests, job, tmp_path / "x.zarr", clips_per_shard=8)
    store = FeatureStore.open(tmp_path / "x.zarr")
    assert store.keys() == ["video-0", "video-1", "video-2"]
    encoder = build_encoder("patch-statistics")
    assert job.sampling is not None
    for request in requests:
        video = probe(request.path)
        plan = job.sampling.plan_video(video)
        size = encoder.spec.preprocessing
        times = plan.frame_seconds.ravel()
        tall, wide = size.resized(video.height, video.width)
        rows, columns = size.crop(tall, wide)
        expected = []
        for frame in iter_frames(request.path, times, height=tall, width=wide, interpolation=size.interpolation):
            clip = size.normalise(torch.from_numpy(frame[rows, columns].copy())[None, None])
            expected.append(pool(encoder(clip), encoder.spec.default_pooling)[0].numpy())
        stored = store.video(request.key)
        np.testing.assert_allclose(stored.read(0, stored.num_clips), np.stack(expected), rtol=HALF, atol=HALF)
        np.testing.assert_array_equal(stored.seconds, plan.seconds)


def test_a_second_run_encodes_nothing_and_changes_no_byte(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> None:
    store = tmp_path / "x.zarr"
    first = extract(requests, job, store, clips_per_shard=8)
    before = file_bytes(store)
    second = extract(requests, job, store, clips_per_shard=8)
    assert first.num_clips > 0
    assert second.num_clips == 0
    assert [row.status for row in second.rows] == ["kept"] * 3
    assert file_bytes(store) == before


def test_an_interrupted_run_goes_on_with_what_is_missing_and_ends_in_the_same_bytes(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> None:
    whole = extract(requests, job, tmp_path / "whole.zarr", clips_per_shard=8)

    class Interrupt(Silent):
        def encoded(self, *, clips: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(requests, job, tmp_path / "cut.zarr", clips_per_shard=8, progress=Interrupt())
    assert FeatureStore.open(tmp_path / "cut.zarr").keys() != [r.key for r in requests]
    rest = extract(requests, job, tmp_path / "cut.zarr", clips_per_shard=8)
    assert 0 < rest.num_clips < whole.num_clips
    assert file_bytes(tmp_path / "cut.zarr") == file_bytes(tmp_path / "whole.zarr")


def test_the_bytes_do_not_depend_on_the_batch_order_of_videos(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> None:
    extract(requests, job, tmp_path / "a.zarr", clips_per_shard=8)
    extract(requests[::-1], job, tmp_path / "b.zarr", clips_per_shard=8)
    assert file_bytes(tmp_path / "a.zarr") == file_bytes(tmp_path / "b.zarr")


def test_a_video_that_cannot_be_read_is_named_and_the_others_go_on(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "empty.mp4").touch()
    cut = tmp_path / "cut.mp4"
    whole = Path(requests[1].path).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    bad = [VideoRequest(p.stem, str(p)) for p in (tmp_path / "text.mp4", tmp_path / "empty.mp4", cut)]
    bad.append(VideoRequest("absent", str(tmp_path / "absent.mp4")))
    report_path = tmp_path / "report.jsonl"
    report = extract([*bad, *requests], job, tmp_path / "x.zarr", clips_per_shard=8, report_path=report_path)
    assert report.exit_status == 3
    assert {row.key for row in report.failed} == {"text", "empty", "cut", "absent"}
    assert all(row.key in row.reason and "\n" not in row.reason for row in report.failed)
    assert FeatureStore.open(tmp_path / "x.zarr").keys() == ["video-0", "video-1", "video-2"]
    rows = [json.loads(line) for line in report_path.read_text().splitlines()]
    assert sorted(row["status"] for row in rows) == ["done"] * 3 + ["failed"] * 4


def test_a_store_of_another_recipe_is_refused_and_left_as_it_was(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> None:
    extract(requests[:1], job, tmp_path / "x.zarr")
    before = file_bytes(tmp_path / "x.zarr")
    other = replace(job, sampling=Sampling(frames=1, fps=2.0, stride_seconds=0.5))
    with pytest.raises(RecipeMismatch, match="sampling"):
        extract(requests, other, tmp_path / "x.zarr")
    assert file_bytes(tmp_path / "x.zarr") == before


def test_a_replaced_file_is_noticed(requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(Path(requests[0].path).read_bytes())
    extract([VideoRequest("video", str(path))], job, tmp_path / "x.zarr")
    path.write_bytes(Path(requests[1].path).read_bytes())
    report = extract([VideoRequest("video", str(path))], job, tmp_path / "x.zarr")
    assert [row.status for row in report.rows] == ["failed"]
    assert "video" in report.rows[0].reason


def _hidden_change(path: Path) -> None:
    """Change bytes of the pictures that the fingerprint does not look at; the file's size and its index stay."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        positions = [p.pos + p.size // 2 for p in container.demux(video=0) if p.size and p.pos]
    blocks = [(0, BLOCK), ((len(data) - BLOCK) // 2, (len(data) + BLOCK) // 2), (len(data) - BLOCK, len(data))]
    hidden = [p for p in positions if not any(start <= p < stop for start, stop in blocks)]
    assert hidden, "every picture lies in the fingerprint"
    data[hidden[0]] ^= 0xFF
    path.write_bytes(data)


def _store_of(path: Path, job: ExtractionJob, store: Path) -> VideoRow:
    (row,) = extract([VideoRequest("video", str(path))], job, store).rows
    return row


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    """A file that is longer than its fingerprint looks at: noise compresses badly."""
    path = tmp_path / "noise.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 20_000_000
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    assert path.stat().st_size > 4 * BLOCK
    return path


@pytest.mark.parametrize("full_hash", [False, True])
def test_a_change_that_the_fingerprint_does_not_see_is_noticed(full_hash, long_file, job, tmp_path) -> None:
    job = replace(job, full_hash=full_hash)
    assert _store_of(long_file, job, tmp_path / "x.zarr").status == "done"
    before = fingerprint(long_file)
    _hidden_change(long_file)
    assert fingerprint(long_file) == before
    row = _store_of(long_file, job, tmp_path / "x.zarr")
    assert row.status == "failed"
    assert f"source.checks.{'sha256' if full_hash else 'packets_crc32c'}" in row.reason


def test_a_file_that_was_only_touched_or_copied_is_kept(requests, job, tmp_path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(Path(requests[0].path).read_bytes())
    assert _store_of(path, job, tmp_path / "x.zarr").status == "done"
    os.utime(path, (1, 1))
    assert _store_of(path, job, tmp_path / "x.zarr").status == "kept"
    assert _store_of(path, replace(job, full_hash=True), tmp_path / "x.zarr").status == "kept"


def test_another_word_for_a_problem_leaves_a_video_complete(requests, job, tmp_path, monkeypatch) -> None:
    first = extract(requests, job, tmp_path / "x.zarr")
    words = VideoPlan.source

    def reworded(plan: VideoPlan) -> dict[str, Any]:
        source = words(plan)
        return source | {"about": source["about"] | {"problems": ["in other words"], "backend": "another"}}

    monkeypatch.setattr(VideoPlan, "source", reworded)
    second = extract(requests, job, tmp_path / "x.zarr")
    assert [row.status for row in first.rows] == ["done"] * 3
    assert [row.status for row in second.rows] == ["kept"] * 3


def test_a_video_that_version_0_1_0_planned_is_kept(requests, job, tmp_path) -> None:
    """It had in the source itself what now stands in its `about`."""
    extract(requests, job, tmp_path / "x.zarr")
    store = FeatureStore.open(tmp_path / "x.zarr", mode="a")
    for request in requests:
        record = store.record(request.key)
        assert record is not None
        about = {name: value for name, value in record.source["about"].items() if name != "modified"}
        old = {name: value for name, value in record.source.items() if name not in ("about", "checks")} | about
        store._put_record(replace(record, source=old | {"problems": ["said otherwise then"]}, digests_sha256=""))
    assert [row.status for row in extract(requests, job, tmp_path / "x.zarr").rows] == ["kept"] * 3


def test_a_place_that_cannot_be_written_ends_the_run_with_one_line(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreAccessError, match="file"):
        extract(requests, job, tmp_path / "file" / "x.zarr")


def test_progress_counts_every_clip_once(requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path) -> None:
    class Count(Silent):
        total = done = 0
        rows: list[VideoRow] = []  # noqa: RUF012

        def planned(self, *, clips: int) -> None:
            self.total += clips

        def encoded(self, *, clips: int) -> None:
            self.done += clips

        def ended(self, row: VideoRow) -> None:
            self.rows.append(row)

    count = Count()
    report = extract(requests, job, tmp_path / "x.zarr", clips_per_shard=8, progress=count)
    assert count.total == count.done == report.num_clips
    assert len(count.rows) == 3
