"""What a rerun over a complete store costs; a look into a large store.

Every video is a name of its own (a hard link) for a drawn file of 8 MiB, so the disk holds few bytes, and what is
read comes from the system's cache: the time is that of the program, not of the disk. The bytes read are counted. The
store is written through the public interface, a video at a time, by a few processes; the rerun is `extract` in a
process of its own.
"""

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from longvid.clips.sampling import Sampling
from longvid.pipelines.bench.measure import MEGABYTE
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.extraction.inputs import ListedVideos, VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.run import extract
from longvid.stores import FeatureStore

FILE_BYTES = 8 << 20
VIDEO_SECONDS = 8.0
MOST_SECONDS = 60.0
"""For `VIDEOS`; other numbers in proportion."""
VIDEOS = 10_000
MOST_BYTES_A_VIDEO = 1_000_000
MOST_GROWTH = 1.1
"""Growth of the memory from a tenth of the videos to all of them."""
OPEN_SECONDS, INFO_SECONDS = 2.0, 10.0

MOST_LINKS = 50_000
"""Names of one file: ext4 allows 65,000."""

WRITERS, PART = 4, 500
"""Processes that make the store, which wait for the disk most of the time, and videos that one is given at once."""

JOB = ExtractionJob(
    "patch-statistics",
    encoder_options={"size": 32, "dim": 16},
    sampling=Sampling(frames=1, fps=2.0, stride_seconds=0.5),
    pooling="mean",
    torch_threads=1,
)

RERUN = "import sys; from longvid.pipelines.bench.rerun import rerun; rerun(*sys.argv[1:])"


def run(*, quick: bool = False) -> BenchTable:
    """A rerun over 10,000 videos."""
    return measure(300 if quick else VIDEOS)


def measure(videos: int) -> BenchTable:
    """A rerun over as many videos, and over the tenth of them that a second manifest lists."""
    table = BenchTable("Rerun", ["what", "videos", "wall s", "processor s", "MB", "MB read per video"])
    with TemporaryDirectory(prefix="longvid-rerun-") as name:
        folder = Path(name)
        begun = time.perf_counter()
        _make(folder, videos)
        table.rows.append(["making the store", videos, time.perf_counter() - begun, None, None, None])
        few = _rerun(folder, "few.jsonl")
        all_of_them = _rerun(folder, "all.jsonl")
        for found in (few, all_of_them):
            read = found["read_bytes"] / found["kept"]
            peak = found["peak_bytes"] / MEGABYTE
            table.rows.append(
                ["rerun", found["kept"], found["seconds"], found["processor_seconds"], peak, read / MEGABYTE]
            )
        store = str(folder / "x.zarr")
        key = _key(random.randrange(videos))
        opened = _seconds(lambda: FeatureStore.open(store).video(key).read(2, 10))
        info = _seconds(lambda: FeatureStore.open(store).info())
        table.rows += [
            ["open, first window", videos, opened, None, None, None],
            ["info", videos, info, None, None, None],
        ]
        files = sum(len(names) for _, _, names in os.walk(Path(store, "videos", _key(0))))
    each = (all_of_them["processor_seconds"] - few["processor_seconds"]) / (all_of_them["kept"] - few["kept"])
    processor = few["processor_seconds"] + each * (VIDEOS - few["kept"])
    table.claim(
        f"processor seconds of a rerun over {VIDEOS:,} videos, its start included", processor, at_most=MOST_SECONDS
    )
    if videos >= VIDEOS:
        table.claim("seconds of the rerun", all_of_them["seconds"], at_most=MOST_SECONDS * videos / VIDEOS)
    table.claim("bytes read per complete video", read, at_most=MOST_BYTES_A_VIDEO)
    growth = all_of_them["peak_bytes"] / few["peak_bytes"]
    table.claim("memory of the rerun, all of the videos against a tenth", growth, at_most=MOST_GROWTH)
    table.claim("seconds to open the store and read a first window", opened, at_most=OPEN_SECONDS)
    table.claim("seconds of info", info, at_most=INFO_SECONDS)
    table.notes += [
        f"each video is a file of {FILE_BYTES / MEGABYTE:.1f} MB, of which its fingerprint reads three blocks; they "
        "are in the system's cache: a disk adds the time for its reads",
        "processor s: of the coordinating process and of the second one, which looks at the files; a complete video "
        f"takes {1000 * each:.2f} ms",
        f"MB: the coordinating process at its peak; files in the store per video: {files}",
    ]
    return table


def rerun(manifest: str, store: str) -> None:
    """Extract the listed videos into the store; print what it took as JSON."""
    import resource

    begun = time.perf_counter()
    report = extract(ListedVideos([manifest]), JOB, store, scheduler="serial")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found = {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": sum(one.ru_utime + one.ru_stime for one in used),
        "peak_bytes": used[0].ru_maxrss * 1024,
        "kept": report.counts["kept"],
        "counts": dict(report.counts),
        "read_bytes": sum(row.read_bytes for row in report.each_row()),
    }
    sys.stdout.write(json.dumps(found))


def _rerun(folder: Path, manifest: str) -> dict[str, Any]:
    words = [sys.executable, "-c", RERUN, str(folder / manifest), str(folder / "x.zarr")]
    found: dict[str, Any] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    if set(found["counts"]) != {"kept"}:
        raise RuntimeError(f"a rerun over a complete store came to {found['counts']}")
    return found


def _make(folder: Path, videos: int) -> None:
    """The file with all its names, two manifests, and the store that holds every video."""
    from longvid.pipelines.demo.videos import Script, encode

    drawn = encode(Script("drawn", 0, VIDEO_SECONDS, 1.0, 3.0, seed=0), folder)
    with drawn.open("ab") as file:  # a box that players pass over
        rest = FILE_BYTES - drawn.stat().st_size
        file.write(rest.to_bytes(4, "big") + b"free" + bytes(rest - 8))
    store_path = folder / "x.zarr"
    extract([VideoRequest(_key(0), str(drawn))], JOB, store_path, scheduler="inline")
    with (folder / "all.jsonl").open("w") as manifest:
        for number in range(videos):
            key, path = _key(number), folder / f"{number // 1000}" / f"{number}.mp4"
            path.parent.mkdir(exist_ok=True)
            if number and number % MOST_LINKS == 0:
                drawn = Path(shutil.copy2(drawn, folder / f"drawn-{number}.mp4"))
            os.link(drawn, path)
            manifest.write(json.dumps({"key": key, "path": str(path)}) + "\n")
    parts = [range(start, min(start + PART, videos)) for start in range(1, videos, PART)]
    with ProcessPoolExecutor(WRITERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_write, [store_path] * len(parts), parts))
    FeatureStore.open(store_path, mode="a").update_catalogue()
    with (folder / "all.jsonl").open() as manifest, (folder / "few.jsonl").open("w") as few:
        few.writelines(line for number, line in enumerate(manifest) if number < videos // 10)


def _write(store_path: Path, numbers: range) -> None:
    """Write the videos of these numbers, each with the features of the first."""
    store = FeatureStore.open(store_path, mode="a")
    video, record = store.video(_key(0)), store.record(_key(0))
    assert record is not None
    tokens, seconds = video.read(0, video.num_clips), video.seconds
    for number in numbers:
        store.plan(_key(number), seconds, record.source)
        store.write_shard(_key(number), 0, tokens)
        store.complete(_key(number))


def _key(number: int) -> str:
    return f"video-{number:06d}"


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
