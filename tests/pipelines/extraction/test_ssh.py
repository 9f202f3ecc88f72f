"""Workers that ssh starts: a host that is not there, one that goes away in the middle, and what is left of them."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from longvid.errors import ConfigError
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, cluster, extract, replacing
from longvid.pipelines.extraction.ssh import SSH, hosts_of
from longvid.stores import FeatureStore, verify

FAKE = """#!{python}
import os, sys
host, command = sys.argv[-2:]
if host == "gone":
    sys.exit("ssh: connect to host gone port 22: No route to host")
open(os.path.join({folder!r}, f"{{host}}.{{os.getpid()}}"), "w").write(command)
os.execvp("sh", ["sh", "-c", "exec " + command])
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that reaches this machine by every name but `gone`; the folder in which it notes its process ids."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    (folder / "ssh").write_text(FAKE.format(python=sys.executable, folder=str(folder)))
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def test_hosts_are_named_after_the_word_ssh_and_never_taken_for_options() -> None:
    assert hosts_of("ssh gpu1,me@gpu2.lab.org") == ["gpu1", "me@gpu2.lab.org"]
    assert hosts_of("local") == hosts_of("tcp://ssh:1") == []
    for wrong in ("ssh", "ssh ", "ssh -oProxyCommand=x", "ssh a,a", "ssh a b"):
        with pytest.raises(ConfigError, match=r"ssh"):
            hosts_of(wrong)


def test_hosts_of_which_none_answers_are_one_line_with_the_reason(
    ssh: Path, requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="gone: ssh: connect to host gone port 22: No route to host"):
        extract(requests, job, tmp_path / "x.zarr", scheduler="ssh gone", interface="lo")


@pytest.mark.slow  # starts workers three times: pytest -m slow tests/pipelines/extraction/test_ssh.py
@pytest.mark.faults
def test_a_host_that_goes_away_is_started_again_and_the_run_ends_with_every_video(
    ssh: Path,
    requests: list[VideoRequest],
    job: ExtractionJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(cluster, "replacing", lambda one: replacing.replacing(one, look_seconds=0.2, grace_seconds=0.5))
    store, killed = tmp_path / "x.zarr", []

    def strike() -> None:
        while not list(store.glob("videos/*/tokens/c.*.0.0")):
            time.sleep(0.01)
        (started,) = ssh.glob("near.*")
        host = psutil.Process(int(started.suffix[1:]))
        killed.extend([host, *host.children(recursive=True)])
        for process in killed:
            process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    report = extract(requests, job, store, scheduler="ssh gone,near", workers=1, interface="lo", clips_per_shard=2)
    thread.join()
    assert report.counts == {"done": 3}
    assert verify(FeatureStore.open(store)) == []
    assert killed
    assert len(list(ssh.glob("near.*"))) == 2, "started twice"
    told = caplog.text
    assert "gone: no worker came up: ssh: connect to host gone port 22: No route to host" in told
    assert "the workers of near are gone" in told
    for note in ssh.glob("near.*"):
        assert "PRIVATE" not in note.read_text(), "a command line is read by everybody"
        deadline = time.monotonic() + 30
        while psutil.pid_exists(int(note.suffix[1:])) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not psutil.pid_exists(int(note.suffix[1:])), "its workers outlive the run"
    assert SSH[1:3] == ("-o", "BatchMode=yes"), "ssh never asks"
