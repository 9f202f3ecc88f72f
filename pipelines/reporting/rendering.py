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


def render(template: str, values: dict[str, Any]) -> str:
    """The page that a template of this folder makes of values; it needs no network and no other files."""
    room = files("longvid.pipelines.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda name: room.joinpath(name).read_text("utf-8")),
        finalize=_visible,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assets = {
        "style": Markup(room.joinpath("page.css").read_text("utf-8")),
        "script": Markup(room.joinpath("page.js").read_text("utf-8")),
        "plotly": Markup(plotly_script()),
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": longvid.__version__,
    }
    return environment.get_template(template).render(**values, **assets)


def _visible(value: Any) -> Any:
    """Text without characters that would turn a line around or hide; what is markup of our own stays as it is."""
    return printable(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
