"""A process that may hang, crash and print, and what its owner learns of it."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from longvid.pipelines.extraction.process import ProcessDied, UnpicklableWork, WorkProcess

pytestmark = pytest.mark.faults


def test_a_value_and_an_exception_come_back_and_what_is_printed_harms_neither() -> None:
    def chatty(value: int) -> int:
        print("printed")
        os.write(1, b"written")
        return 2 * value

    with WorkProcess() as process:
        assert process.submit(chatty, 21).result(timeout=60) == 42
        with pytest.raises(ZeroDivisionError):
            process.submit(lambda: 1 / 0).result(timeout=60)
        assert process.submit(os.getpid).result(timeout=60) == process.pid != os.getpid()


def test_a_crash_is_told_and_the_next_call_starts_another_process() -> None:
    with WorkProcess(threads=2) as process:
        first = process.submit(os.getpid).result(timeout=60)
        slow = process.submit(time.sleep, 1000)
        crash = process.submit(os.kill, first, signal.SIGSEGV)
        for future in (slow, crash):
            with pytest.raises(ProcessDied, match="signal 11"):
                future.result(timeout=60)
        assert process.submit(os.getpid).result(timeout=60) != first


def test_a_call_that_never_lets_go_is_ended_from_outside() -> None:
    def hold() -> None:
        ctypes.PyDLL(None).sleep(1000)

    with WorkProcess(threads=2) as process:
        process.submit(os.getpid).result(timeout=60)
        held = process.submit(hold)
        behind = [process.submit(len, "x" * 1_000_000) for _ in range(3)]  # more than a pipe holds
        with pytest.raises(TimeoutError):
            held.result(timeout=1)
        process.end()
        for future in (held, *behind):
            assert future.exception(timeout=60) is None or isinstance(future.exception(), ProcessDied)
        assert isinstance(held.exception(), ProcessDied)


def test_what_cannot_be_pickled_is_refused_at_once() -> None:
    with WorkProcess() as process, pytest.raises(UnpicklableWork):
        process.submit(print, threading.Lock())


@pytest.mark.parametrize("work", ["time.sleep", "ctypes.PyDLL(None).sleep"])
def test_the_process_ends_with_its_owner_even_where_the_owner_is_killed(work: str, tmp_path: Path) -> None:
    script = f"""
import ctypes, os, time
from longvid.pipelines.extraction.process import WorkProcess
process = WorkProcess(orphan_seconds=3)
print(process.submit(os.getpid).result(), flush=True)
process.submit(lambda: {work}(1000))
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = psutil.Process(int(owner.stdout.readline()))
        time.sleep(0.5)
        owner.kill()
    child.wait(timeout=60)
