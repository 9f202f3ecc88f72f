"""Random windows from a feature store, against other file formats.

Two kinds of features: all 197 tokens of a ViT-L (1,024 numbers each, ViS4mer's LVU features) and a few pooled ones.
The pooled ones are in shards of more clips: small files cost more to reach in memory (a huge page is two megabytes).
Every reader returns the same 60-clip windows of the same videos as its own arrays, from a warm page cache:

* `numpy.memmap`: copies of the tokens as float16 `.npy` files that stay mapped, the least possible work; and the
  same opened for each window, as a trainer must if it has more videos than it may have open files.
* ViS4mer's way: the whole float64 `.npy` of the video is loaded for each window and kept as float64.
* zarr-python, and the same through the `zarrs` codec pipeline if that is installed: the store's own files.

The store is read once for each way to check that a shard lies in its own place (`FeatureStore.open(check=...)`):
the default is the row called longvid store, which checks each chunk once.

A trainer meets each shard for the first time once: `first pass` is that, in a process of its own, with opening the
files, the store's checksums and the page faults of a mapping; `peak` is what that process's memory grew by, with the
mapped pages.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr

from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, in_own_process, interleaved_seconds
from longvid.pipelines.bench.table import BenchTable
from longvid.stores import FeatureStore, Recipe, path_name
from longvid.stores.video import Check

WINDOW_CLIPS = 60
_MEMMAP, _OPENED = "numpy.memmap", "numpy.memmap, opened"
_STORE = "longvid store"
_ALWAYS, _NEVER = "store, always", "store, never"
_WHOLE = "ViS4mer's way"
Window = tuple[str, int]
"""Key of the video, first clip."""
Read = Callable[[str, int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One kind of features."""

    name: str
    num_tokens: int
    dim: int
    num_videos: int
    num_clips: int
    num_windows: int
    clips_per_shard: int = 64
    whole_file: bool = False
    """Whether ViS4mer's way is measured too, which needs the videos as float64."""


FULL = [
    Case("197 x 1024", 197, 1024, num_videos=4, num_clips=134, num_windows=16, whole_file=True),
    Case("17 x 768", 17, 768, num_videos=12, num_clips=900, num_windows=100, clips_per_shard=256),
    Case("1 x 768", 1, 768, num_videos=40, num_clips=3600, num_windows=400, clips_per_shard=1024),
]
QUICK = [
    Case("197 x 1024", 197, 1024, num_videos=2, num_clips=134, num_windows=8, whole_file=True),
    Case("17 x 768", 17, 768, num_videos=6, num_clips=900, num_windows=100, clips_per_shard=256),
]


def run(*, quick: bool = False) -> BenchTable:
    """Measure every reader on every kind of features; at most 1.3 GB of temporary files at a time (`quick`: 0.6 GB)."""
    columns = ["features", "reader", "us per window", "GB/s", "of memmap", "first pass us", "peak MB"]
    table = BenchTable(f"Random {WINDOW_CLIPS}-clip windows, float16", columns)
    for case in QUICK if quick else FULL:
        with TemporaryDirectory(prefix="longvid-bench-store-") as folder:
            _measure(case, Path(folder), table, rounds=3 if quick else 5)
    table.notes.append("times are CPU time, the fastest of interleaved rounds, from a warm page cache")
    if not _zarrs_is_there():
        table.notes.append("zarrs is not installed: pip install 'longvid[zarrs]'")
    return table


def _measure(case: Case, folder: Path, table: BenchTable, *, rounds: int) -> None:
    write_case(case, folder)
    windows = draw_windows(case)
    readers = open_readers(case, folder)
    chosen = {name: windows[: 3 if name == _WHOLE else None] for name in readers}
    for name, read in readers.items():
        np.testing.assert_array_equal(read(*windows[0]), readers[_MEMMAP](*windows[0]), err_msg=name)
    passes: dict[str, Callable[[], None]] = {
        name: partial(read_all, read, chosen[name]) for name, read in readers.items()
    }
    seconds = interleaved_seconds(passes, rounds=rounds, processor=True)
    each = {name: seconds[name] / len(chosen[name]) for name in readers}
    window_bytes = WINDOW_CLIPS * case.num_tokens * case.dim * 2
    for name in readers:
        first_seconds, peak_bytes = None, None
        if name in (_MEMMAP, _STORE, _ALWAYS, _NEVER, _WHOLE):
            first_seconds, peak_bytes = in_own_process(first_pass, case, folder, name, chosen[name])
        table.rows.append(
            [
                case.name,
                name,
                each[name] * 1e6,
                window_bytes / each[name] / 1e9,
                each[_MEMMAP] / each[name],
                first_seconds and first_seconds * 1e6,
                peak_bytes and peak_bytes / MEGABYTE,
            ]
        )
    table.claim(f"{case.name}: check once / never", each[_NEVER] / each[_STORE], at_least=0.9)
    table.claim(f"{case.name}: store / {_MEMMAP}", each[_MEMMAP] / each[_STORE], at_least=0.8)
    if case.whole_file:
        table.claim(f"{case.name}: store / {_WHOLE}", each[_WHOLE] / each[_STORE], at_least=20)


