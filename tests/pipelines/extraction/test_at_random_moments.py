"""Launchers that meet, are stopped or killed at random moments; clocks that disagree: nothing is lost or doubled.

The fifty random kills: `pytest -m slow -k random_moment tests/pipelines/extraction/test_at_random_moments.py`; some of
them: `-k "random_moment and 7-"`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from longvid.stores import FeatureStore, verify

pytestmark = pytest.mark.faults

Bytes = Callable[[Path], dict[str, bytes]]

PATIENCE_SECONDS = 300

CLOCK = """
import time
_true, _start = time.time, time.time()
def time_of_this_machine():
    "Off by some hours, and after a second by as many again: a clock that jumps."
    now = _true()
    return now + {hours} * 3600 * (1 if now < _start + 1 else 2)
time.time = time_of_this_machine
"""
"""What Python runs first in every process of a machine with a wrong clock."""


def command(videos: Path, store: Path, *options: str) -> list[str]:
    """An extraction into some forty shards."""
    words = ["extract", str(videos), "-e", "patch-statistics", "-o", str(store), "--clips-per-shard", "4"]
    words += ["--sampling", "frames=1,fps=8,stride_seconds=0.125", *options]
    return [sys.executable, "-m", "longvid.pipelines.cli", *words]


def start(words: list[str], log: Path, *, hours: float = 0.0, folder: Path | None = None) -> subprocess.Popen[bytes]:
    """The command in a session of its own, on a machine whose clock is off by some hours."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if hours:
        assert folder is not None
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(CLOCK.format(hours=hours))
        environment["PYTHONPATH"] = str(folder)
    with log.open("ab") as out:
        return subprocess.Popen(words, start_new_session=True, stdout=out, stderr=out, env=environment)


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The process and all its descendants that live."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(processes: list[psutil.Process], number: signal.Signals) -> None:
    """A signal to each that lives."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def wait_for_shards(store: Path, number: int, *running: subprocess.Popen[bytes]) -> None:
    """Wait until there are as many shards."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(list(store.glob("videos/*/tokens/c.*.0.0"))) < number:
        assert any(one.poll() is None for one in running), "all ended first"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ended(process: subprocess.Popen[bytes], log: Path) -> int:
    """The exit status."""
    try:
        return process.wait(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        send(family(process), signal.SIGKILL)
        raise AssertionError(f"it stands still: {log.read_text()[-2000:]}") from None


@pytest.fixture(scope="module")
def whole(video_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one undisturbed run."""
    store = tmp_path_factory.mktemp("whole") / "x.zarr"
    subprocess.run(command(video_folder, store, "--scheduler", "inline"), check=True, capture_output=True)
    return store


def assert_is_whole(store: Path, whole: Path, file_bytes: Bytes) -> None:
    """The store equals that of an undisturbed run, file by file."""
    assert verify(FeatureStore.open(store)) == []
    assert file_bytes(store) == file_bytes(whole)


def test_two_launchers_with_other_clocks_share_a_new_store_and_one_that_was_cut_off_comes_back_too_late(
    video_folder: Path, whole: Path, tmp_path: Path, file_bytes: Bytes
) -> None:
    """A process that is stopped is, for a store that all machines see, one that has lost its network."""
    store, logs = tmp_path / "x.zarr", [tmp_path / "a.log", tmp_path / "b.log"]
    launched = [
        start(
            command(video_folder, store, "--scheduler", "serial", "--report", str(tmp_path / f"{number}.jsonl")),
            logs[number],
            hours=hours,
            folder=tmp_path / f"clock-{number}",
        )
        for number, hours in enumerate((-7.0, 11.0))
    ]
    wait_for_shards(store, 2, *launched)
    cut_off = family(launched[0])
    send(cut_off, signal.SIGSTOP)
    assert ended(launched[1], logs[1]) == 0, logs[1].read_text()
    assert len(FeatureStore.open(store)) == 3
    send(cut_off, signal.SIGCONT)
    assert ended(launched[0], logs[0]) == 0, logs[0].read_text()
    assert_is_whole(store, whole, file_bytes)
    for number in range(2):
        rows = [json.loads(line) for line in (tmp_path / f"{number}.jsonl").read_text().splitlines()]
        assert sorted(row["key"] for row in rows) == ["video-0", "video-1", "video-2"]
        assert {row["status"] for row in rows} <= {"done", "kept"}


def _end(running: dict[str, subprocess.Popen[bytes]]) -> None:
    for process in running.values():
        send(family(process), signal.SIGKILL)
        process.wait()


@contextmanager
def cluster(
    folder: Path, *, host: str = "127.0.0.1", elsewhere: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each with its nanny, as three commands; their address.

    `elsewhere`: words before the command of the second worker, which start it in another place.
    """
    file = folder / "scheduler.json"
    dask = {name: [sys.executable, "-m", f"distributed.cli.dask_{name}"] for name in ("scheduler", "worker")}
    running: dict[str, subprocess.Popen[bytes]] = {}
    options = ["--host", host, "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with ExitStack() as stack:
        stack.callback(_end, running)
        running["scheduler"] = start([*dask["scheduler"], *options], folder / "scheduler.log")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not file.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for name in ("worker 0", "worker 1"):
            words = ["--scheduler-file", str(file), "--nthreads", "2", "--no-dashboard"]
            words += ["--local-directory", str(folder), "--death-timeout", "120"]
            before = elsewhere if name == "worker 1" else ()
            running[name] = start([*before, *dask["worker"], *words], folder / f"{name}.log")
        yield json.loads(file.read_text())["address"], running


VICTIMS = ("a worker", "a nanny", "the scheduler", "the client", "all")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_whoever_of_a_cluster_is_killed_at_a_random_moment_the_same_command_finishes(
    seed: int, video_folder: Path, whole: Path, tmp_path: Path, file_bytes: Bytes
) -> None:
    rng, store = random.Random(seed), tmp_path / "x.zarr"
    victim = VICTIMS[seed % len(VICTIMS)]
    log = tmp_path / "run.log"
    (tmp_path / "first").mkdir()
    with cluster(tmp_path / "first") as (address, running):
        run = start(command(video_folder, store, "--scheduler", address, "--deadline-seconds", "60"), log)
        running["client"] = run
        wait_for_shards(store, rng.randrange(1, 20), run)
        time.sleep(rng.random() * 0.2)
        worker = family(running[f"worker {rng.randrange(2)}"])
        struck = {
            "a worker": worker[1:],
            "a nanny": worker[:1],
            "the scheduler": family(running["scheduler"]),
            "the client": family(run),
            "all": [one for process in running.values() for one in family(process)],
        }[victim]
        kept = {path: path.stat().st_mtime_ns for path in store.glob("videos/*/tokens/c.*.0.0")}
        send(struck, signal.SIGKILL)
        if victim in ("a worker", "a nanny"):
            assert ended(run, log) == 0, log.read_text()
        elif victim == "the scheduler":
            assert ended(run, log) in (0, 1, 2, 3), log.read_text()
            assert "Traceback" not in log.read_text()
    if (store / "zarr.json").exists():
        assert {damage.kind for damage in verify(FeatureStore.open(store))} <= {"stray"}
    again = command(video_folder, store, "--scheduler", "serial")
    finished = subprocess.run(again, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    # a receipt is put before its shard, so each shard that was there when somebody was killed is complete; an
    # assignment that is given to another worker goes on from what is in the store
    assert [path for path, changed in kept.items() if path.stat().st_mtime_ns != changed] == []
    assert_is_whole(store, whole, file_bytes)


def ip(*words: str) -> None:
    """One command of `ip`; a test that may not give it is skipped with the reason."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"network namespaces cannot be made here (root is needed): {done.stderr.strip()}")


@pytest.fixture
def network() -> Iterator[tuple[str, str]]:
    """A network namespace with a cable to this one: its name, and the address of this end."""
    if shutil.which("ip") is None:
        pytest.skip("the command `ip` (iproute2) is not installed")
    number = os.getpid() % 200 + 1
    name, here, there = f"longvid-{os.getpid()}", f"lvh{os.getpid() % 10**6}", f"lvt{os.getpid() % 10**6}"
    ip("netns", "add", name)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there)
        ip("link", "set", there, "netns", name)
        ip("addr", "add", f"10.231.{number}.1/24", "dev", here)
        ip("link", "set", here, "up")
        for words in (f"addr add 10.231.{number}.2/24 dev {there}", f"link set {there} up", "link set lo up"):
            ip("-n", name, *words.split())
        yield name, f"10.231.{number}.1"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", here], check=False, capture_output=True)


@pytest.mark.slow  # half a minute: pytest -m slow -k cut_off_from
def test_a_worker_that_is_cut_off_from_the_network_is_done_without_and_does_no_harm_when_it_comes_back(
    network: tuple[str, str],
    video_folder: Path,
    whole: Path,
    tmp_path: Path,
    file_bytes: Bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP", "15s")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "20s")
    name, host = network
    store, log = tmp_path / "x.zarr", tmp_path / "run.log"
    (tmp_path / "cluster").mkdir()
    cable = f"lvt{os.getpid() % 10**6}"
    with cluster(tmp_path / "cluster", host=host, elsewhere=("ip", "netns", "exec", name)) as (address, running):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any("Registered to" not in (tmp_path / f"cluster/worker {number}.log").read_text() for number in (0, 1)):
            assert all(process.poll() is None for process in running.values())
            assert time.monotonic() < deadline, "a worker does not reach the scheduler"
            time.sleep(0.1)
        run = start(command(video_folder, store, "--scheduler", address), log)
        running["client"] = run
        wait_for_shards(store, 3, run)
        ip("-n", name, "link", "set", cable, "down")
        assert ended(run, log) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
        ip("-n", name, "link", "set", cable, "up")
        assert_is_whole(store, whole, file_bytes)
