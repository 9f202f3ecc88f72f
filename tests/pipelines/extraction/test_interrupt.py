"""Ctrl-C in a real terminal: one line, whatever moment it comes at."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults


def interrupted_in_a_terminal(command: list[str], ready: Callable[[float, bytes], bool]) -> tuple[int, str]:
    """Exit status and all that was shown of a command that gets Ctrl-C typed once `ready` says so."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job, and all it starts, ignore it
        os.execv(command[0], command)
    shown, begun, typed = b"", time.monotonic(), False
    watched = select.poll()  # select.select knows no descriptor above 1023
    watched.register(terminal, select.POLLIN | select.POLLHUP)
    while time.monotonic() - begun < 180:
        if watched.poll(20):
            try:
                read = os.read(terminal, 65536)
            except OSError:  # the last process that had the terminal ended
                break
            shown += read
        if not typed and ready(time.monotonic() - begun, shown):
            os.write(terminal, b"\x03")
            typed = True
    else:
        raise AssertionError(shown.decode(errors="replace"))
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert typed, shown.decode(errors="replace")
    return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")


def command(videos: Path, store: Path, scheduler: str) -> list[str]:
    """An extraction that lasts."""
    words = ["extract", videos, "-e", "patch-statistics", "-o", store, "--scheduler", scheduler]
    many = ["--sampling", "frames=1,fps=50,stride_seconds=0.001"]
    return [sys.executable, "-m", "longvid.pipelines.cli", *map(str, words), *many]


def assert_one_line(status: int, shown: str) -> None:
    assert status == 130, shown
    assert "error: interrupted" in shown
    for noise in ("Traceback", "CommClosed", "Exception", "distributed"):
        assert noise not in shown, shown


@pytest.mark.parametrize("scheduler", ["serial", "local"])
def test_ctrl_c_while_pieces_run_is_one_line(scheduler: str, video_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "x.zarr"

    def ready(_: float, __: bytes) -> bool:
        return bool(list(store.glob("videos/*/tokens/c.*")))

    assert_one_line(*interrupted_in_a_terminal(command(video_folder, store, scheduler), ready))


@pytest.mark.slow
@pytest.mark.parametrize("share", [number / 10 for number in range(10)])
def test_ctrl_c_at_any_moment_while_workers_start_is_one_line(share: float, video_folder: Path, tmp_path: Path) -> None:
    """From the making of the store, just before the workers are started, to well after they have come up."""
    store, made = tmp_path / "x.zarr", []

    def ready(now: float, _: bytes) -> bool:
        if not made and (store / "zarr.json").exists():
            made.append(now)
        return bool(made) and now - made[0] > 8 * share

    assert_one_line(*interrupted_in_a_terminal(command(video_folder, store, "local"), ready))
