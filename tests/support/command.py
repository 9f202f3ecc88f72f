"""The command line in this process, as a user meets it."""

from collections.abc import Callable

import pytest

from longvid.pipelines.cli import main


def command_in_process(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """What runs `longvid` with some words: exit status, output, errors."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
