"""Pages in one style: a frame, filled by a template of their own.

render("page.html", {"title": "Order", "kind": "report", ...})
"""

from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

import longvid
from longvid.pipelines.reporting.charts import plotly_script
from longvid.printable import printable

HOME = "longvid.pipelines.reporting"
FRAME = "frame.html"


def render(template: str, values: dict[str, Any], *, room: str = HOME, charts: bool = True) -> str:
    """The page that a template of `room`, a package, makes of values; it needs no network and no other files.

    `charts`: whether the page has any; without, plotly.js (2 MB) is left out. Text of files is escaped.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: _text(name, HOME if name == FRAME else room)),
        finalize=_visible,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assets = {
        "style": Markup(_text("page.css", HOME)),
        "script": Markup(_text("page.js", HOME)),
        "plotly": Markup(plotly_script() if charts else ""),
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": longvid.__version__,
    }
    return environment.get_template(template).render(**values, **assets)


def _text(name: str, room: str) -> str:
    return files(room).joinpath(name).read_text("utf-8")


def _visible(value: Any) -> Any:
    """Text without characters that would turn a line around or hide; what is markup of our own stays as it is."""
    return printable(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
