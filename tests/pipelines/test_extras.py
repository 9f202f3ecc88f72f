"""A command whose packages are not installed names the extra that brings them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from longvid.pipelines.cli.extras import EXTRAS, PACKAGES, missing_extra
from longvid.pipelines.cli.main import app

ROOT = Path(__file__).parents[2]
MODULE_OF = {"pillow": "PIL", "scikit-learn": "sklearn"}
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
from longvid.pipelines.cli import main
main({words!r})
"""


def alone(*words: str) -> subprocess.CompletedProcess[str]:
    """A command where none of the extras' packages can be imported."""
    # zarr asks whether fsspec is there, and does without it
    code = ALONE.format(packages=set(PACKAGES) - {"fsspec"}, words=list(words))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_table_of_packages_is_that_of_pyproject() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = [
        line for name in ("extract", "train", "report", "sweep", "bench", "hdf5", "parquet") for line in extras[name]
    ]
    names = {re.split(r"[>=;\[ ]", line)[0] for line in listed} - {"longvid"}
    assert {MODULE_OF.get(name, name) for name in names} == PACKAGES


def test_every_command_of_the_table_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert EXTRAS.keys() <= known


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("extract", "v.mp4", "--encoder", "patch-statistics", "--out", "x.zarr"), "extract"),
        (("train", "store=x.zarr"), "train"),
        (("evaluate", "runs/x"), "train"),
        (("predict", "runs/x", "v.mp4"), "extract,train"),
        (("report", "runs/x"), "report,train"),
        (("demo",), "all"),
    ],
)
def test_what_to_install_is_said_in_one_line(words: tuple[str, ...], extra: str) -> None:
    ended = alone(*words)
    assert ended.returncode == 2, ended.stderr
    assert f"pip install 'longvid[{extra}]'" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_the_core_reads_and_verifies_a_store(tmp_path: Path) -> None:
    old = ROOT / "tests" / "stores" / "written_by_0_1_0.zarr"
    assert alone("info", str(old)).returncode == 0
    assert alone("verify", str(old)).returncode == 0
    assert alone("export", str(old), str(tmp_path / "npy")).returncode == 0
    assert "longvid[hdf5]" in alone("export", str(old), str(tmp_path / "x.h5")).stderr


def test_the_doctor_says_what_is_not_installed_and_is_content() -> None:
    ended = alone("doctor")
    assert ended.returncode == 0, ended.stderr
    assert "longvid[train]" in ended.stdout


def test_a_module_that_is_nobody_of_ours_is_not_taken_for_an_extra() -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'mine'", name="mine"), "extract") is None
