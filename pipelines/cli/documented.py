"""The `longvid` command as a click command, for what makes documentation of it."""

from typer.main import get_command

from longvid.pipelines.cli.main import app

command = get_command(app)
