"""Pages in the report's look, each in one file that needs no other."""

from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import longvid
from longvid.pipelines.reporting.charts import plotly_script
from longvid.printable import printable


def render(template: str, values: dict[str, Any], *, charts: bool = True) -> str:
    """A template of Jinja with `style`, `script` and `plotly` of the report; text of files is escaped.

    `charts`: whether the page has any; without, plotly.js (2 MB) is left out.
    """
    room = files("longvid.pipelines.reporting")
    environment = Environment(
        finalize=_visible, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    assets = {
        "style": Markup(room.joinpath("page.css").read_text("utf-8")),
        "script": Markup(room.joinpath("page.js").read_text("utf-8")),
        "plotly": Markup(plotly_script() if charts else ""),
    }
    made = {"made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"), "version": longvid.__version__}
    return environment.from_string(template).render(**(made | values), **assets)


def _visible(value: Any) -> Any:
    """Text without characters that would turn a line around or hide; what is markup of our own stays as it is."""
    return printable(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
