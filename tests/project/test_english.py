"""Docstrings start with a whole phrase, and words that puzzle a stranger are not used."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("longvid", "stores", "pipelines", "scripts")
"""Every folder with source; `longvid/stores` and `longvid/pipelines` are links to the folders beside it."""
FILES = sorted(
    path
    for room in ROOMS
    for path in (ROOT / room).rglob("*")
    if path.suffix in {".py", ".yaml", ".html"} and not any(parent.is_symlink() for parent in path.parents)
)
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [path for path in FILES if path.suffix == ".py"]
WIDTH = 72
"""Characters of a first line that fit beside a file's name in a tree."""
PUZZLING = re.compile(r"(?<!\.)\b(cures?|never looks)\b")


def named(path: Path) -> str:
    """A test's id: the path below the project."""
    return path.relative_to(ROOT).as_posix()


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring, those of attributes included."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of what a person may read: comments and strings of Python, every line of other files."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or "MIDDLE" in tokenize.tok_name[token.type]:
            yield token.start[0], token.string


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_the_first_line_of_a_module_is_whole_and_short(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "no docstring"
    first, _, rest = docstring.partition("\n")
    assert len(first) <= WIDTH, f"{len(first)} characters: {first}"
    assert first.endswith("."), first
    assert first.count("(") == first.count(")"), first
    assert not rest.strip() or rest.startswith("\n"), f"goes on in the next line: {first}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_docstring_starts_with_of(path: Path) -> None:
    found = texts(ast.parse(path.read_text(encoding="utf-8")))
    assert not [f"{line}: {text[:60]}" for line, text in found if text.startswith("Of ")]


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=named)
def test_no_puzzling_word_is_used(path: Path) -> None:
    assert not [f"{line}: {text[:60]}" for line, text in prose(path) if PUZZLING.search(text)]
