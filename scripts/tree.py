"""Prints every source file with the first line of its docstring."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("stores", "longvid", "pipelines", "scripts")
WIDTH = 118


def phrase(path: Path) -> str:
    """The first line of a module's docstring, or a script's first comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    return comments[0].removeprefix("# ") if comments else ""


def lines(folder: Path, indent: int = 0) -> list[str]:
    """The folder's line, then those of its files and folders, in alphabetical order."""
    package = folder / "__init__.py"
    about = phrase(package) if package.exists() else "set-up-and-run recipes"
    made = [_line(indent, f"{folder.name}/", about)]
    for path in sorted(folder.iterdir()):
        if path.is_symlink():  # stores and pipelines, which are beside longvid
            continue
        if path.is_dir() and any(path.rglob("*.py")):
            made += lines(path, indent + 2)
        elif path.suffix in (".py", ".sh") and path.name != "__init__.py":
            made.append(_line(indent + 2, path.name, phrase(path)))
    return made


def _line(indent: int, name: str, about: str) -> str:
    """One line of the tree; a phrase that is too long ends after the last clause or word that fits."""
    begin = f"{' ' * indent}{name:{max(1, 30 - indent)}}"
    room = WIDTH - len(begin)
    if len(about) > room:
        ends = [match.start() for match in re.finditer(r"[,:;.] | \(", about[: room + 1])]
        whole = [end for end in ends if about.count("(", 0, end) == about.count(")", 0, end)]
        about = about[: whole[-1] if whole else about.rfind(" ", 0, room + 1)]
    return (begin + about.removesuffix(".")).rstrip()


def tree() -> str:
    """The whole tree."""
    return "\n".join(line for room in ROOMS for line in lines(ROOT / room))


if __name__ == "__main__":
    sys.stdout.write(tree() + "\n")
