"""Every golden fixture is found, recognised and equalled; none is skipped."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def one_fixture(root: Path, architecture: str) -> Path:
    """A root folder with one fixture of an architecture."""
    (root / architecture).mkdir(parents=True)
    np.savez(root / architecture / f"{root.name}.npz", something=np.full(3, len(root.name)))
    return root


def test_several_golden_folders_are_searched_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find_golden: Callable[[], dict[str, tuple[Path, str]]]
) -> None:
    roots = [one_fixture(tmp_path / name, "swin9000") for name in ("first", "second one")]
    monkeypatch.setenv("LONGVID_GOLDEN_DIR", os.pathsep.join(map(str, roots)))
    found = {name: architecture for name, (_, architecture) in find_golden().items() if "(" in name}
    assert found == {
        "swin9000/first.npz (first)": "swin9000",
        "swin9000/second one.npz (second one)": "swin9000",
    }


def test_a_golden_folder_without_folders_of_fixtures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find_golden: Callable[[], object]
) -> None:
    monkeypatch.setenv("LONGVID_GOLDEN_DIR", str(one_fixture(tmp_path, "swin9000") / "swin9000"))
    with pytest.raises(pytest.UsageError, match="name the folder that holds the architectures' folders"):
        find_golden()
    monkeypatch.setenv("LONGVID_GOLDEN_DIR", os.pathsep.join([str(tmp_path), str(tmp_path / "absent")]))
    with pytest.raises(pytest.UsageError, match="absent, which is not a folder"):
        find_golden()


def test_a_json_entry_that_nothing_looks_at_fails(golden_check: Check, tmp_path: Path) -> None:
    cases = json.loads((Path(__file__).parent / "dualformer" / "frame_sampling.json").read_text())
    path = tmp_path / "frame_sampling.json"
    path.write_text(json.dumps([*cases, cases[0]]))
    golden_check(path, "dualformer")
    path.write_text(json.dumps([*cases, {**cases[0], "more": 3}]))
    with pytest.raises(AssertionError):
        golden_check(path, "dualformer")


def test_entries_of_a_json_file_count_as_seen_one_by_one(tmp_path: Path, open_golden: Callable[[Path], Any]) -> None:
    path = tmp_path / "fixture.json"
    path.write_text(
        json.dumps({"kind": "k", "cases": [{"given": 1, "wanted": 2}, {"given": 3, "wanted": 4}], "more": 5})
    )
    golden = open_golden(path)
    assert golden.unseen == ["cases", "more"]
    first, _ = golden.json["cases"]
    assert first["given"] == 1
    assert golden.unseen == ["cases/0/wanted", "cases/1/given", "cases/1/wanted", "more"]


def test_only_rows_called_junk_are_left_out_of_a_comparison(tmp_path: Path, open_golden: Callable[[Path], Any]) -> None:
    path = tmp_path / "fixture.npz"
    expected = np.arange(12.0).reshape(2, 3, 2)
    np.savez(path, rows=expected)
    golden = open_golden(path)
    junk = np.array([[False, False, True], [False, True, True]])
    golden.compare("rows", np.where(junk[..., None], np.nan, expected), junk=junk)
    with pytest.raises(AssertionError, match="differs by"):
        golden.compare("rows", np.where(junk[..., None], expected, expected + 1), junk=junk)
    with pytest.raises(AssertionError, match="every row of rows is left out"):
        golden.compare("rows", expected, junk=np.ones((2, 3)))
    with pytest.raises(AssertionError, match="differs by"):
        golden.compare("rows", np.where(junk[..., None], np.nan, expected))
