"""Every golden fixture is found, recognised and equalled; none is skipped."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Check = Callable[[Path, str], None]


def test_golden_numbers_are_equalled(golden_file: tuple[Path, str], golden_check: Check) -> None:
    golden_check(*golden_file)


def test_a_golden_file_of_unknown_layout_fails(tmp_path: Path, golden_check: Check) -> None:
    path = tmp_path / "fixture.npz"
    np.savez(path, something=np.zeros(3))
    with pytest.raises(AssertionError, match="recognised as nothing"):
        golden_check(path, "xvit")


def test_golden_files_of_an_unknown_architecture_fail(tmp_path: Path, golden_check: Check) -> None:
    path = tmp_path / "fixture.npz"
    np.savez(path, something=np.zeros(3))
    with pytest.raises(AssertionError, match=r"no check_swin9000\.py"):
        golden_check(path, "swin9000")


def test_a_golden_array_that_nothing_looks_at_fails(golden_check: Check, tmp_path: Path) -> None:
    copy = next((Path(__file__).parent / "xvit").glob("*shift*.npz"))
    with np.load(copy) as held:
        np.savez(tmp_path / "renamed.npz", **held, **{"case0/more": np.zeros(2)})
    with pytest.raises(AssertionError, match="nothing checks"):
        golden_check(tmp_path / "renamed.npz", "xvit")
