"""Extraction over real clusters of processes."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from longvid.errors import ConfigError
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, dask_executor, extract
from longvid.pipelines.extraction.cluster import ClusterSettings, connect
from longvid.pipelines.extraction.deadlines import DeadlineWatch, watch_deadlines
from longvid.stores import FeatureStore

Bytes = Callable[[Path], dict[str, bytes]]


def test_two_workers_make_the_bytes_that_one_process_makes(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> None:
    extract(requests, job, tmp_path / "serial.zarr", clips_per_shard=8)
    report = extract(requests, job, tmp_path / "dask.zarr", clips_per_shard=8, scheduler="local", workers=2)
    assert report.workers == 2
    assert report.exit_status == 0
    assert file_bytes(tmp_path / "dask.zarr") == file_bytes(tmp_path / "serial.zarr")


def test_a_running_scheduler_is_used_and_left_running_without_an_encoder(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
    ) as cluster:
        for name in ("first", "second"):
            store = tmp_path / f"{name}.zarr"
            assert extract(requests, job, store, scheduler=cluster.scheduler_address).exit_status == 0
        with Client(cluster, set_as_default=False) as client:
            assert len(client.scheduler_info()["workers"]) == 1
            held = client.run(lambda dask_worker: [name for name in dask_worker.plugins if name.startswith("longvid")])
            assert list(held.values()) == [[]]


def test_a_cluster_starts_beside_another_without_a_word() -> None:
    with connect("local", ClusterSettings(workers=1)) as first, connect("local", ClusterSettings(workers=1)) as second:
        assert first.scheduler.address != second.scheduler.address


def test_who_waits_for_a_first_worker_is_told_so_and_served_when_it_comes(
    requests: list[VideoRequest],
    job: ExtractionJob,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_executor, "PATIENCE_SECONDS", 0.2)
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address=":0") as cluster,
        ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(extract, requests, job, tmp_path / "x.zarr", scheduler=cluster.scheduler_address)
        while not running.done() and "no worker has joined tcp://" not in caplog.text:
            time.sleep(0.05)
        assert not running.done(), "extraction ended without a worker, or without a word about waiting for one"
        cluster.scale(1)
        assert running.result().exit_status == 0


def test_two_runs_of_one_job_on_one_cluster_write_each_into_its_own_store(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> None:
    places = [tmp_path / "first.zarr", tmp_path / "second.zarr"]
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=True,
            dashboard_address=":0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        ThreadPoolExecutor(2) as pool,
    ):
        runs = [
            pool.submit(extract, requests, job, place, clips_per_shard=4, scheduler=cluster.scheduler_address)
            for place in places
        ]
        assert [run.result().exit_status for run in runs] == [0, 0]
    assert file_bytes(places[0]) == file_bytes(places[1])


def test_a_piece_s_time_begins_when_a_worker_has_it(tmp_path: Path) -> None:
    with (
        LocalCluster(
            n_workers=0, processes=False, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        watch_deadlines(client, 0.5) as deadline,
    ):
        future = client.submit(str, 1)
        deadline.watch([future])
        time.sleep(1.5)
        assert future.status == "pending"
        cluster.scale(1)
        assert future.result(timeout=60) == "1"
        assert deadline.ended([future]) == set()


def test_a_look_at_the_deadlines_that_fails_is_told_once_and_the_next_one_is_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[float] = []

    def fail(_: DeadlineWatch) -> None:
        looks.append(time.monotonic())
        raise KeyError("an answer that is not understood")

    monkeypatch.setattr(DeadlineWatch, "check", fail)
    quiet = {"dashboard_address": ":0", "scheduler_kwargs": {"dashboard": False}}
    with (
        LocalCluster(n_workers=0, processes=False, **quiet) as cluster,
        Client(cluster, set_as_default=False) as client,
        watch_deadlines(client, 0.2),
    ):
        begun = time.monotonic()
        while len(looks) < 3:
            assert time.monotonic() - begun < 30, "the watch has ended"
            time.sleep(0.05)
    assert caplog.text.count("deadlines could not be checked") == 1


@pytest.mark.usefixtures("poison_on_path")
def test_a_video_that_kills_its_worker_is_the_only_one_lost(
    requests: list[VideoRequest], white_video: VideoRequest, tmp_path: Path
) -> None:
    job = ExtractionJob("poison:build_killer", torch_threads=1)
    report = extract(
        [white_video, *requests], job, tmp_path / "x.zarr", scheduler="local", workers=2, clips_per_shard=8
    )
    assert [row.key for row in report.failed] == ["white"]
    assert "killed" in report.failed[0].reason
    assert FeatureStore.open(tmp_path / "x.zarr").keys() == ["video-0", "video-1", "video-2"]


@pytest.mark.usefixtures("poison_on_path")
def test_a_video_that_never_ends_is_given_up_at_its_deadline(
    requests: list[VideoRequest], white_video: VideoRequest, tmp_path: Path
) -> None:
    job = ExtractionJob("poison:build_sleeper", torch_threads=1)
    report = extract(
        [white_video, *requests], job, tmp_path / "x.zarr", scheduler="local", workers=2, deadline_seconds=15.0
    )
    assert [row.key for row in report.failed] == ["white"]
    assert "15 s" in report.failed[0].reason
    assert len(FeatureStore.open(tmp_path / "x.zarr").keys()) == 3


@pytest.mark.usefixtures("poison_on_path")
@pytest.mark.parametrize("scheduler", ["serial", "local"])
def test_an_encoder_that_raises_fails_that_video_with_its_own_words(
    requests: list[VideoRequest], white_video: VideoRequest, tmp_path: Path, scheduler: str
) -> None:
    job = ExtractionJob("poison:build_raiser", torch_threads=1)
    report = extract([white_video, *requests], job, tmp_path / "x.zarr", scheduler=scheduler, workers=1)
    assert [row.key for row in report.failed] == ["white"]
    assert "OutOfMemoryError: pretended" in report.failed[0].reason


def test_an_encoder_given_as_a_function_travels_to_the_workers(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    def build():
        from longvid.encoders import build_encoder

        return build_encoder("patch-statistics")

    own = replace(job, encoder=build)
    assert extract(requests, own, tmp_path / "x.zarr", scheduler="local", workers=1).exit_status == 0


@pytest.mark.parametrize("scheduler", ["nonsense", "tcp://127.0.0.1:1"])
def test_a_scheduler_that_is_not_there_is_one_clear_line(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, scheduler: str
) -> None:
    with pytest.raises(ConfigError, match=scheduler) as caught:
        extract(requests, job, tmp_path / "x.zarr", scheduler=scheduler)
    assert "\n" not in str(caught.value)
