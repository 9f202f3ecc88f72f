"""What `longvid verify` finds damaged, and `longvid repair` removes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from longvid.pipelines.cli.console import console, counted, error_console, print_json
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.stores import Damage, FeatureStore

Videos = Annotated[
    list[str] | None,
    typer.Option("--video", metavar="KEY", help="Only this video, without a look at the others; repeatable."),
]
Location = Annotated[str, typer.Argument(help="The store: a folder or a URL such as s3://bucket/x.zarr.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def find_damage(store: str, videos: list[str] | None, *, record: bool, as_json: bool) -> int:
    """Read every shard of a store, or of some of its videos, and print what is damaged: 1 if anything is.

    `record`: also record its digests.
    """
    from longvid.stores import FeatureStore, verify
    from longvid.stores.damage import record as record_digests

    opened = FeatureStore.open(store, mode="a" if record else "r")
    with watching("verify") as on_video:
        damages = verify(opened, keys=videos, on_video=on_video)
        recorded = record_digests(opened, damages) if record else []
    _print_damages(damages, as_json, good=f"{opened.location}: every file is what was written")
    wrong = any(damage.kind != "stranger" for damage in damages)
    if as_json:
        return 1 if wrong else 0
    if wrong:
        console.print("`longvid repair` removes what is damaged; `longvid extract` then makes it again", style="dim")
    if record:
        console.print(f"digests recorded for {counted(len(recorded), 'video')}", style="dim")
    elif not videos:
        _print_unrecorded(opened)
    return 1 if wrong else 0


def _print_unrecorded(opened: "FeatureStore") -> None:
    from longvid.stores import unrecorded

    if without := len(unrecorded(opened)):
        console.print(
            f"{counted(without, 'video')} from version 0.1.0 without digests: a shard in another's place is not "
            "noticed there; `longvid verify --record` records them",
            style="dim",
        )


def repair(store: Location, video: Videos = None, as_json: JSON = False) -> int:
    """Remove what is damaged, in another's place or left over, so that the next `extract` makes it again."""
    from longvid.stores import FeatureStore, restore_root
    from longvid.stores import repair as take_out

    root = restore_root(store)
    opened = FeatureStore.open(store, mode="a")
    with watching("repair") as on_video:
        damages = [*([root] if root else []), *take_out(opened, keys=video, on_video=on_video)]
    _print_damages(damages, as_json, good=f"{opened.location}: there was nothing to repair")
    again = {damage.key for damage in damages if damage.kind in ("damaged", "misplaced", "missing") and damage.key}
    mended = [damage for damage in damages if damage.kind != "stranger"]
    if mended and not as_json:
        console.print(
            f"{counted(len(mended), 'file')} removed, repaired or found missing"
            + (f"; `longvid extract` makes what {_lacking(len(again))} again" if again else ""),
            style="dim",
        )
    return 0


def _lacking(videos: int) -> str:
    return "1 video lacks" if videos == 1 else f"{counted(videos, 'video')} lack"


@contextmanager
def watching(verb: str) -> Iterator[Any]:
    """A status line that names the video being read, in a terminal only."""
    if not error_console.is_terminal:
        yield None
        return
    with error_console.status(verb) as status:
        yield lambda name: status.update(Text(f"{verb} {printable(name)}"))  # a name is not markup


def _print_damages(damages: "list[Damage]", as_json: bool, *, good: str) -> None:
    if as_json:
        from dataclasses import asdict

        print_json([asdict(damage) for damage in damages])
        return
    for damage in damages:
        console.print(printable(str(damage)), style="red")
    if not damages:
        console.print(good, style="green")
