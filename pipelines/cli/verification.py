"""Output of `longvid verify --against`: what differs, where and why."""

from pathlib import Path
from typing import TYPE_CHECKING

from longvid.pipelines.cli.console import console, counted, error_console, failed_line, print_json, printable, table
from longvid.pipelines.cli.options import parse_options
from longvid.pipelines.cli.own_code import find_own_code

if TYPE_CHECKING:
    from longvid.pipelines.verification.findings import DifferentClip, ShardFinding, Verification

MOST_CLIPS = 20
"""Clips that are named one by one."""


def run_against(
    store: str,
    videos: list[str],
    *,
    sample: str,
    seed: int | None,
    encoder: str | None,
    options: list[str] | None,
    weights: str | None,
    backend: str | None,
    tolerance: float | None,
    device: str,
    as_json: bool,
) -> int:
    """Check a store against its videos and print the outcome: 1 if a clip differs, 3 if a video cannot be read."""
    from rich.text import Text

    from longvid.pipelines.rebuilding import Given
    from longvid.pipelines.verification.against import parse_sample, verify_against

    share = parse_sample(sample)
    find_own_code(encoder)
    given = Given(encoder, parse_options(options) if options else None, weights and str(Path(weights).expanduser()))
    with error_console.status("extracting again") as status:
        found = verify_against(
            store,
            list(videos),
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
    """Print a row per shard that is not equal, the clips that differ, and the totals."""
    rows = table("video", "clips", "seconds", "result", "cosine", "likely cause", right=("cosine",))
    shown = [one for one in found.findings if one.status != "equal"]
    for one in shown:
        seconds = f"{one.start_seconds:.3f} to {one.end_seconds:.3f}"
        clips = f"{one.first_clip} to {one.stop_clip - 1}"
        result = f"{len(one.different)} different" if one.different else "within the tolerance"
        rows.add_row(one.key, clips, seconds, result, _number(one.lowest_cosine), one.cause or "-")
    if shown:
        console.print(rows)
    _print_clips(found.findings)
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
    machine = (
        "recorded on this kind of machine: equal bytes are expected"
        if found.equal_bytes_expected
        else f"equal bytes are not expected here: a relative error up to {found.tolerance:g} is accepted"
    )
    console.print(f"{machine}; the same shards again: --seed {found.seed}", style="dim")


def _print_clips(findings: "tuple[ShardFinding, ...]") -> None:
    clips: list[tuple[str, DifferentClip]] = [(one.key, clip) for one in findings for clip in one.different]
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