def write_case(case: Case, folder: Path) -> None:
    """The same videos as a store and as float16 files; with `whole_file` as float64 files too."""
    recipe = Recipe(
        encoder="bench",
        encoder_config={},
        weights_sha256="",
        sampling={},
        preprocessing={},
        pooling="none",
        num_tokens=case.num_tokens,
        dim=case.dim,
    )
    store = FeatureStore.create(folder / "features.zarr", recipe, clips_per_shard=case.clips_per_shard)
    seconds = np.arange(case.num_clips)[:, None] + np.array([0.0, 1.0])
    for video in range(case.num_videos):
        key = f"film{video}"
        tokens = draw_tokens(case, seed=video)
        store.plan(key, seconds, {})
        for shard_index in store.missing(key):
            store.write_shard(key, shard_index, tokens[slice(*store.shard_clips(key, shard_index))])
        store.complete(key)
        np.save(folder / f"{key}.npy", tokens)
        if case.whole_file:
            np.save(folder / f"{key}.float64.npy", tokens.astype(np.float64))


def draw_tokens(case: Case, *, seed: int) -> np.ndarray:
    """Features (clips, tokens, dim), float16: one drawn clip, rescaled for each clip."""
    random = np.random.default_rng(seed)
    clip = random.standard_normal((case.num_tokens, case.dim), np.float32)
    scale = random.uniform(0.5, 2.0, (case.num_clips, 1, 1)).astype(np.float32)
    return (clip * scale).astype(np.float16)


def draw_windows(case: Case) -> list[Window]:
    """The windows to read, in random order over all videos."""
    random = np.random.default_rng(0)
    videos = random.integers(0, case.num_videos, case.num_windows)
    starts = random.integers(0, case.num_clips - WINDOW_CLIPS + 1, case.num_windows)
    return [(f"film{video}", int(start)) for video, start in zip(videos, starts, strict=True)]


def read_all(read: Read, windows: list[Window]) -> None:
    """Read each window once."""
    for key, start_clip in windows:
        read(key, start_clip)


def first_pass(case: Case, folder: Path, name: str, windows: list[Window]) -> tuple[float, int]:
    """Seconds per window and peak bytes of memory, for a process that opens the files anew."""
    with PeakMemory() as memory:
        begin = time.perf_counter()
        read_all(open_readers(case, folder)[name], windows)
        taken = time.perf_counter() - begin
    return taken / len(windows), memory.grown_bytes


def open_readers(case: Case, folder: Path) -> dict[str, Read]:
    """Each reader as a function of a video's key and the window's first clip; files are opened at first use."""
    readers: dict[str, Read] = {
        _MEMMAP: _Memmaps(folder).read,
        _STORE: _Store(folder).read,
        _ALWAYS: _Store(folder, check="always").read,
        _NEVER: _Store(folder, check="never").read,
        _OPENED: lambda key, start: np.array(
            np.load(folder / f"{key}.npy", mmap_mode="r")[start : start + WINDOW_CLIPS]
        ),
        "zarr-python": _Zarr(folder).read,
    }
    if _zarrs_is_there():
        readers["zarrs pipeline"] = _Zarr(folder, pipeline="zarrs.ZarrsCodecPipeline").read
    if case.whole_file:
        readers[_WHOLE] = lambda key, start: np.array(
            np.load(folder / f"{key}.float64.npy")[start : start + WINDOW_CLIPS]
        )
    return readers


class _Memmaps:
    """float16 files that stay mapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrays: dict[str, np.ndarray] = {}

    def read(self, key: str, start_clip: int) -> np.ndarray:
        if key not in self._arrays:
            self._arrays[key] = np.load(self._folder / f"{key}.npy", mmap_mode="r")
        return np.array(self._arrays[key][start_clip : start_clip + WINDOW_CLIPS])


class _Store:
    """The store, read in the way a window data set reads it."""

    def __init__(self, folder: Path, *, check: Check = "once") -> None:
        self._store = FeatureStore.open(folder / "features.zarr", check=check)
        self._videos = {video.key: video for video in self._store.videos()}

    def read(self, key: str, start_clip: int) -> np.ndarray:
        return self._videos[key].read(start_clip, start_clip + WINDOW_CLIPS)


class _Zarr:
    """The store's arrays through a zarr library."""

    def __init__(self, folder: Path, pipeline: str | None = None) -> None:
        self._folder = folder / "features.zarr" / "videos"
        self._pipeline = pipeline or zarr.config.get("codec_pipeline.path")
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def read(self, key: str, start_clip: int) -> np.ndarray:
        if key not in self._arrays:
            with zarr.config.set({"codec_pipeline.path": self._pipeline}):
                self._arrays[key] = zarr.open_array(self._folder / path_name(key) / "tokens", mode="r")
        return np.asarray(self._arrays[key][start_clip : start_clip + WINDOW_CLIPS])


def _zarrs_is_there() -> bool:
    try:
        import zarrs  # noqa: F401
    except ImportError:
        return False
    return True
