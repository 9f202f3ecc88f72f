"""Fills generated text into the documentation when it is built."""

import runpy
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page, with `<!-- commands -->` and `<!-- tree -->` replaced by what the scripts of that name print."""
    for name, function in (("commands", "markdown"), ("tree", "tree")):
        mark = f"<!-- {name} -->"
        if mark in markdown:
            printed = runpy.run_path(str(HERE / f"{name}.py"))[function]()
            fenced = f"```text\n{printed}\n```" if name == "tree" else printed
            markdown = markdown.replace(mark, fenced)
    return markdown
