"""Prints the command line's reference in Markdown, from the commands."""

import sys
from typing import Any

from longvid.pipelines.cli.documented import command


def markdown() -> str:
    """A section per command: what it does, its arguments and its options, in the order of `--help`."""
    return "\n\n".join(_section(name, one) for name, one in command.commands.items())


def _section(name: str, one: Any) -> str:
    lines = [f"## longvid {name}", "", _text(one.help), "", "| | default | |", "| --- | --- | --- |"]
    for parameter in one.params:
        if "--help" in parameter.opts:
            continue
        is_argument = parameter.param_type_name == "argument"
        shown = parameter.name.upper() if is_argument else ", ".join((*parameter.opts, *parameter.secondary_opts))
        lines.append(f"| `{shown}` | {_default(parameter)} | {_text(parameter.help)} |")
    return "\n".join(lines)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if getattr(parameter, "is_flag", False) or parameter.default in (None, (), []):
        return ""
    return f"`{parameter.default}`"


def _text(text: str | None) -> str:
    """Words of a help text, as a cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
