"""Extraction of videos that lie elsewhere: the same features, or a named row; what it took is in the report."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from failing_proxy import FailingProxy
from file_server import FileServer

from longvid.errors import VideoNotFound
from longvid.pipelines import extraction as stage_one
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, expand_inputs
from longvid.stores import FeatureStore, verify
from longvid.video.storage import Storage

pytestmark = pytest.mark.faults

Bytes = Callable[[Path], dict[str, bytes]]

extract = partial(stage_one.extract, clips_per_shard=8)


@pytest.fixture
def alone(requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes: Bytes) -> dict[str, bytes]:
    """Every file of the store that the local videos make, but for what says when a file was written."""
    extract(requests, job, tmp_path / "alone.zarr", scheduler="inline")
    return features(tmp_path / "alone.zarr", file_bytes)


def features(store: Path, file_bytes: Bytes) -> dict[str, bytes]:
    """The store's files without the documents that record the source."""
    return {name: data for name, data in file_bytes(store).items() if not name.endswith("zarr.json")}


@pytest.fixture
def web(video_folder: Path, file_server: FileServer) -> FileServer:
    """The three videos on a web server, in `films/`."""
    shutil.copytree(video_folder, file_server.folder / "films")
    return file_server


def with_storage(job: ExtractionJob, **settings: Any) -> ExtractionJob:
    from dataclasses import replace

    return replace(job, storage=Storage(settings.pop("options", None), **settings))


def test_a_prefix_a_manifest_and_single_urls_name_the_same_videos_and_make_the_same_store(
    web: FileServer, job: ExtractionJob, alone: dict[str, bytes], tmp_path: Path, file_bytes: Bytes
) -> None:
    lines = [json.dumps({"key": f"video-{number}", "path": f"films/video-{number}.mp4"}) for number in range(3)]
    (web.folder / "list.jsonl").write_text("\n".join(lines))
    singles = [f"{web.url}/films/video-{number}.mp4" for number in range(3)]
    for number, inputs in enumerate(([f"{web.url}/films/"], [f"{web.url}/list.jsonl"], singles)):
        found = expand_inputs(inputs)
        assert [(request.key, request.path) for request in found] == [
            (f"video-{index}", url) for index, url in enumerate(singles)
        ]
        before = len(web.asked)
        report = extract(found, job, tmp_path / f"{number}.zarr", scheduler="inline")
        assert report.counts == {"done": 3}
        assert features(tmp_path / f"{number}.zarr", file_bytes) == alone
        sizes = sum((web.folder / "films" / f"video-{index}.mp4").stat().st_size for index in range(3))
        totals = report.to_dict()
        assert (totals["read_bytes"], totals["retries"]) == (sizes, 0)
        assert totals["requests"] == len(web.asked) - before


def test_a_rerun_over_complete_videos_asks_once_for_each_and_reads_nothing(
    web: FileServer, job: ExtractionJob, tmp_path: Path
) -> None:
    found = expand_inputs([f"{web.url}/films/"])
    extract(found, job, tmp_path / "x.zarr", scheduler="inline")
    before = len(web.asked)
    report = extract(found, job, tmp_path / "x.zarr", scheduler="inline")
    assert report.counts == {"kept": 3}
    assert [asked[0] for asked in web.asked[before:]] == ["HEAD"] * 3
    assert (report.to_dict()["requests"], report.to_dict()["read_bytes"]) == (3, 0)
    changed = bytearray((web.folder / "films/video-0.mp4").read_bytes())
    changed[-1] ^= 1
    (web.folder / "films/video-0.mp4").write_bytes(changed)
    report = extract(found, job, tmp_path / "x.zarr", scheduler="inline")
    assert sorted((row.key, row.status) for row in report.rows) == [
        *(("video-0", "failed"), ("video-1", "kept"), ("video-2", "kept"))
    ]
    assert "source" in report.failed[0].reason


def test_members_of_tar_shards_make_the_same_store(
    web: FileServer, video_folder: Path, job: ExtractionJob, alone: dict[str, bytes], tmp_path: Path, file_bytes: Bytes
) -> None:
    import tarfile

    for number, names in enumerate((["video-0.mp4", "video-2.mp4"], ["video-1.mp4"])):
        with tarfile.open(web.folder / f"shard-{number}.tar", "w") as tar:
            for name in names:
                tar.add(video_folder / name, name)
    (tmp_path / "list.csv").write_text(
        "key,path\n"
        + "".join(f"video-{i},tar://video-{i}.mp4::{web.url}/shard-{s}.tar\n" for i, s in ((0, 0), (1, 1), (2, 0)))
    )
    shards = [web.folder / "shard-0.tar", web.folder / "shard-1.tar"]
    for number, inputs in enumerate(
        (shards, [f"{web.url}/shard-0.tar", f"{web.url}/shard-1.tar"], [tmp_path / "list.csv"])
    ):
        report = extract(expand_inputs(inputs), job, tmp_path / f"{number}.zarr", scheduler="inline")
        assert report.counts == {"done": 3}
        assert features(tmp_path / f"{number}.zarr", file_bytes) == alone


