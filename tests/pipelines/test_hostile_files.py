"""What a command says of a hostile file: one line, exit status 2, no traceback."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.faults

DEEP = "[" * 100_000


def object_array(path: Path) -> None:
    path.mkdir()
    np.save(path / "v.npy", np.array([{}], dtype=object))


def deep_sidecar(path: Path) -> None:
    path.mkdir()
    np.save(path / "v.npy", np.zeros((3, 5, 4), np.float32))
    (path / "v.json").write_text(DEEP)


def external_storage(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("v", (3, 5, 4), "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def petabyte(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("v", (10**12, 5, 40), "f4", chunks=(100, 5, 40))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("npy", object_array, "is not a readable .npy file"),
        ("npy", deep_sidecar, "nested deeper than 64 levels"),
        ("x.h5", external_storage, "keeps its numbers in other files"),
        ("x.h5", petabyte, "the others were never written"),
    ],
)
def test_import_says_in_one_line_what_it_does_not_read(
    name: str, make: Callable[[Path], None], message: str, command, tmp_path: Path
) -> None:
    make(tmp_path / name)
    status, out, err = command("import", name, "store.zarr", "--seconds-per-clip", "1")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_manifest_that_names_an_escape_sequence_is_one_plain_line(command, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"key": "a\x1b[2Jb", "path": "v.mp4"}) + "\n")
    status, _, err = command("extract", "m.jsonl", "--encoder", "patch-statistics", "--out", "f.zarr")
    assert status == 2
    assert "\x1b" not in err
    assert err.count("\n") == 1
