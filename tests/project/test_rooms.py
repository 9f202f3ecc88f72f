"""The rooms keep their direction of imports, and stay light to import."""

import re
import runpy
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
rooms = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "rooms.py")))
ROOMS = ("stores", "longvid", "pipelines")
MAY_IMPORT = {"stores": {"stores"}, "longvid": {"longvid"}, "pipelines": {"stores", "longvid", "pipelines"}}
GROUND_FLOOR = {"longvid.files", "longvid.notebook"}
"""The atomic write, and tables for notebooks: every room may stand on these; they import the standard library alone."""
FRONT_DOOR = ROOT / "longvid" / "__main__.py"
"""`python -m longvid`: nobody imports it."""
TOUCHES_THE_STORE = ROOT / "longvid" / "windows"
NOT_IN = {
    "stores": {"torch", "dask", "distributed", "lightning", "av", "decord", "torchcodec", "transformers"},
    "longvid": {"dask", "distributed", "lightning", "typer"},
    "pipelines": set(),
}


def package(room: str) -> str:
    """The import name of a top-level folder."""
    return room if room == "longvid" else f"longvid.{room}"


def imported_packages(source: Path) -> set[str]:
    """What a file imports: a room of longvid, or the top-level name of another package."""
    tops = {".".join(module.split(".")[:2]) for module in rooms.imported_modules(source)} - GROUND_FLOOR
    packages = {top.removeprefix("longvid.") for top in tops if top in ("longvid.stores", "longvid.pipelines")}
    return packages | {top.partition(".")[0] for top in tops if top.removeprefix("longvid.") not in packages}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_its_left(room: str) -> None:
    assert len(rooms.sources(package(room))) > 10
    for source in rooms.sources(package(room)):
        if source == FRONT_DOOR:
            continue
        allowed = MAY_IMPORT[room] | ({"stores"} if source.parent == TOUCHES_THE_STORE else set())
        imported = imported_packages(source)
        assert not imported & (set(ROOMS) - allowed), source
        assert not imported & NOT_IN[room], source


@pytest.mark.parametrize("parent", ["longvid", "longvid.pipelines", "longvid.stores"])
def test_no_circle_stands_between_rooms(parent: str) -> None:
    assert len(rooms.room_graph(parent)) > 8
    rooms.floors(parent)  # a CycleError names the circle


def test_the_documentation_shows_the_rooms_as_they_are() -> None:
    told = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert rooms.table() in told, "run `python scripts/rooms.py` and put what it prints into docs/architecture.md"


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError, match="clips"):
        list(TopologicalSorter(rooms.room_graph("longvid") | {"video": {"clips"}}).static_order())


def test_the_check_sees_an_import_inside_a_function(tmp_path: Path) -> None:
    source = tmp_path / "wrong.py"
    source.write_text("def late():\n    from longvid.pipelines.extraction import extract\n    import torch.nn\n")
    assert imported_packages(source) == {"pipelines", "torch"}
    source.write_text("from longvid.files import write_bytes\nfrom longvid.errors import LongvidError\n")
    assert imported_packages(source) == {"longvid"}
    source.write_text("from longvid import stores\nfrom longvid.video import probe\n")
    assert imported_packages(source) == {"longvid", "stores"}


def test_the_ground_floor_stands_on_the_standard_library_and_is_the_only_atomic_write() -> None:
    ground = ROOT / "longvid" / "files.py"
    for module in GROUND_FLOOR:
        assert imported_packages(ROOT / f"{module.replace('.', '/')}.py") <= sys.stdlib_module_names
    by_hand = re.compile(r"os\.(replace|rename)\(|NamedTemporaryFile|mkstemp|\.rename\((path|target)\)")
    others = [source for room in ROOMS for source in rooms.sources(package(room)) if source != ground]
    assert [str(source) for source in others if by_hand.search(source.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "statement",
    [
        "import longvid.stores",
        "import longvid",
        "import longvid.pipelines",
        "from longvid.pipelines.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
    ids=["stores", "longvid", "pipelines", "help"],
)
def test_it_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint('HEAVY', sorted({{'torch', 'dask', 'lightning', 'av'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.splitlines()[-1] == "HEAVY []", result.stderr


@pytest.mark.parametrize(
    "package",
    ["longvid.stores", "longvid", "longvid.pipelines", "longvid.encoders", "longvid.decoders", "longvid.video"],
)
def test_every_exported_name_exists_and_is_listed_once(package: str) -> None:
    code = (
        f"import {package} as p\nassert len(p.__all__) == len(set(p.__all__)) > 0, p.__all__\n"
        "missing = [n for n in p.__all__ if not hasattr(p, n)]\nassert not missing, missing"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
