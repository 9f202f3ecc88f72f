"""Fixtures shared by every room's tests."""

import os

# one thread a test process: two processes that share two cores otherwise wait for each other at barriers
os.environ.setdefault("OMP_NUM_THREADS", "1")
# parallel test processes are given a width; a console that is made with one keeps it for good
os.environ.pop("COLUMNS", None)

import pytest
from hypothesis import settings

# no test fails for the time it takes: machines are shared, and a first example may import a library
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped where torch sees no CUDA device."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
