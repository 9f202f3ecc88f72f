"""The list of absent videos, with their web page and their splits."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from longvid.benchmarks.benchmark import SplitSet
from longvid.files import write_bytes
from longvid.pipelines.prepare.run import Preparation
from longvid.tasks.manifest import ManifestRow
from longvid.tasks.manifest_files import spreadsheet_text

COLUMNS = ("key", "state", "url", "expected_path", "splits", "reason")


@dataclass(frozen=True)
class AbsentVideo:
    """One row of the list."""

    key: str
    state: str
    url: str
    expected_path: str
    splits: str
    """Its splits, such as `relationship_split=test genre_split=train`."""
    reason: str


def absent_videos(prepared: Preparation) -> Iterator[AbsentVideo]:
    """Missing and unreadable videos, in manifest order."""
    states = {video.key: video for video in prepared.absent}
    for row in prepared.manifest:
        if row.key in states:
            video = states[row.key]
            url = prepared.benchmark.url(row) or ""
            splits = _splits(row, prepared.benchmark.splits)
            yield AbsentVideo(row.key, video.state, url, video.path, splits, video.reason)


def write_absent(path: str | Path, videos: Iterable[AbsentVideo]) -> int:
    """Write the list as CSV; returns its number of rows."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for video in videos:
        writer.writerow([spreadsheet_text(getattr(video, column)) for column in COLUMNS])
        count += 1
    write_bytes(Path(path), out.getvalue().encode())
    return count


def _splits(row: ManifestRow, splits: Iterable[SplitSet]) -> str:
    columns = dict.fromkeys(one.column for one in splits)
    return " ".join(f"{column}={row.value(column)}" for column in columns if row.value(column))
