"""The `longvid` command as a click command, for documentation tools."""

from typer.main import get_command

from longvid.pipelines.cli.main import app

command = get_command(app)
