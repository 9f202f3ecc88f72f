"""The plan and the report that `longvid extract` prints."""

from collections.abc import Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING

from longvid.pipelines.cli.console import (
    console,
    counted,
    error_console,
    failed_line,
    human_bytes,
    human_seconds,
    print_json,
    table,
)
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.pipelines.extraction import ExtractionJob, VideoRequest
    from longvid.pipelines.extraction.report import RunReport, VideoRow

MAX_ROWS = 40
"""Videos that a run lists one by one; a larger run lists only the failed ones."""

FEW = 3
"""Videos with one kind of note that are named one by one."""


def print_plan(
    requests: "Iterable[VideoRequest]",
    job: "ExtractionJob",
    clips_per_shard: int,
    compression: str | None,
    as_json: bool,
) -> int:
    from zarr.storage import MemoryStore

    from longvid.pipelines.extraction.measuring import MeasuringProcesses
    from longvid.pipelines.extraction.plan import make_recipe, summarise_plan
    from longvid.pipelines.extraction.report import VideoRow
    from longvid.pipelines.extraction.run import DEADLINE_SECONDS
    from longvid.stores import FeatureStore
    from longvid.video.backends import require_backend

    require_backend(job.backend)
    encoder = job.build()
    recipe = make_recipe(job, encoder)
    # an empty store in memory computes how much space the videos would take
    store = FeatureStore.create(MemoryStore(), recipe, clips_per_shard=clips_per_shard, compression=compression)
    sampling = job.sampling_for(encoder.spec)
    with MeasuringProcesses(deadline_seconds=DEADLINE_SECONDS) as measure_one:
        summary = summarise_plan(requests, job, store=store, sampling=sampling, measure_one=measure_one)
    if as_json:
        print_json(summary.to_dict())
    else:
        on_disk = "on disk" if compression is None else "on disk, at most"
        numbers = ("length", "clips", "files", "tokens", on_disk)
        rows = table("video", *numbers, "decoder", right=numbers)
        for row in summary.rows:
            rows.add_row(
                row["key"],
                human_seconds(row["video_seconds"]),
                str(row["clips"]),
                str(row["files"]),
                human_bytes(row["bytes"]),
                human_bytes(row["disk_bytes"]),
                row["backend"],
            )
        totals = summary.totals
        rows.add_section()
        rows.add_row(
            counted(len(summary.rows), "video"),
            human_seconds(totals["video_seconds"]),
            str(totals["clips"]),
            str(totals["files"]),
            human_bytes(totals["bytes"]),
            human_bytes(totals["disk_bytes"]),
        )
        console.print(rows)
        for line in failed_lines(VideoRow(f.request.key, f.request.path, "failed", f.reason) for f in summary.failures):
            error_console.print(line, style="red")
    return 3 if summary.failures else 0


def failed_lines(rows: "Iterable[VideoRow]") -> list[str]:
    """One line per failed video; if there are many, one line per kind of reason, with their number."""
    from longvid.pipelines.extraction.report import failed_together

    every = iter(rows)
    first = list(islice(every, MAX_ROWS + 1))
    if len(first) <= MAX_ROWS:
        return [failed_line(row.key, row.reason) for row in first]
    kinds = failed_together(chain(first, every))
    return [failed_line(kind.keys[0], f"{kind.reason}{_and_others(kind.count - 1)}") for kind in kinds]


def note_lines(result: "RunReport") -> list[str]:
    """One line per note; notes of one kind about many videos are one line, with their number."""
    from longvid.pipelines.extraction.report import noted_together

    lines = []
    for kind in noted_together(result.each_row()):
        told = list(zip(kind.keys, kind.reasons, strict=True))
        others = "" if kind.count <= FEW else f" (and {counted(kind.count - 1, 'video')} likewise; the report has all)"
        lines += [printable(f"note: {key}: {why}{others}") for key, why in (told[:1] if others else told)]
    return lines


def _and_others(others: int) -> str:
    return f" (and {counted(others, 'video')} for the same reason)" if others else ""


def print_report(result: "RunReport") -> None:
    numbers = ("clips", "decode", "encode", "write")
    rows = table("video", "status", *numbers, "decoder", right=numbers)
    listed = result.rows if result.counts.total() <= MAX_ROWS else []
    shown = [row for row in listed if row.status != "failed"]
    for row in shown:
        style = "dim" if row.status == "kept" else ""
        rows.add_row(
            row.key,
            row.status,
            str(row.num_clips),
            f"{row.decode_seconds:.1f} s",
            f"{row.encode_seconds:.1f} s",
            f"{row.write_seconds:.2f} s",
            row.backend,
            style=style,
        )
    if shown:
        console.print(rows)
    for line in failed_lines(row for row in result.each_row() if row.status == "failed"):
        console.print(line, style="red")
    for line in note_lines(result):
        console.print(line, style="dim")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    work = ""
    if result.num_clips:
        rate = result.num_clips / max(result.wall_seconds, 1e-9)
        by = counted(result.workers, "worker")
        work = (
            f"; {counted(result.num_clips, 'clip')} in {human_seconds(result.wall_seconds)} ({rate:.1f} per second, "
            f"{by})"
        )
    console.print(f"{counts or 'no videos'}{work}")
    console.print(f"report: {result.path}")
