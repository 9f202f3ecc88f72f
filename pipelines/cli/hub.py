"""`longvid push`: stores and runs to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from longvid.pipelines.cli.console import console, counted, print_json

PANEL = "Both stages"


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the command line."""
    app.command(rich_help_panel=PANEL)(push)


def push(
    source: Annotated[Path, typer.Argument(help="The folder of a store or of a run.")],
    repo: Annotated[str, typer.Argument(help="The repository, user/name; it is made where it is not there.")],
    license: Annotated[
        str,
        typer.Option("--license", help="The licence of what is pushed, as the Hub writes it: cc-by-4.0, mit, other."),
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a private repository, if one is made.")] = False,
    private_names: Annotated[
        bool,
        typer.Option("--private-names", help="Push nothing that names a video file or a path; refuse what must."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> int:
    """Push a store or a run to the Hugging Face Hub, with a card; HF_TOKEN is the token, HF_ENDPOINT another server."""
    from longvid.pipelines.sharing.push import push as run

    pushed = run(source, repo, license=license, private=private, private_names=private_names)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(pushed))
        return 0
    console.print(f"{counted(pushed.files, 'file')} in {pushed.place}")
    return 0
