"""`longvid info | verify | repair | delete | export | import`: stores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longvid.pipelines.cli.console import (
    console,
    counted,
    human_bytes,
    human_seconds,
    print_json,
    table,
)
from longvid.pipelines.cli.damage import JSON, Location, repair, watching
from longvid.pipelines.cli.verification import verify
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.stores import FeatureStore, Recipe, StoreInfo

NpyLayout = Annotated[
    str,
    typer.Option(help="Layout of npy files: vis4mer (clips, tokens, dim), mstcn (dim, clips) or rows (clips, dim)."),
]


PANEL = "Stores of features"


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the command line."""
    for command in (info, verify, repair, delete):
        app.command(rich_help_panel=PANEL)(command)
    app.command(name="export", rich_help_panel=PANEL)(export_store)
    app.command(name="import", rich_help_panel=PANEL)(import_store)


def info(
    store: Location,
    videos: Annotated[bool, typer.Option("--videos", help="Also list the complete videos.")] = False,
    card: Annotated[
        bool,
        typer.Option("--card", help="Print the card of the store, or of a run's folder, that `longvid push` writes."),
    ] = False,
    as_json: JSON = False,
) -> int:
    """Show what a store holds: its recipe, videos, clips and bytes."""
    from longvid.stores import FeatureStore

    if card:
        from longvid.hub import hub_place, local_run
        from longvid.pipelines.sharing.cards import card_of_run, store_card

        on_hub = hub_place(store)
        at_run = any((Path(store) / name).is_file() for name in ("run.json", "pretrain.json"))
        if at_run or (on_hub is not None and on_hub.kind == "model"):
            text = card_of_run(local_run(store), place=store)
        else:
            text = store_card(FeatureStore.open(store), place=store)
        print(text, end="")
        return 0
    opened = FeatureStore.open(store)
    facts = opened.info()
    if as_json:
        listed = {"videos": opened.num_clips(), "damaged": opened.num_damaged_clips()} if videos else {}
        print_json(facts.to_dict() | listed)
        return 0
    _print_info(facts)
    if facts.planned_videos:
        _print_incomplete(opened, store)
    if videos:
        lacking = opened.num_damaged_clips()
        columns = ("clips", "not there") if lacking else ("clips",)
        listed_videos = table("video", *columns, right=columns)
        for key, num_clips in opened.num_clips().items():
            listed_videos.add_row(key, str(num_clips), *([str(lacking.get(key, 0))] if lacking else []))
        console.print(listed_videos)
    return 0


def _print_info(facts: "StoreInfo") -> None:
    recipe, layout = facts.recipe, facts.layout
    rows = table("", "")
    rows.show_header = False
    rows.add_row("encoder", recipe.encoder)
    rows.add_row("weights", _weights(recipe))
    rows.add_row("sampling", _sampling(recipe.sampling))
    rows.add_row("frames", _frames(recipe.preprocessing))
    tokens = counted(recipe.num_tokens, "token")
    rows.add_row("per clip", f"{tokens} of {recipe.dim} numbers, {recipe.dtype}, pooling {recipe.pooling}")
    waiting = f", {facts.planned_videos} not complete" if facts.planned_videos else ""
    rows.add_row("videos", f"{facts.complete_videos} complete{waiting}")
    rows.add_row("clips", f"{facts.num_clips} over {human_seconds(facts.seconds)}")
    if facts.damaged_clips:
        rows.add_row("not there", f"{facts.damaged_clips} clips of {counted(facts.damaged_videos, 'damaged video')}")
    on_disk = f", {human_bytes(facts.file_bytes)} on disk" if facts.file_bytes is not None else ""
    rows.add_row("size", f"{human_bytes(facts.token_bytes)} of tokens{on_disk}")
    compression = layout.compression or "not compressed"
    rows.add_row("shards", f"{layout.clips_per_shard} clips in chunks of {layout.clips_per_chunk}, {compression}")
    rows.add_row("digest", recipe.digest[:16])
    console.print(rows)


