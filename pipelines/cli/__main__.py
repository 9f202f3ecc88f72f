"""`python -m pipelines.cli` is the `longvid` command."""

from pipelines.cli import main

main()
