"""A rerun over a store that is complete reads of each file what its fingerprint needs, and no more."""

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from longvid.pipelines.cli import main
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract, measuring
from longvid.pipelines.extraction.unchanged import Remembered
from longvid.stores import FeatureStore
from longvid.video.probing import FINGERPRINT_BLOCK_BYTES as BLOCK

ASK = {"scheduler": "inline"}


def bytes_read() -> int:
    """By this process so far, from files and pipes."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


@pytest.fixture
def asked(requests: list[VideoRequest], tmp_path: Path) -> VideoRequest:
    """A video that is much longer than its fingerprint looks at: a film's worth of nothing stands behind it."""
    path = tmp_path / "video.mp4"
    shutil.copy(requests[0].path, path)
    with path.open("ab") as file:
        # a box of 8 MiB that players pass over; the demux pass reads the index before it, and its header
        size = 8 * 2**20
        file.write(size.to_bytes(4, "big") + b"free" + os.urandom(size - 8))
    return VideoRequest("video", str(path))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read through."""
    through: list[str] = []
    probe_once = measuring.probe_once

    def noting(path: str, *storage: Any) -> Any:
        through.append(path)
        return probe_once(path, *storage)

    monkeypatch.setattr(measuring, "probe_once", noting)
    return through


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux counts what a process reads")
def test_a_complete_video_costs_its_fingerprint_and_with_full_hash_all_of_it(asked, job, tmp_path) -> None:
    size = Path(asked.path).stat().st_size
    (first,) = extract([asked], replace(job, full_hash=True), tmp_path / "x.zarr", **ASK).rows
    assert first.status == "done"
    extract([asked], job, tmp_path / "x.zarr", **ASK)  # what is imported and listed once is read once
    before = bytes_read()
    (again,) = extract([asked], job, tmp_path / "x.zarr", **ASK).rows
    assert bytes_read() - before < 3 * BLOCK + 500_000 < size
    assert again.status == "kept"
    assert (again.video_seconds, again.backend) == (pytest.approx(first.video_seconds), first.backend)
    assert again.problems == first.problems
    before = bytes_read()
    assert extract([asked], replace(job, full_hash=True), tmp_path / "x.zarr", **ASK).rows[0].status == "kept"
    assert bytes_read() - before > size


def test_a_file_that_is_the_same_by_time_size_and_fingerprint_is_not_read_through(asked, job, tmp_path, passes) -> None:
    extract([asked], job, tmp_path / "x.zarr", **ASK)
    assert passes == [asked.path]
    assert extract([asked], job, tmp_path / "x.zarr", **ASK).rows[0].status == "kept"
    assert passes == [asked.path]
    os.utime(asked.path, (1, 1))
    assert extract([asked], job, tmp_path / "x.zarr", **ASK).rows[0].status == "kept"
    assert passes == [asked.path] * 2, "a file of another time is compared whole"


def test_a_change_in_the_middle_is_noticed_by_its_time_and_behind_a_forged_time_by_full_hash(
    asked, job, tmp_path
) -> None:
    extract([asked], replace(job, full_hash=True), tmp_path / "x.zarr", **ASK)
    path = Path(asked.path)
    written = path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[2 * 2**20] ^= 1  # far from the first, middle and last block
    path.write_bytes(data)
    (row,) = extract([asked], replace(job, full_hash=True), tmp_path / "x.zarr", **ASK).rows
    assert "source.checks.sha256" in row.reason
    os.utime(path, ns=(written, written))
    assert extract([asked], job, tmp_path / "x.zarr", **ASK).rows[0].status == "kept"
    (row,) = extract([asked], replace(job, full_hash=True), tmp_path / "x.zarr", **ASK).rows
    assert (row.status, "source.checks.sha256" in row.reason) == ("failed", True)


def test_a_file_that_is_gone_or_replaced_is_named_though_its_features_are_complete(
    asked, requests, job, tmp_path
) -> None:
    extract([asked], job, tmp_path / "x.zarr", **ASK)
    shutil.copy(requests[1].path, asked.path)
    (row,) = extract([asked], job, tmp_path / "x.zarr", **ASK).rows
    assert "was planned from something else" in row.reason
    Path(asked.path).unlink()
    (row,) = extract([asked], job, tmp_path / "x.zarr", **ASK).rows
    assert "no such file" in row.reason


def test_a_complete_video_that_lost_a_shard_fails_by_name_and_is_made_again_as_its_row_says(
    asked, job, tmp_path
) -> None:
    extract([asked], job, tmp_path / "x.zarr", clips_per_shard=8, **ASK)
    shards = sorted((tmp_path / "x.zarr" / "videos" / "video" / "tokens").glob("c.*"))
    before = shards[0].read_bytes()
    shards[0].unlink()
    (row,) = extract([asked], job, tmp_path / "x.zarr", clips_per_shard=8, **ASK).rows
    assert row.status == "failed", "nothing is written into a complete video"
    (told,) = re.findall("`longvid (.*?)`", row.reason)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(told))
    assert ended.value.code == 0
    assert extract([asked], job, tmp_path / "x.zarr", clips_per_shard=8, **ASK).rows[0].status == "done"
    assert shards[0].read_bytes() == before
    assert extract([asked], job, tmp_path / "x.zarr", clips_per_shard=8, **ASK).rows[0].status == "kept"


def test_another_listed_part_is_planned_and_refused(asked, job, tmp_path) -> None:
    job = replace(job, sampling=replace(job.sampling, span="listed"))
    part = replace(asked, start_seconds=0.5, end_seconds=2.0)
    extract([part], job, tmp_path / "x.zarr", **ASK)
    assert extract([part], job, tmp_path / "x.zarr", **ASK).rows[0].status == "kept"
    (row,) = extract([replace(part, end_seconds=2.5)], job, tmp_path / "x.zarr", **ASK).rows
    assert "listed_seconds" in row.reason


def test_a_truncated_file_is_kept_only_with_the_option_that_took_it(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mkv"
    with av.open(requests[1].path) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    asked = [VideoRequest("cut", str(cut))]
    allowed = replace(job, allow_truncated=True)
    assert extract(asked, allowed, tmp_path / "x.zarr", **ASK).rows[0].status == "done"
    assert "--allow-truncated" in extract(asked, job, tmp_path / "x.zarr", **ASK).failed[0].reason
    assert extract(asked, allowed, tmp_path / "x.zarr", **ASK).rows[0].status == "kept"


@pytest.mark.parametrize(
    ("name", "value"),
    [("modified", {}), ("modified", [1]), ("begin_seconds", "x"), ("end_seconds", None), ("backend", 1), ("whole", 1)],
)
def test_what_a_store_says_in_another_form_is_not_believed(asked, job, tmp_path, name, value, passes) -> None:
    extract([asked], job, tmp_path / "x.zarr", **ASK)
    store = FeatureStore.open(tmp_path / "x.zarr", mode="a")
    record = store.record("video")
    assert record is not None
    assert Remembered.of(record.source, part_seconds=None) is not None
    source = json.loads(json.dumps(record.source))
    source["about"][name] = value
    store._put_record(replace(record, source=source))
    assert extract([asked], job, tmp_path / "x.zarr", **ASK).rows[0].status == "kept"
    assert len(passes) == 2
