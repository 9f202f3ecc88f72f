"""`longvid verify`: is a store what was written, and what its videos give."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longvid.pipelines.cli.console import console, counted, error_console, failed_line, print_json, table
from longvid.pipelines.cli.damage import JSON, Location, Videos, find_damage
from longvid.pipelines.cli.options import parse_options
from longvid.pipelines.cli.own_code import find_own_code
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.pipelines.verification.findings import DifferentClip, ShardFinding, Verification

MOST_CLIPS = 20
"""Clips that are named one by one."""


Record = Annotated[
    bool,
    typer.Option(
        "--record",
        help="Also record a digest of each shard where version 0.1.0 did not, so that a shard in another's place is "
        "noticed.",
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VIDEOS",
        help="Extract random shards again from these videos (folder, manifest or file; repeatable) and compare.",
    ),
]
Sample = Annotated[str, typer.Option(metavar="SHARE", help="With --against: how much of the shards, at least one.")]
Seed = Annotated[int | None, typer.Option(help="With --against: choose the shards of an earlier check again.")]
EncoderName = Annotated[
    str | None,
    typer.Option(help="With --against: the encoder, if it has moved, must be fetched or is your own module:callable."),
]
Option = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of that encoder; repeatable.")]
Weights = Annotated[str | None, typer.Option(help="With --against: checkpoint file of the encoder, if it has moved.")]
Backend = Annotated[
    str | None, typer.Option(help="With --against: decode with this, not with the decoder that the store records.")
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="With --against: accept this relative error per clip; default: equal bytes on the same kind of machine, "
        "elsewhere a bound by dtype.",
    ),
]
Device = Annotated[str, typer.Option(help="With --against: torch device of the encoder.")]


def verify(
    store: Location,
    video: Videos = None,
    record: Record = False,
    against: Against = None,
    sample: Sample = "1%",
    seed: Seed = None,
    encoder: EncoderName = None,
    option: Option = None,
    weights: Weights = None,
    backend: Backend = None,
    tolerance: Tolerance = None,
    device: Device = "auto",
    as_json: JSON = False,
) -> int:
    """Read every shard and name what is damaged, missing or in another's place (then exit status 1).

    With --against, the features of random shards are made again from the videos instead, and compared.
    """
    if not against:
        return find_damage(store, video, record=record, as_json=as_json)
    if record:
        raise typer.BadParameter("--record and --against are two checks: give one of them")
    if video:
        raise typer.BadParameter("--video is for the check of files; --against takes its videos")
    from rich.text import Text

    from longvid.pipelines.rebuilding import Given
    from longvid.pipelines.verification.against import parse_sample, verify_against

    share = parse_sample(sample)
    find_own_code(encoder)
    given = Given(encoder, parse_options(option) if option else None, weights and str(Path(weights).expanduser()))
    with error_console.status("extracting again") as status:
        found = verify_against(
            store,
            against,
            sample=share,
            seed=seed,
            given=given,
            backend=backend,
            tolerance=tolerance,
            device=device,
            watch=lambda key: status.update(Text(f"extracting again {printable(key)}")),
        )
    if as_json:
        print_json(found.to_dict())
    else:
        print_verification(found)
    return 1 if not found.agrees else 3 if found.failures else 0


def print_verification(found: "Verification") -> None:
    """Print a row per shard that is not equal, the clips that differ, the likely causes, and the totals."""
    rows = table("video", "clips", "seconds", "result", "cosine", right=("cosine",))
    shown = [one for one in found.findings if one.status != "equal"]
    for one in shown:
        seconds = f"{one.start_seconds:.3f} to {one.end_seconds:.3f}"
        count, all_of = len(one.different), one.stop_clip - one.first_clip
        result = "within the tolerance" if not count else "all different" if count == all_of else f"{count} different"
        clips = f"{one.first_clip} to {one.stop_clip - 1}"
        rows.add_row(one.key, clips, seconds, result, _number(one.lowest_cosine))
    if shown:
        console.print(rows)
    _print_clips(found.findings)
    for line in dict.fromkeys(f"{one.key}: likely cause: {one.cause}" for one in shown if one.cause):
        console.print(printable(line), style="red" if not found.agrees else "yellow")
    for failure in found.failures:
        console.print(failed_line(failure.key, failure.reason), style="red")
    for note in dict.fromkeys(f"{one.key}: {note}" for one in found.findings for note in one.notes):
        console.print(f"note: {note}", style="yellow")
    if found.not_given:
        example = printable(found.not_given[0])
        console.print(
            f"note: {counted(len(found.not_given), 'video')} of the store not among the videos given ({example}, ...)",
            style="yellow",
        )
    counts = found.counts
    console.print(
        f"{len(found.findings)} of {counted(found.num_shards, 'shard')} extracted again: {counts['equal']} clips equal "
        f"byte for byte, {counts['close']} within the tolerance, {counts['different']} different",
        style="green" if found.agrees and not found.failures else "red",
    )
    if not found.findings:
        return
    machine = (
        "recorded on this kind of machine: equal bytes are expected"
        if found.equal_bytes_expected
        else f"equal bytes are not expected here: a relative error up to {found.tolerance:g} is accepted"
    )
    console.print(f"{machine}; the same shards again: --seed {found.seed}", style="dim")


def _print_clips(findings: "tuple[ShardFinding, ...]") -> None:
    # where all clips of a shard differ, its row has said so
    some = [one for one in findings if len(one.different) < one.stop_clip - one.first_clip]
    clips: list[tuple[str, DifferentClip]] = [(one.key, clip) for one in some for clip in one.different]
    for key, clip in clips[:MOST_CLIPS]:
        measured = (
            "not there on one side"
            if clip.cosine is None
            else f"cosine {clip.cosine:.6f}, relative error {_number(clip.relative_error)}"
        )
        console.print(
            f"different: clip {clip.clip} of {key} ({clip.start_seconds:.3f} to {clip.end_seconds:.3f} s): {measured}",
            style="red",
        )
    if len(clips) > MOST_CLIPS:
        console.print(f"and {counted(len(clips) - MOST_CLIPS, 'more clip')}; --json lists all", style="red")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
