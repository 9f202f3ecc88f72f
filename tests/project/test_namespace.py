"""No folder or module of a user's hides longvid, and longvid hides none of theirs."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from longvid.video.writing import write_video

ROOT = Path(__file__).parents[2]
HOSTILE = 'raise RuntimeError("a file of the working folder was imported")\n'


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, as a user runs it: with nothing of this repository on its path."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    return subprocess.run(
        command, cwd=folder, env=kept | environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def bare_folders(tmp_path: Path) -> Path:
    """A working folder that holds plain folders of our names: one for stores, a clone's parent, a data folder."""
    for name in ("stores", "pipelines", "longvid"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("a user's own\n")
    return tmp_path


@pytest.fixture
def own_packages(tmp_path: Path) -> Path:
    """A working folder whose packages `stores` and `pipelines` are a user's own project."""
    for name in ("stores", "pipelines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'the user'\n")
    return tmp_path


USES_LONGVID = """
import longvid, longvid.stores
from longvid import wrap
from longvid.pipelines.extraction import expand_inputs
from longvid.stores import FeatureStore
print("found", FeatureStore.__name__)
"""


@pytest.mark.parametrize("how", ["script", "-c", "module"])
def test_bare_folders_of_our_names_hide_nothing(bare_folders: Path, how: str) -> None:
    (bare_folders / "script.py").write_text(USES_LONGVID)
    words = {"script": ["script.py"], "-c": ["-c", USES_LONGVID], "module": ["-m", "script"]}[how]
    result = run([sys.executable, *words], bare_folders)
    assert result.stdout == "found FeatureStore\n", result.stderr


def test_a_script_has_its_own_packages_beside_ours(own_packages: Path) -> None:
    (own_packages / "script.py").write_text(
        USES_LONGVID + "import pipelines, stores\nprint(stores.OWNER, pipelines.OWNER)\n"
    )
    result = run([sys.executable, "script.py"], own_packages)
    assert result.stdout == "found FeatureStore\nthe user the user\n", result.stderr


def test_nothing_of_ours_is_called_stores_or_pipelines(tmp_path: Path) -> None:
    code = "import importlib.util as u; print(u.find_spec('stores'), u.find_spec('pipelines'))"
    result = run([sys.executable, "-c", code], tmp_path)
    assert result.stdout == "None None\n", result.stderr


@pytest.mark.parametrize("name", ["stores", "pipelines", "longvid", "dask_cuda", "torch", "zarr", "typer"])
def test_the_command_imports_nothing_from_where_it_is_run(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(HOSTILE)
    result = run([str(Path(sys.executable).with_name("longvid")), "tasks"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "lvu" in result.stdout


def test_a_package_of_the_working_folder_is_not_imported_by_the_command(own_packages: Path) -> None:
    for name in ("stores", "pipelines"):
        (own_packages / name / "__init__.py").write_text(HOSTILE)
    result = run([str(Path(sys.executable).with_name("longvid")), "encoders", "--json"], own_packages)
    assert result.returncode == 0, result.stderr


def test_workers_of_a_cluster_find_longvid_in_such_a_folder(bare_folders: Path) -> None:
    (bare_folders / "videos").mkdir()
    pictures = (np.full((64, 64, 3), 3 * index, np.uint8) for index in range(48))
    write_video(bare_folders / "videos" / "one.mp4", pictures, fps=24)
    longvid = str(Path(sys.executable).with_name("longvid"))
    extract = [longvid, "extract", "videos", "--encoder", "patch-statistics", "--out", "stores/a.zarr"]
    for _ in range(2):
        result = run([*extract, "--scheduler", "local", "--workers", "1"], bare_folders)
        assert result.returncode == 0, result.stdout + result.stderr
    verified = run([longvid, "verify", "stores/a.zarr"], bare_folders)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_notebook_in_such_a_folder_finds_longvid(bare_folders: Path) -> None:
    cell = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "id": "a",
        "source": USES_LONGVID,
    }
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (bare_folders / "notebook.ipynb").write_text(json.dumps(notebook))
    code = (
        "import nbformat, nbclient; n = nbformat.read('notebook.ipynb', 4); nbclient.NotebookClient(n).execute()\n"
        "print(n.cells[0].outputs[0].text)"
    )
    result = run([sys.executable, "-c", code], bare_folders)
    assert "found FeatureStore" in result.stdout, result.stderr


def test_an_uninstalled_checkout_is_importable_from_its_root(tmp_path: Path) -> None:
    # -S leaves out what site adds, the line that an editable install put there among it
    packages = [str(path) for path in map(Path, sys.path) if path.name == "site-packages"]
    code = f"import sys; sys.path += {packages!r}; import longvid.stores; print(longvid.stores.__file__)"
    result = run([sys.executable, "-S", "-c", code], ROOT)
    assert result.stdout.strip() == str(ROOT / "longvid" / "stores" / "__init__.py"), result.stderr


def test_a_type_checker_finds_longvid_in_such_a_folder(bare_folders: Path) -> None:
    (bare_folders / "script.py").write_text(
        "from longvid.stores import FeatureStore\nnumber: int = FeatureStore.open('x.zarr')\n"
    )
    # other packages' types say nothing here, and reading them takes minutes
    others = ("av", "dask", "distributed", "fsspec", "h5py", "numpy", "pydantic", "rich", "sklearn", "torch", "zarr")
    skipped = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in others)
    (bare_folders / "mypy.ini").write_text(f"[mypy]\n{skipped}")
    result = run([sys.executable, "-m", "mypy", "--python-executable", sys.executable, "script.py"], bare_folders)
    assert 'expression has type "FeatureStore", variable has type "int"' in result.stdout, result.stdout


def test_what_workers_are_sent_is_named_by_its_home_in_longvid() -> None:
    from longvid.clips.sampling import Sampling
    from longvid.pipelines.extraction import ExtractionJob
    from longvid.stores import Recipe

    for kind in (Sampling, ExtractionJob, Recipe):
        assert kind.__module__.startswith("longvid.")
    assert pickle.loads(pickle.dumps(Sampling(frames=2))) == Sampling(frames=2)
