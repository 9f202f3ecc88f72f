"""`longvid status`: how far the runs into a store are."""

import time
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
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.pipelines.extraction.status import RunStatus, StoreStatus

WATCH_SECONDS = 5.0
MOST_WORKERS = 20
"""Workers that are listed; those that were silent longest come first."""
MOST_SHARES = 20
PERCENT_SHOWN = 0.005


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the command line."""
    app.command(rich_help_panel="Stage one: videos to features")(status)


def status(
    store: Annotated[str, typer.Argument(help="The store: a folder or a URL such as s3://bucket/x.zarr.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 5 seconds, until no run works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> int:
    """Show how far the extractions into a store are, from any machine: while they run, and after a crash.

    Exit status 3: videos have failed, shares are missing, or a run did not come to its end.
    """
    from longvid.pipelines.extraction.status import read_status

    while True:
        found = read_status(store)
        if not found.runs:
            return _without_runs(store, as_json)
        if as_json:
            print_json(found.to_dict())
        else:
            _print(found)
        if not watch or not any(run.state == "running" for run in found.runs):
            return _exit_status(found)
        time.sleep(WATCH_SECONDS)
        if not as_json:
            console.print()


def _exit_status(found: "StoreStatus") -> int:
    fine = all(run.state in ("running", "ended") and not run.document["failed"] for run in found.runs)
    return 0 if fine and not found.missing_shares else 3


def _without_runs(store: str, as_json: bool) -> int:
    """What the store itself says, where no run left a status: it was made by an earlier version or copied here."""
    from longvid.stores import FeatureStore

    facts = FeatureStore.open(store).info()
    if as_json:
        print_json({"location": store, "runs": [], "missing_shares": [], "store": facts.to_dict()})
        return 0
    console.print(
        f"{counted(facts.complete_videos, 'video')} complete, {human_seconds(facts.seconds)} of video; "
        f"{facts.planned_videos} not complete; no run into this store has left a status beside it"
    )
    return 0


def _print(found: "StoreStatus") -> None:
    if len(found.runs) > 1:
        _print_runs(found.runs)
    _print_run(found.runs[0].document if len(found.runs) == 1 else _summed(found.runs), found.runs)
    if found.missing_shares:
        shown = ", ".join(map(str, found.missing_shares[:MOST_SHARES]))
        more = len(found.missing_shares) - MOST_SHARES
        console.print(
            f"missing shares: {shown}{f' and {more} more' if more > 0 else ''}; "
            "run the same `longvid extract` with --share for each",
            style="red",
        )


STATES = {
    "running": "running",
    "ended": "ended",
    "interrupted": "interrupted; the same command goes on",
    "failed": "ended by an error",
    "silent": "ended without a word (killed?); the same command goes on",
}


def _print_runs(runs: "list[RunStatus]") -> None:
    numbers = ("done", "kept", "failed", "heard")
    rows = table("run", "state", *numbers, right=numbers)
    for run in runs:
        videos = run.document["videos"]
        rows.add_row(
            "all videos" if run.share is None else f"share {run.share}",
            STATES[run.state],
            *(str(videos[name]) for name in ("done", "kept", "failed")),
            f"{human_seconds(run.silent_seconds)} ago",
        )
    console.print(rows)


def _print_run(document: dict[str, Any], runs: "list[RunStatus]") -> None:
    videos, seconds = document["videos"], document["video_seconds"]
    rows = table("", "")
    rows.show_header = False
    if len(runs) == 1:
        run = runs[0]
        reason = f": {document['reason']}" if document.get("reason") else ""
        rows.add_row("run", f"{STATES[run.state]}{reason}")
        rows.add_row("where", f"{document['host']}, process {document['pid']}")
        rows.add_row("last heard", f"{human_seconds(run.silent_seconds)} ago")
    listed = "" if videos["listed"] is None else f" of {videos['listed']:,}"
    way = f", {videos['under_way']:,} under way" if videos["under_way"] else ""
    rows.add_row("videos", f"{videos['done'] + videos['kept']:,}{listed} in the store ({videos['kept']:,} kept){way}")
    rows.add_row("hours", f"{seconds['done'] / 3600:.2f} done, {seconds['kept'] / 3600:.2f} kept")
    rows.add_row("failed", f"{videos['failed']:,}")
    rate, running = document["video_seconds_per_second"], any(run.state == "running" for run in runs)
    if running or len(runs) == 1:
        rows.add_row("rate", f"{rate:.1f} video-hours per hour")
    if document["seconds_left"] is not None and running:
        rows.add_row("left", human_seconds(document["seconds_left"]))
    shares = [(stage, share) for stage, share in document["stages"].items() if share > PERCENT_SHOWN]
    if shares:
        told = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in shares)
        rows.add_row("stages", f"{told} of the workers' time; limited by {document['limited_by']}")
    if document["read_bytes"]:
        rows.add_row("read", human_bytes(document["read_bytes"]))
    workers = sorted(document["workers"], key=lambda worker: -worker["silent_seconds"])
    if workers:
        longest = ", ".join(
            f"{worker['name']} {human_seconds(worker['silent_seconds'])} ago" for worker in workers[:MOST_WORKERS]
        )
        rows.add_row("workers", f"{len(workers):,}; last heard: {longest}")
    console.print(rows)
    for kind in document["failed"]:
        others = f" (and {counted(kind['videos'] - 1, 'video')} for the same reason)" if kind["videos"] > 1 else ""
        console.print(printable(f"failed: {kind['key']}: {kind['reason']}{others}"), style="red")
    if document["failed"]:
        console.print("the same `longvid extract` with --retry-failed tries only these again", style="dim")


def _summed(runs: "list[RunStatus]") -> dict[str, Any]:
    """The counts of several runs together."""
    documents = [run.document for run in runs]
    working = [run.document for run in runs if run.state == "running"]
    listed = [document["videos"]["listed"] for document in documents]
    left = [document["seconds_left"] for document in working]
    videos = {name: sum(one["videos"][name] for one in documents) for name in ("done", "kept", "failed", "under_way")}
    stages = {
        stage: sum(one["stages"][stage] for one in documents) / len(documents) for stage in documents[0]["stages"]
    }
    return {
        "videos": videos | {"listed": None if None in listed else sum(listed)},
        "video_seconds": {name: sum(one["video_seconds"][name] for one in documents) for name in ("done", "kept")},
        "failed": [kind for one in documents for kind in one["failed"]],
        "video_seconds_per_second": sum(one["video_seconds_per_second"] for one in working),
        "seconds_left": None if None in left or not left else max(left),
        "stages": stages,
        "limited_by": max(stages, key=lambda stage: stages[stage]),
        "read_bytes": sum(one["read_bytes"] for one in documents),
        "workers": [worker for one in working for worker in one["workers"]],
    }
