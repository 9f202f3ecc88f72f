"""Prints the rooms of each package, floor by floor, by their imports."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("longvid.stores", "longvid", "longvid.pipelines")


def imported_modules(source: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in the file, for type checkers too."""
    modules = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return modules


def sources(package: str) -> list[Path]:
    """Every file of a package; `longvid/stores` and `longvid/pipelines` are links to the folders beside it."""
    folder = ROOT / package.removeprefix("longvid.")
    return [path for path in sorted(folder.rglob("*.py")) if not any(parent.is_symlink() for parent in path.parents)]


def room_graph(package: str) -> dict[str, set[str]]:
    """Each room (a folder or module directly inside a package), and those beside it that it imports."""
    folder = ROOT / package.removeprefix("longvid.")
    python = [path for path in folder.iterdir() if not path.is_symlink() and (path.is_dir() or path.suffix == ".py")]
    inside = {path.stem for path in python} - {"__init__", "__main__", "__pycache__"}
    graph: dict[str, set[str]] = {room: set() for room in inside}
    for source in sources(package):
        room = source.relative_to(folder).parts[0].removesuffix(".py")
        beside = {module.removeprefix(f"{package}.").partition(".")[0] for module in imported_modules(source)}
        if room in inside:
            graph[room] |= (beside & inside) - {room}
    return graph


def floors(package: str) -> list[list[str]]:
    """The rooms of each floor, the ground first: a room imports from lower floors only.

    Raises
    ------
    graphlib.CycleError
        Rooms import each other in a circle, which the error names.
    """
    sorter = TopologicalSorter(room_graph(package))
    sorter.prepare()
    made = []
    while sorter.is_active():
        ready = sorter.get_ready()
        made.append(sorted(ready))
        sorter.done(*ready)
    return made


def table() -> str:
    """The floors of every package, as a list in Markdown."""
    lines = []
    for package in PACKAGES:
        lines += [f"**`{package}`**", ""]
        lines += [
            f"{number}. {', '.join(f'`{room}`' for room in floor)}" for number, floor in enumerate(floors(package), 1)
        ]
        lines.append("")
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
