"""Prints every error with its messages in Markdown, from the code."""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from longvid import errors
from longvid.stores import errors as store_errors

ROOT = Path(__file__).parents[1]
ROOMS = ("longvid", "stores", "pipelines")


def classes() -> dict[str, type[Exception]]:
    """Every error of the two trees by name, bases first."""
    roots = (errors.LongvidError, store_errors.StoreError)
    found: dict[str, type[Exception]] = {}
    for module in (errors, store_errors):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, roots):
                found[name] = kind
    return found


def messages() -> dict[str, list[str]]:
    """The messages with which each class is raised or made, sorted, each once; `…` stands for what is put in."""
    known, found = classes(), defaultdict(set)
    for room in ROOMS:
        for source in sorted((ROOT / room).rglob("*.py")):
            if any(parent.is_symlink() for parent in source.parents):
                continue
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in known
                    and node.args
                ):
                    text = re.sub("…+", "…", " ".join("".join(_parts(node.args[0])).split()))
                    if len(text.replace("…", "").split()) > 2:
                        found[node.func.id].add(text)
    return {name: sorted(found[name]) for name in known}


def _parts(node: ast.expr) -> Iterator[str]:
    """The constant parts of a text, with `…` between them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield part.value if isinstance(part, ast.Constant) else "…"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (*_parts(node.left), *_parts(node.right))
    else:
        yield "…"


def markdown() -> str:
    """A section per error: when it happens, what else it is, and its messages."""
    told = messages()
    sections = []
    for name, kind in classes().items():
        bases = [f"{'an' if base.__name__[0] in 'AEIOU' else 'a'} `{base.__name__}`" for base in kind.__bases__]
        lines = [f"## {name}", "", f"{(kind.__doc__ or '').strip().splitlines()[0]} It is {' and '.join(bases)}."]
        lines += ["", *(f"* `{text.replace('`', chr(39))}`" for text in told[name])] if told[name] else []
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
