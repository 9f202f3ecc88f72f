"""The `longvid` command: parse, call a stage, print.

Each subcommand lives in the file of its stage and imports it when it runs, so that `longvid --help` loads nothing
heavy.

Exit statuses: 0 done; 1 a check found something (`verify`, `doctor`, `bench`, `audit`); 2 wrong use or input, with one
line that names the remedy; 3 some videos failed, each named; 130 interrupted.
"""

import errno
import os
import re
import sys
from typing import Annotated, Any

import typer

from longvid import __version__
from longvid.errors import LongvidError
from longvid.pipelines.cli import (
    data,
    evidence,
    explain,
    extract,
    hub,
    learning,
    machine,
    models,
    pretrain,
    search,
    status,
    store,
    sweep,
    train,
    views,
)
from longvid.pipelines.cli.console import error_console
from longvid.pipelines.cli.extras import missing_extra
from longvid.printable import printable
from longvid.stores import StoreError

app = typer.Typer(
    name="longvid",
    help="Turn long videos into features once; train long-range models on them many times.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(asked: bool | None) -> None:
    if asked:
        typer.echo(f"longvid {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Turn long videos into features once; train long-range models on them many times."""


for room in (
    extract,
    status,
    store,
    search,
    train,
    evidence,
    explain,
    sweep,
    pretrain,
    learning,
    views,
    data,
    models,
    machine,
    hub,
):
    room.add_to(app)

INTERRUPTED = 130

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.partial$")
_ELSEWHERE = "or name another place, then run the same command again"
_REMEDIES = dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), f"permit writing there, {_ELSEWHERE}")
_REMEDIES |= dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"make room there, {_ELSEWHERE}")
"""What helps against what the system says of a file."""

# click's own base class, wherever this version of typer keeps click
WRONG_USE: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; what a user can fix is one line, never a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = app(words or ["--help"], standalone_mode=False, prog_name="longvid")
        if status == INTERRUPTED:  # typer catches the interrupt itself
            _say("interrupted; the same command goes on from what is done", INTERRUPTED)
    except (typer.Abort, KeyboardInterrupt):
        status = _say("interrupted; the same command goes on from what is done", INTERRUPTED)
    except WRONG_USE as error:
        status = _say(error.format_message().replace(": Value error, ", ": "), 2)  # pydantic's words, not ours
    except (LongvidError, StoreError) as error:
        status = _say(str(error), 2)
    except ModuleNotFoundError as error:
        missing = missing_extra(error, next((word for word in words if not word.startswith("-")), ""))
        if missing is None:
            raise
        status = _say(str(missing), 2)
    except BrokenPipeError:
        status = 0
    except OSError as error:
        status = _say(_about_a_file(error), 2)
    sys.exit(status if isinstance(status, int) else 0)


def _about_a_file(error: OSError) -> str:
    """The file, what the system says, and the remedy where one is known."""
    name = _TEMPORARY.sub("", os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{name or 'input or output'}: {error.strerror or error}{f'; {remedy}' if remedy else ''}"


def _say(message: str, status: int) -> int:
    error_console.print(printable(f"error: {' '.join(message.split())}"), style="bold red")
    return status
