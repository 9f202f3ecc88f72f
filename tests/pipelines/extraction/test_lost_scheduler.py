"""A scheduler that goes away is named in one line; what else fails meanwhile keeps its own."""

import errno
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from longvid.errors import SchedulerLost
from longvid.pipelines.extraction.cluster import connect

pytestmark = pytest.mark.faults


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler of its own process, and its address."""
    file = tmp_path / "scheduler.json"
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *words], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"Scheduler at:" in line:
                break
        yield line.decode().split()[-1], process
        process.kill()


def kill_and_ask(process: subprocess.Popen[bytes], client: Client) -> None:
    process.kill()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        client.nthreads()
        time.sleep(0.1)


def test_a_scheduler_that_is_killed_is_one_line_without_a_traceback(scheduler, capfd):
    address, process = scheduler
    with (
        pytest.raises(SchedulerLost, match=f"the scheduler at {address} does not answer any more; .* the same command"),
        connect(address) as client,
    ):
        kill_and_ask(process, client)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_error_of_something_else_is_not_taken_for_a_lost_scheduler(scheduler):
    address, _ = scheduler
    with pytest.raises(OSError, match="No space left") as raised, connect(address):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not isinstance(raised.value, SchedulerLost)
