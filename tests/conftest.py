"""Fixtures shared by every room's tests."""

import os

# one thread a test process: two processes that share two cores otherwise wait for each other at barriers
os.environ.setdefault("OMP_NUM_THREADS", "1")
# parallel test processes are given a width; a console that is made with one keeps it for good
os.environ.pop("COLUMNS", None)

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer
from hypothesis import settings

# no test fails for the time it takes: machines are shared, and a first example may import a library
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def own_code_is_forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test imported from a folder of its own, and the folder: a later test has modules of the same name."""
    path, known = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    folders = f"{tmp_path_factory.getbasetemp()}{os.sep}"
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folders):
            del sys.modules[name]


@pytest.fixture(scope="session")
def unchecked() -> Callable[[str], str]:
    """Run code in a process of its own, where no hook checks types as it does here; gives the error it ends with."""

    def run(code: str) -> str:
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return result.stderr.strip().rpartition("\n")[2]

    return run


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 emulator in this process, with an empty bucket `longvid`."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3")
    emulator = server.ThreadedMotoServer(port=0, verbose=False)
    emulator.start()
    host, port = emulator.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket="longvid")
    yield endpoint
    emulator.stop()


@pytest.fixture
def s3_options(s3_endpoint: str) -> dict[str, Any]:
    """What fsspec needs to reach the emulator."""
    return {
        "key": "key",
        "secret": "secret",
        "client_kwargs": {"endpoint_url": s3_endpoint, "region_name": "us-east-1"},
    }


@pytest.fixture
def file_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A web server of an empty folder; what this machine keeps of its files is in a folder of the test."""
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("LONGVID_STAGING", str(tmp_path / "staging"))
    (tmp_path / "served").mkdir()
    with FileServer(tmp_path / "served").running() as running:
        yield running


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped where torch sees no CUDA device."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
