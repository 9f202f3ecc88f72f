"""Workers with other software than the coordinator's are noticed before they do anything."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from longvid.errors import ConfigError
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.versions import compare_versions

WRONG_ENCODER = "def build():\n    raise RuntimeError('another module of this name')\n"


@contextmanager
def cluster(folder: Path) -> Iterator[LocalCluster]:
    """A running scheduler with one worker, which finds the modules and packages of `folder` first."""
    options = {"dashboard_address": ":0", "scheduler_kwargs": {"dashboard": False}}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))  # a new process starts with the path of this one
        running = LocalCluster(n_workers=1, processes=True, threads_per_worker=1, **options)
    with running:
        yield running


def install(folder: Path, package: str, version: str) -> None:
    """What pip leaves of a package, as far as its version is asked for."""
    info = folder / f"{package}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def test_workers_with_another_longvid_are_refused_and_with_another_torch_are_told_of(
    requests: list[VideoRequest], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path / "there", "longvid", "0.0.9")
    install(tmp_path / "there", "torch", "1.0.0")
    with cluster(tmp_path / "there") as running:
        job = ExtractionJob("patch-statistics")
        with pytest.raises(ConfigError, match=r"longvid is \S+ here, but of 1 workers 1 have 0\.0\.9 .*; install the"):
            extract(requests, job, tmp_path / "x.zarr", scheduler=running.scheduler_address)
        (tmp_path / "there/longvid-0.0.9.dist-info/METADATA").unlink()
        (tmp_path / "there/longvid-0.0.9.dist-info").rmdir()
    with cluster(tmp_path / "there") as running, Client(running, set_as_default=False) as client:
        client.wait_for_workers(1)
        with caplog.at_level(logging.WARNING):
            compare_versions(client)
    assert "of 1 workers 1 have 1.0.0" in caplog.text
    assert "features may differ in their last digits" in caplog.text


def test_a_module_of_the_same_name_at_the_worker_is_not_taken_for_the_users_encoder(
    requests: list[VideoRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/encoder_of_that_name.py").write_text(WRONG_ENCODER)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/encoder_of_that_name.py").write_text(
        "from longvid.encoders import build_encoder\n\ndef build():\n    return build_encoder('patch-statistics')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    with cluster(tmp_path / "there") as running:
        job = ExtractionJob("encoder_of_that_name:build", torch_threads=1)
        report = extract(requests[:1], job, tmp_path / "x.zarr", scheduler=running.scheduler_address)
    assert report.exit_status == 0, report.failed
