"""`python -m longvid` is the `longvid` command."""

from longvid.pipelines.cli import main

if __name__ == "__main__":
    main()
