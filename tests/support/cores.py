"""Tests that need more than one processor core."""

import pytest

from longvid.pipelines.machine.cores import available_cores

needs_two_cores = pytest.mark.skipif(available_cores() < 2, reason="a training on two devices needs two CPU cores")
