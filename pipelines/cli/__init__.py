"""The `longvid` command."""

from pipelines.cli.main import main

__all__ = ["main"]
