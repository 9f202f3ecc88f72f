"""From a data set and a folder of videos to a manifest.

    prepared = prepare(lvu_benchmark("lvu_1.0"), videos="clips")
    prepared.manifest.write("lvu.jsonl")

Missing videos stay in the manifest, with the path where they are expected: an extraction then reports each as failed,
and every score says how many of the listed videos it is based on.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from longvid.benchmarks.benchmark import Benchmark
from longvid.benchmarks.leaks import Leak, find_leaks
from longvid.errors import VideoError
from longvid.pipelines.prepare.counts import SplitCount, count_splits
from longvid.pipelines.prepare.finding import VideoFolder
from longvid.plain import as_json
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.video import probe
from longvid.video.storage import is_url

State = Literal["found", "unreadable", "missing"]
LENGTH_TOLERANCE_SECONDS = 2.0
"""A note names files whose duration differs by more than this from the listed one: they may be another cut."""

OnVideo = Callable[["VideoStatus"], None]


@dataclass(frozen=True)
class VideoStatus:
    """Whether one listed video exists."""

    key: str
    state: State
    path: str
    """Its file, or the expected path if it is missing."""
    reason: str = ""
    """The reason why it is unreadable."""
    seconds: float | None = None
    """Measured duration, if it was opened."""
    others: tuple[str, ...] = ()
    """Other files of the same name, which are not used."""


@dataclass(frozen=True)
class Preparation:
    """A manifest with paths, and the state of every video."""

    benchmark: Benchmark
    manifest: Manifest
    videos: tuple[VideoStatus, ...]
    """In manifest order."""
    splits: tuple[SplitCount, ...]
    leaks: tuple[Leak, ...]

    @property
    def counts(self) -> dict[State, int]:
        """Videos by state."""
        counted = Counter(video.state for video in self.videos)
        return {"found": counted["found"], "unreadable": counted["unreadable"], "missing": counted["missing"]}

    @property
    def absent(self) -> tuple[VideoStatus, ...]:
        """Videos that are missing or unreadable."""
        return tuple(video for video in self.videos if video.state != "found")

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the annotations and on the files found."""
        return (*self.benchmark.notes, *_file_notes(self.benchmark.manifest, self.videos))

    @property
    def exit_status(self) -> int:
        """0, or 3 if a file cannot be read or a row of the annotations cannot be used."""
        return 3 if self.benchmark.faults or self.counts["unreadable"] else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "benchmark": self.benchmark.name,
            "listed": len(self.manifest),
            "counts": self.counts,
            "splits": as_json(self.splits),
            "leaks": as_json(self.leaks),
            "notes": list(self.notes),
            "faults": as_json(self.benchmark.faults),
            "absent": as_json(self.absent),
        }


def prepare(
    benchmark: Benchmark,
    videos: str | Path,
    *,
    check: bool = True,
    workers: int = 8,
    on_video: OnVideo | None = None,
) -> Preparation:
    """Find each listed video below the folder `videos`, and open it unless `check` is false.

    `on_video` is called for every video once its state is known. Raises `VideoNotFound` if there is no folder.
    """
    folder = VideoFolder(videos)
    found = [_found(row, benchmark, folder) for row in benchmark.manifest]
    if check:
        found = _checked(found, workers=workers, on_video=on_video)
    manifest = Manifest(
        tuple(replace(row, path=video.path) for row, video in zip(benchmark.manifest, found, strict=True)),
        name=benchmark.manifest.name,
    )
    there = frozenset(video.key for video in found if video.state == "found")
    broken = frozenset(video.key for video in found if video.state == "unreadable")
    return Preparation(
        benchmark,
        manifest,
        tuple(found),
        tuple(count_splits(manifest, benchmark.splits, found=there, unreadable=broken)),
        tuple(find_leaks(manifest, benchmark.splits)),
    )


def _found(row: ManifestRow, benchmark: Benchmark, folder: VideoFolder) -> VideoStatus:
    if row.path is not None:
        # what lies elsewhere is there or not when it is opened
        state: State = "found" if is_url(row.path) or Path(row.path).is_file() else "missing"
        return VideoStatus(row.key, state, row.path)
    files = folder.find(benchmark.names(row))
    if not files:
        return VideoStatus(row.key, "missing", str(folder.folder.absolute() / benchmark.home(row)))
    path, *others = (str(file.absolute()) for file in files)
    return VideoStatus(row.key, "found", path, others=tuple(others))


def _checked(videos: list[VideoStatus], *, workers: int, on_video: OnVideo | None) -> list[VideoStatus]:
    """The same videos; those that exist are opened and measured, several at once."""
    settled = {video.key: video for video in videos}
    there = [video for video in videos if video.state == "found"]
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="longvid-prepare") as pool:
        for future in as_completed([pool.submit(_opened, video) for video in there]):
            video = future.result()
            settled[video.key] = video
            if on_video is not None:
                on_video(video)
    return [settled[video.key] for video in videos]


def _opened(video: VideoStatus) -> VideoStatus:
    try:
        measured = probe(video.path)
    except (VideoError, OSError) as error:
        return replace(video, state="unreadable", reason=str(error))
    seconds = measured.end_seconds - measured.begin_seconds
    if measured.truncated:
        reason = "; ".join(measured.problems)
        return replace(video, state="unreadable", reason=f"{video.path}: {reason}", seconds=seconds)
    return replace(video, seconds=seconds)


def _file_notes(manifest: Manifest, videos: Iterable[VideoStatus]) -> list[str]:
    notes = []
    ambiguous = [video for video in videos if video.others]
    if ambiguous:
        first = ambiguous[0]
        notes.append(
            f"{len(ambiguous)} videos have several files; the first by path is used, "
            f"as {first.path} for {first.key} (not {', '.join(first.others[:3])})"
        )
    other = []
    for row, video in zip(manifest, videos, strict=True):
        listed = row.extra.get("duration_seconds")
        if video.seconds is None or not isinstance(listed, int | float):
            continue
        if abs(video.seconds - listed) > LENGTH_TOLERANCE_SECONDS:
            other.append(f"{video.key} ({video.seconds:.0f} s, listed {listed:g} s)")
    if other:
        more = f" and {len(other) - 10} more" if len(other) > 10 else ""
        notes.append(f"{len(other)} files differ in duration from the list: {', '.join(other[:10])}{more}")
    return notes