def test_refused_missing_and_expired_videos_are_rows_without_secrets_and_the_others_go_on(
    web: FileServer, job: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> None:
    web.signature = "X-Amz-Signature=0123456789"
    links = {
        "good": f"{web.url}/films/video-0.mp4?X-Amz-Signature=0123456789",
        "expired": f"{web.url}/films/video-1.mp4?X-Amz-Signature=9876543210",
        "missing": f"{web.url}/films/none.mp4?X-Amz-Signature=0123456789",
    }
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps({"key": k, "path": url}) for k, url in links.items()))
    found = expand_inputs([tmp_path / "list.jsonl"])
    report = extract(found, job, tmp_path / "x.zarr", scheduler="serial", report_path=tmp_path / "report.jsonl")
    rows = {row.key: row for row in report.rows}
    assert {key: row.status for key, row in rows.items()} == {"good": "done", "expired": "failed", "missing": "failed"}
    assert "refused (HTTP 403, asked 2 times): its link may have expired" in rows["expired"].reason
    assert "no such file (HTTP 404, asked 2 times)" in rows["missing"].reason
    written = file_bytes(tmp_path / "x.zarr") | {"report": (tmp_path / "report.jsonl").read_bytes()}
    assert not [name for name, data in written.items() if b"X-Amz" in data or b"0123456789" in data]


@pytest.fixture
def s3(s3_endpoint: str, video_folder: Path) -> str:
    """A new prefix with the three videos in it."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "s3", endpoint_url=s3_endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    prefix = uuid.uuid4().hex
    for path in video_folder.glob("*.mp4"):
        client.upload_file(str(path), "longvid", f"{prefix}/films/{path.name}")
    return f"s3://longvid/{prefix}"


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[FailingProxy]:
    """A bad network before the emulator."""
    pytest.importorskip("s3fs")
    with FailingProxy(s3_endpoint, stall_seconds=1.0).running() as running:
        yield running


@pytest.mark.parametrize(
    ("scheduler", "seed"), [("inline", 0), ("serial", 1), pytest.param("local", 2, marks=pytest.mark.slow)]
)
def test_from_s3_into_s3_over_a_network_that_fails_all_is_done_and_nothing_is_wrong(
    scheduler: str,
    seed: int,
    s3: str,
    proxy: FailingProxy,
    job: ExtractionJob,
    requests: list[VideoRequest],
    tmp_path: Path,
) -> None:
    extract(requests, job, tmp_path / "alone.zarr", scheduler="inline")
    options = {
        "key": "key",
        "secret": "the-secret",
        "client_kwargs": {"endpoint_url": proxy.url, "region_name": "us-east-1"},
    }
    impatient = {"connect_timeout": 1, "read_timeout": 0.5}
    job = with_storage(
        job, options={"s3": options | {"config_kwargs": impatient | {"retries": {"max_attempts": 2}}}}, retries=8
    )
    proxy.seed(seed)
    proxy.share = 0.05
    found = expand_inputs([f"{s3}/films/"], job.storage)
    assert [request.key for request in found] == ["video-0", "video-1", "video-2"]
    report = extract(found, job, f"{s3}/x.zarr", scheduler=scheduler, report_path=tmp_path / "report.jsonl")
    proxy.share = 0.0
    assert sum(count for fault, count in proxy.happened.items() if fault) > 0
    assert report.counts == {"done": 3}, [row.reason for row in report.rows]
    totals = report.to_dict()
    assert totals["read_bytes"] >= sum(Path(request.path).stat().st_size for request in requests)
    assert totals["requests"] > totals["retries"]
    made = FeatureStore.open(f"{s3}/x.zarr", storage_options=options)
    local = FeatureStore.open(tmp_path / "alone.zarr")
    assert verify(made) == []
    for key in sorted(local.num_clips()):
        num_clips = local.video(key).num_clips
        assert made.video(key).read(0, num_clips).tobytes() == local.video(key).read(0, num_clips).tobytes()
        record = made.record(key)
        assert record is not None
        assert "the-secret" not in json.dumps(record.source)
    assert "the-secret" not in (tmp_path / "report.jsonl").read_text()


def test_shards_are_found_by_a_pattern_and_a_prefix_on_s3(
    s3: str, s3_options: dict[str, Any], video_folder: Path, tmp_path: Path
) -> None:
    import tarfile

    import fsspec

    storage = Storage({"s3": s3_options})
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(video_folder / "video-0.mp4", "in/shard.mp4")
    fsspec.filesystem("s3", **s3_options).put_file(str(tmp_path / "a.tar"), f"{s3}/films/a-0.tar")
    assert [one.key for one in expand_inputs([f"{s3}/films/*.tar"], storage)] == ["in/shard"]
    assert [one.key for one in expand_inputs([f"{s3}/films"], storage)] == ["video-0", "video-1", "video-2", "in/shard"]
    with pytest.raises(VideoNotFound, match="no video there"):
        expand_inputs([f"{s3}/other/"], storage)


def test_all_processes_of_a_machine_together_read_a_film_once(
    web: FileServer, job: ExtractionJob, requests: list[VideoRequest], tmp_path: Path, file_bytes: Bytes
) -> None:
    extract(requests, job, tmp_path / "alone.zarr", scheduler="inline", clips_per_shard=2)
    found = expand_inputs([f"{web.url}/films/"])
    report = extract(found, job, tmp_path / "x.zarr", scheduler="local", workers=2, clips_per_shard=2)
    assert report.counts == {"done": 3}
    assert features(tmp_path / "x.zarr", file_bytes) == features(tmp_path / "alone.zarr", file_bytes)
    size_bytes = sum(Path(request.path).stat().st_size for request in requests)
    sent = [asked for asked in web.asked if asked[2]]
    assert len(sent) == 3, "one request for each of these small files, whoever read them"
    assert report.to_dict()["read_bytes"] == size_bytes
    assert not list((tmp_path / "staging").rglob("*")), "what is complete is not kept"
