"""The `longvid` command."""

from longvid.pipelines.cli.main import main

__all__ = ["main"]
