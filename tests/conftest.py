"""Fixtures shared by every room's tests."""

import os

# one thread a test process: two processes that share two cores otherwise wait for each other at barriers
os.environ.setdefault("OMP_NUM_THREADS", "1")
# parallel test processes are given a width; a console that is made with one keeps it for good
os.environ.pop("COLUMNS", None)

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

# no test fails for the time it takes: machines are shared, and a first example may import a library
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def unchecked() -> Callable[[str], str]:
    """Run code in a process of its own, where no hook checks types as it does here; gives the error it ends with."""

    def run(code: str) -> str:
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return result.stderr.strip().rpartition("\n")[2]

    return run


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped where torch sees no CUDA device."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
