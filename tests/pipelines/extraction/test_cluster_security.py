"""Who can reach the processes of a run: what they listen on, and who is let in."""

import json
import os
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import psutil
import pytest
from distributed import Client

from longvid.errors import ConfigError
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.cluster import ClusterSettings, connect
from longvid.pipelines.extraction.coordinating import Silent
from longvid.pipelines.extraction.keys import make_keys, read_keys, temporary_keys
from longvid.stores import FeatureStore


def listening(process: psutil.Process) -> dict[int, list[str]]:
    """Addresses that a process and all those below it accept connections on, by process."""
    found = {}
    for one in [process, *process.children(recursive=True)]:
        addresses = [c.laddr.ip for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        found[one.pid] = addresses
    return found


class Look(Silent):
    """Looks at the sockets while pieces are under way."""

    def __init__(self) -> None:
        self.seen: dict[int, list[str]] = {}
        self.children = 0

    def encoded(self, *, clips: int) -> None:
        self.seen = listening(psutil.Process())
        self.children = len(psutil.Process().children(recursive=True))


@pytest.mark.parametrize("scheduler", ["serial", "local", "cuda"])
def test_a_run_listens_on_nothing_but_the_loopback(
    requests: list[VideoRequest],
    job: ExtractionJob,
    tmp_path: Path,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the processes for a GPU start, and find none
    before = listening(psutil.Process())[os.getpid()]
    look = Look()
    cpu = ExtractionJob(job.encoder, sampling=job.sampling, device="cpu", torch_threads=1)
    workers = 1 if scheduler == "serial" else 2
    report = extract(requests, cpu, tmp_path / "x.zarr", scheduler=scheduler, workers=workers, progress=look)
    assert report.exit_status == 0
    addresses = [address for found in look.seen.values() for address in found]
    for address in before:
        addresses.remove(address)
    assert look.children >= 1
    if scheduler == "serial":
        assert addresses == []
    else:
        # the scheduler, two nannies and two workers; a status page would be one more
        assert addresses == ["127.0.0.1"] * 5


def test_a_second_client_is_let_in_by_the_run_s_keys_only(tmp_path: Path) -> None:
    with connect("local", ClusterSettings(workers=1)) as client:
        address = client.scheduler_info()["address"]
        worker = next(iter(client.scheduler_info()["workers"]))
        assert address.startswith("tls://127.0.0.1:")
        assert worker.startswith("tls://127.0.0.1:")
        assert client.submit(os.getpid).result(timeout=60) != os.getpid()
        strangers = {"no keys": None, "other keys": temporary_keys().security()}
        for security in strangers.values():
            for place in (address, address.replace("tls://", "tcp://")):
                with pytest.raises((OSError, RuntimeError, TypeError)):
                    Client(place, timeout="3s", set_as_default=False, security=security)

        for place in (address, worker):
            assert greeted_without_a_certificate(place) == b"", "an answer means that it was let in"


def greeted_without_a_certificate(place: str) -> bytes:
    """What a process at a tls:// address answers to somebody who shows no certificate."""
    host, _, port = place.removeprefix("tls://").rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, int(port)), timeout=10) as plain, context.wrap_socket(plain) as secure:
            return secure.recv(1000)
    except ssl.SSLError:  # its refusal
        return b""


def test_the_status_page_is_served_on_the_loopback_where_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    others = Counter(
        chain.from_iterable(listening(psutil.Process()).values())
    )  # servers of other tests in this process
    with connect("local", ClusterSettings(workers=1, dashboard=True)):
        (line,) = [record.getMessage() for record in caplog.records if "status page" in record.getMessage()]
        assert "http://127.0.0.1:" in line
        opened = Counter(chain.from_iterable(listening(psutil.Process()).values())) - others
        assert opened.keys() == {"127.0.0.1"}


def test_an_interface_is_listened_on_by_its_name_and_an_unknown_one_is_refused_with_those_there_are() -> None:
    name = next(n for n, found in psutil.net_if_addrs().items() if any(a.address == "127.0.0.1" for a in found))
    with connect("local", ClusterSettings(workers=1, interface=name)) as client:
        assert client.scheduler_info()["address"].startswith("tls://127.0.0.1:")
    with (
        pytest.raises(ConfigError, match=f"interface='nonsense'.*{name}"),
        connect("local", ClusterSettings(interface="nonsense")),
    ):
        pass


def test_keys_are_readable_by_their_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys")
    assert stat.S_IMODE(os.stat(keys.key).st_mode) == 0o600
    assert read_keys(tmp_path / "keys") == keys
    with pytest.raises(ConfigError, match="there are keys already"):
        make_keys(tmp_path / "keys")
    os.chmod(keys.key, 0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_keys(tmp_path / "keys")
    subprocess.run(shlex.split(f"chmod 600 {keys.key}"), check=True)  # as the message says
    assert read_keys(tmp_path / "keys") == keys
    with pytest.raises(ConfigError, match="longvid cluster-keys"):
        read_keys(tmp_path / "nowhere")


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended with the block."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def test_the_commands_that_cluster_keys_prints_make_a_cluster_that_only_its_keys_open(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "longvid.pipelines.cli", "cluster-keys", tmp_path / "keys"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = made.stdout.splitlines()
    told = [shlex.split(line.partition(":")[2]) for line in lines[2:4]]
    dask = {name: [sys.executable, "-m", f"distributed.cli.dask_{name}"] for name in ("scheduler", "worker")}
    said = tmp_path / "scheduler.json"
    places = {"tls://HOST": "tls://127.0.0.1", "127.0.0.1:8787": "127.0.0.1:0"}
    ports = ["--port", "0", "--scheduler-file", str(said)]
    with running([*dask["scheduler"], *(places.get(word, word) for word in told[0][2:]), *ports]) as scheduler:
        wait_for(said.exists)
        address = json.loads(said.read_text())["address"]
        assert address.startswith("tls://127.0.0.1:")
        there = {"tls://HOST:8786": address, "NODE": "127.0.0.1"}
        with running([*dask["worker"], *(there.get(word, word) for word in told[1][2:])]) as worker:
            report = extract(
                requests, job, tmp_path / "x.zarr", scheduler=address, keys=tmp_path / "keys", deadline_seconds=120.0
            )
            assert report.exit_status == 0
            assert len(FeatureStore.open(tmp_path / "x.zarr").keys()) == 3
            for process in (scheduler, worker):
                found = listening(psutil.Process(process.pid))
                assert {place for places in found.values() for place in places} == {"127.0.0.1"}
            for keys, words in ((None, "--keys"), (tmp_path / "others", "other keys")):
                if keys is not None:
                    make_keys(keys)
                with pytest.raises(ConfigError, match=words) as refused:
                    extract(requests, job, tmp_path / "y.zarr", scheduler=address, keys=keys)
                assert "\n" not in str(refused.value)


def wait_for(happens: Callable[[], bool]) -> None:
    """Wait until it is so; a minute at most."""
    stop = threading.Event()
    begun = time.monotonic()
    while not happens():
        assert time.monotonic() - begun < 60
        stop.wait(0.1)
