"""Fills generated text into the documentation when it is built."""

import re
import runpy
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page, with `<!-- commands -->` and the like replaced by what the scripts of that name print."""
    for name, function in (("commands", "markdown"), ("tree", "tree"), ("errors", "markdown")):
        mark = f"<!-- {name} -->"
        if mark in markdown:
            printed = runpy.run_path(str(HERE / f"{name}.py"))[function]()
            fenced = f"```text\n{printed}\n```" if name == "tree" else printed
            markdown = markdown.replace(mark, fenced)
    return markdown


def on_files(files: Any, **_: Any) -> Any:
    """The files, with the notebook `start.ipynb` at `notebook/`, because `start.md` is at `start/`."""
    for file in files:
        if file.src_uri == "start.ipynb":
            file.dest_uri = "notebook/index.html"
            file.abs_dest_path = str(Path(file.dest_dir) / file.dest_uri)
            file.url = "notebook/"
    return files


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """The page, with the notebook's links to other pages as the site has them."""
    if page.file.src_uri != "start.ipynb":
        return html
    return re.sub(r'href="([a-z/-]+)\.md"', r'href="../\1/"', html)
