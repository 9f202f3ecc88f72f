"""Output of `longvid prepare`: counts, baselines, leaks, unusable files."""

import time
from pathlib import Path

from rich.console import Console

from longvid.metrics.items import METRICS
from longvid.pipelines.cli.console import LINE_EVERY_SECONDS, console, error_console, table
from longvid.pipelines.prepare import Preparation, VideoStatus
from longvid.pipelines.prepare.counts import SplitCount
from longvid.printable import printable

SHOWN_UNREADABLE = 20


class CheckProgress:
    """Counts opened files: a status line in a terminal, a plain line every 15 seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("looking for videos") if console.is_terminal else None
        self._opened, self._unreadable = 0, 0
        self._last_line = time.monotonic()

    def __enter__(self) -> "CheckProgress":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._status is not None:
            self._status.stop()

    def opened(self, video: VideoStatus) -> None:
        """One more file was opened."""
        self._opened += 1
        self._unreadable += video.state == "unreadable"
        line = f"{self._opened} files opened, {self._unreadable} unreadable"
        if self._status is not None:
            self._status.update(line)
        elif time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(line, highlight=False)


def print_preparation(prepared: Preparation, *, manifest: Path, missing: Path | None) -> None:
    """Print everything about a preparation."""
    counts = prepared.counts
    console.print(
        f"{prepared.benchmark.name}: {len(prepared.manifest):,} videos listed, {counts['found']:,} found, "
        f"{counts['unreadable']:,} unreadable, {counts['missing']:,} missing",
        highlight=False,
    )
    if prepared.splits:
        _print_splits(prepared.splits)
    _print_leaks(prepared)
    for note in prepared.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for fault in prepared.benchmark.faults:
        error_console.print(printable(f"not usable: {fault}"), style="red", markup=False, highlight=False)
    unreadable = [video for video in prepared.videos if video.state == "unreadable"]
    for video in unreadable[:SHOWN_UNREADABLE]:
        error_console.print(
            printable(f"unreadable: {video.key}: {video.reason}"), style="red", markup=False, highlight=False
        )
    if len(unreadable) > SHOWN_UNREADABLE:
        error_console.print(f"{len(unreadable) - SHOWN_UNREADABLE} more unreadable files; --missing lists them all")
    console.print(f"manifest: {manifest}", markup=False, highlight=False)
    if missing is not None:
        console.print(f"missing and unreadable videos, with their pages: {missing}", markup=False, highlight=False)
    elif prepared.absent:
        console.print("--missing FILE writes the list of what is missing, with the page of each", style="dim")


def _print_splits(splits: tuple[SplitCount, ...]) -> None:
    """Print a row per set of splits: videos found of those listed, the baseline, and the weight of one test video."""
    some_found = any(count.found["test"] for count in splits)
    numbers = ["train", "val", "test", "baseline", *(["on found"] if some_found else []), "one video"]
    rows = table("task", *numbers, "always", right=numbers)
    for count in splits:
        shown = [_of(count, split) for split in ("train", "val", "test")]
        scores = [_score(count.metric, count.baseline_listed)]
        scores += [_score(count.metric, count.baseline_found)] if some_found else []
        rows.add_row(_question(count), *shown, *scores, _weight(count), count.answer.removeprefix("always "))
    console.print(rows)
    console.print(
        "found / listed videos; baseline: the score of always giving the answer in the last column, on all listed test "
        f"videos{' and on those found' if some_found else ''}; one video: what one test video weighs in the published "
        f"accuracy{', and in that on the videos found' if some_found else ''}",
        style="dim",
    )


def _question(count: SplitCount) -> str:
    """The task, with the column of its splits where it has several."""
    task = count.task.rpartition("/")[2]
    return count.task if count.column in ("split", f"{task}_split") else f"{count.task}, {count.column}"


def _of(count: SplitCount, split: str) -> str:
    listed, found, unreadable = count.listed[split], count.found[split], count.unreadable[split]
    if listed == 0:
        return "-"
    broken = f" ({unreadable} unreadable)" if unreadable else ""
    return str(listed) if found == listed else f"{found}/{listed}{broken}"


def _score(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f} %" if METRICS[metric].percent else f"{METRICS[metric].label} {value:.4f}"


def _weight(count: SplitCount) -> str:
    listed, found = count.listed["test"], count.found["test"]
    if listed == 0 or count.metric != "accuracy":
        return ""
    published = f"{100 / listed:.2f} %"
    return published if found in (0, listed) else f"{published}, {100 / found:.2f} %"


def _print_leaks(prepared: Preparation) -> None:
    """Print a row per set of splits: how many of its test videos training may have seen, and how."""
    if not prepared.leaks:
        return
    counted: dict[str, dict[str, int]] = {}
    for leak in prepared.leaks:
        row = counted.setdefault(leak.column, {"test": leak.num_test, "group": 0, "video": 0})
        row[leak.kind] = len(leak.keys)
    numbers = ("test videos", "film or person in training", "in training or validation of another task")
    rows = table("leaks", *numbers, right=numbers)
    for column, row in counted.items():
        rows.add_row(column, str(row["test"]), str(row["group"] or "-"), str(row["video"] or "-"))
    console.print(rows)
    between = {key for leak in prepared.leaks if leak.kind == "video" for key in leak.keys}
    if between:
        console.print(
            f"{len(between)} test videos in all are used for training or validation in another task; the joint splits "
            "leave them out, and columns `..._split_disjoint` also leave out training videos that share a film with "
            "test",
            style="dim",
        )
