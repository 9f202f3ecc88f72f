"""The rooms keep their direction of imports, and stay light to import."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("stores", "longvid", "pipelines")
MAY_IMPORT = {"stores": {"stores"}, "longvid": {"longvid"}, "pipelines": {"stores", "longvid", "pipelines"}}
GROUND_FLOOR = "longvid.files"
"""The atomic write: every room may stand on it, for it imports the standard library alone."""
FRONT_DOOR = ROOT / "longvid" / "__main__.py"
"""`python -m longvid`: nobody imports it."""
TOUCHES_THE_STORE = ROOT / "longvid" / "windows"
NOT_IN = {
    "stores": {"torch", "dask", "distributed", "lightning", "av", "decord", "torchcodec", "transformers"},
    "longvid": {"dask", "distributed", "lightning", "typer"},
    "pipelines": set(),
}


def imported_modules(source: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in the file, for type checkers too."""
    modules = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return modules


def imported_packages(source: Path) -> set[str]:
    """What a file imports: a room of longvid, or the top-level name of another package."""
    tops = {".".join(module.split(".")[:2]) for module in imported_modules(source)} - {GROUND_FLOOR}
    rooms = {top.removeprefix("longvid.") for top in tops if top in ("longvid.stores", "longvid.pipelines")}
    return rooms | {top.partition(".")[0] for top in tops if top.removeprefix("longvid.") not in rooms}


def sources(room: str) -> list[Path]:
    """Every file of a room; `longvid/stores` and `longvid/pipelines` are links to the folders beside it."""
    return [path for path in sorted((ROOT / room).rglob("*.py")) if not any(p.is_symlink() for p in path.parents)]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_its_left(room: str) -> None:
    assert len(sources(room)) > 10
    for source in sources(room):
        if source == FRONT_DOOR:
            continue
        allowed = MAY_IMPORT[room] | ({"stores"} if source.parent == TOUCHES_THE_STORE else set())
        imported = imported_packages(source)
        assert not imported & (set(ROOMS) - allowed), source
        assert not imported & NOT_IN[room], source


def room_graph(parent: str) -> dict[str, set[str]]:
    """Each room or module directly inside a package -> those beside it that it imports."""
    folder = ROOT / parent.removeprefix("longvid.")
    inside = {path.stem for path in folder.iterdir() if not path.is_symlink()} - {"__init__", "__main__", "__pycache__"}
    graph: dict[str, set[str]] = {room: set() for room in inside}
    for source in sources(parent.removeprefix("longvid.")):
        room = source.relative_to(folder).parts[0].removesuffix(".py")
        beside = {module.removeprefix(f"{parent}.").partition(".")[0] for module in imported_modules(source)}
        if room in inside:
            graph[room] |= (beside & inside) - {room}
    return graph


@pytest.mark.parametrize("parent", ["longvid", "longvid.pipelines", "longvid.stores"])
def test_no_circle_stands_between_rooms(parent: str) -> None:
    graph = room_graph(parent)
    assert len(graph) > 8
    list(TopologicalSorter(graph).static_order())  # a CycleError names the circle


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError, match="clips"):
        list(TopologicalSorter(room_graph("longvid") | {"video": {"clips"}}).static_order())


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
    assert imported_packages(ground) <= sys.stdlib_module_names
    by_hand = re.compile(r"os\.(replace|rename)\(|NamedTemporaryFile|mkstemp|\.rename\((path|target)\)")
    others = [source for room in ROOMS for source in sources(room) if source != ground]
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
