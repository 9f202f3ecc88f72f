"""`python -m longvid.pipelines.cli` is the `longvid` command."""

from longvid.pipelines.cli import main

main()