def _print_incomplete(opened: "FeatureStore", store: str) -> None:
    """Print what to do about incomplete videos; those that failed need another file."""
    from longvid.pipelines.extraction.report import default_report_path, failed_before

    incomplete = set(opened.keys(complete=False)) - set(opened.keys())
    failed = incomplete & failed_before(store).keys()
    if len(incomplete) > len(failed):
        others = counted(len(incomplete) - len(failed), "video")
        console.print(f"run the same `longvid extract` again to complete {others}", style="dim")
    if failed:
        console.print(
            f"{counted(len(failed), 'video')} failed in the last run ({default_report_path(store)} says why); get "
            f"better files, or remove the videos with `longvid delete {store} KEY`",
            style="dim",
        )


def _weights(recipe: "Recipe") -> str:
    """`random (seed 0), sha256 b264ac8c70833cfd`; unknown parts are left out."""
    origin = str(recipe.encoder_config.get("weights", ""))
    if origin == "none":
        return origin
    digest = f"sha256 {recipe.weights_sha256[:16]}" if recipe.weights_sha256 else ""
    return ", ".join(part for part in ("" if origin == "loaded" else origin, digest) if part) or "not known"


def _sampling(sampling: dict[str, Any]) -> str:
    """`4 frames at 2 per second, a clip every 1 s, end: repeat`; other rules are shown field by field."""
    if "frames" not in sampling:
        return ", ".join(f"{name} {value}" for name, value in sampling.items() if value is not None) or "-"
    rate = "in a row" if sampling.get("fps") is None else f"at {sampling['fps']:.4g} per second"
    parts = [f"{counted(sampling['frames'], 'frame')} {rate}"]
    if sampling.get("segments") is not None:
        parts.append(f"{sampling['segments']} clips per video")
    elif sampling.get("stride_seconds") is not None:
        parts.append(f"a clip every {sampling['stride_seconds']:.4g} s")
    told = ("frames", "fps", "segments", "stride_seconds")
    parts += [f"{name}: {value}" for name, value in sampling.items() if name not in told and value is not None]
    return ", ".join(parts)


def _frames(preprocessing: dict[str, Any]) -> str:
    """`224 x 224, short_side, bicubic`."""
    if "height" not in preprocessing:
        return "-"
    ways = [str(preprocessing[name]) for name in ("resize", "interpolation") if name in preprocessing]
    return ", ".join([f"{preprocessing['height']} x {preprocessing['width']}", *ways])


def delete(
    store: Location,
    keys: Annotated[list[str], typer.Argument(help="Keys of the videos to remove.")],
) -> int:
    """Remove videos from a store."""
    from longvid.stores import FeatureStore

    opened = FeatureStore.open(store, mode="a")
    opened.delete(*keys)
    for key in keys:
        console.print(f"removed {printable(key)}")
    return 0


def export_store(
    store: Location,
    out: Annotated[Path, typer.Argument(help="A folder for npy files, or a new .h5 file.")],
    layout: NpyLayout = "vis4mer",
) -> int:
    """Write a store's features to a folder of npy files or to one HDF5 file."""
    from longvid.stores import FeatureStore, convert

    opened = FeatureStore.open(store)
    with watching("export") as on_video:
        if out.suffix.lower() in (".h5", ".hdf5"):
            convert.export_hdf5(opened, out, on_video=on_video)
        else:
            convert.export_npy(opened, out, layout=layout, on_video=on_video)
    console.print(f"{counted(len(opened), 'video')} written to {out}")
    return 0


def import_store(
    source: Annotated[Path, typer.Argument(help="A folder of npy files, or an .h5 file.")],
    store: Location,
    layout: NpyLayout = "vis4mer",
    seconds_per_clip: Annotated[
        float | None, typer.Option(help="Seconds per clip, where the files do not say.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16, float32 or int8; default: the smallest without loss.")
    ] = None,
) -> int:
    """Make a store of features that were computed elsewhere."""
    from longvid.stores import convert

    if not source.exists():
        raise typer.BadParameter(f"{source}: no such folder of npy files or .h5 file")
    run = convert.import_npy if source.is_dir() else convert.import_hdf5
    options: dict[str, Any] = {"layout": layout, "seconds_per_clip": seconds_per_clip, "dtype": dtype}
    with watching("import") as on_video:
        made = run(source, store, on_video=on_video, **options)
    console.print(f"{counted(len(made), 'video')} in {made.location}")
    return 0
