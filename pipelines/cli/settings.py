"""Output of `longvid train --settings`: every setting of a training."""

from typing import TYPE_CHECKING

from rich.padding import Padding

from longvid.errors import ConfigError
from longvid.pipelines.cli.console import console, print_json
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.pipelines.training.settings_reference import SettingRow


def print_settings(recipe: str | None, overrides: list[str] | None, *, as_json: bool) -> int:
    """Print name, default, type and purpose of every setting; as JSON, the schema of a recipe file.

    In a file or a pipe each setting is one line.
    """
    from longvid.pipelines.training.settings_reference import json_schema, setting_rows

    if overrides or (recipe is not None and "=" in recipe):
        raise ConfigError("--settings lists all settings, or those of a recipe: longvid train --settings lvu/scene")
    if as_json:
        print_json(json_schema(recipe))
        return 0
    print_rows(setting_rows(recipe))
    return 0


def print_rows(rows: "list[SettingRow]") -> None:
    """Print settings with their purpose."""
    for row in rows:
        if console.is_terminal:
            console.print(_head(row), style="bold")
            console.print(Padding(printable(f"{row.type}: {row.what}"), (0, 0, 0, 4)))
        else:
            console.print(f"{_head(row)}  ({row.type})  {row.what}")


def _head(row: "SettingRow") -> str:
    """`epochs=50`, or with a recipe's own value `epochs=60, default 50`."""
    if row.value is None:
        return f"{row.name}={row.default}" if row.default else f"{row.name}=..."
    default = f", default {row.default}" if row.default else ""
    return printable(f"{row.name}={row.value}{default}")
