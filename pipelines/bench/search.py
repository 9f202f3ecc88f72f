"""Speed of a search against reading memory; what 10,000 hours take.

A store of pooled float16 vectors on this disk (in the system's cache) is searched in one pass: mapped, converted,
multiplied, reduced to the best hits. Beside it, the same mapped bytes are read once by numpy (the largest 32-bit word
of each chunk) by as many threads: the least that any pass over them costs. Rounds alternate; what is compared is
processor time, so that other programs do not count. The memory of the pass is compared between a store and one of twice
its size. A store of videos of ten minutes shows what a video costs beside its bytes.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, interleaved_times
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.machine.cores import available_cores
from longvid.pipelines.searching.run import Found, one_pass
from longvid.pipelines.searching.scan import Scorer, in_threads
from longvid.stores import FeatureStore, Recipe

DIM, CLIPS_PER_SHARD = 768, 4096
HOURS, SECONDS_PER_CLIP = 10_000, 2.0
SHORT_CLIPS = 300
"""Clips of a video of ten minutes."""
GOAL = 0.5
FLAT_BYTES = 16e6
"""How much more memory a pass over twice the store may take: the noise of an allocator."""


def run(*, quick: bool = False) -> BenchTable:
    """Bytes per second of a search and of a plain read of the same bytes."""
    videos, clips, shorts = (8, 8_192, 100) if quick else (12, 32_768, 600)
    table = BenchTable(
        title=f"Search: {videos} videos of {clips:,} clips, {DIM} float16 numbers each; {available_cores()} threads",
        columns=["what", "GB/s of processor time", "GB/s", "million clips/s", "peak MB"],
    )
    query = np.random.default_rng(1).standard_normal((1, DIM)).astype(np.float32)
    num_bytes = videos * clips * DIM * 2
    with TemporaryDirectory(prefix="longvid-bench-") as folder:
        store = _store(Path(folder) / "whole.zarr", videos, clips)
        memory = np.ones(num_bytes // 4, np.uint32)
        ways: dict[str, Callable[[], object]] = {
            "memory": memory.max,
            "the same mapped bytes": lambda: _read(store),
            "search": lambda: _search(store, query),
        }
        times = interleaved_times(ways, rounds=9)
        del memory, ways
        half = _peak(_store(Path(folder) / "half.zarr", videos // 2, clips), query)
        whole = _peak(store, query)
        many = _store(Path(folder) / "short.zarr", shorts, SHORT_CLIPS)
        short = interleaved_times({"search": lambda: _search(many, query)}, rounds=3)["search"]
    for name, taken in times.items():
        searched = name == "search"
        table.rows.append([
            name,
            num_bytes / taken.processor_seconds / 1e9,
            num_bytes / taken.wall_seconds / 1e9,
            videos * clips / taken.wall_seconds / 1e6 if searched else None,
            whole / MEGABYTE if searched else None,
        ])  # fmt: skip
    read, search = (times[name].processor_seconds for name in ("the same mapped bytes", "search"))
    table.claim("search over a plain read of the same bytes", read / search, at_least=GOAL)
    table.claim("MB more for twice the store", max(0.0, whole - half) / MEGABYTE, at_most=FLAT_BYTES / MEGABYTE)
    there = HOURS * 3600 / SECONDS_PER_CLIP
    minutes = SHORT_CLIPS * SECONDS_PER_CLIP / 60
    table.notes += [
        f"{HOURS:,} hours at a clip per {SECONDS_PER_CLIP:g} s are {there / 1e6:.0f} million clips, "
        f"{there * DIM * 2 / 1e9:.1f} GB: {there * times['search'].wall_seconds / (videos * clips):.0f} s at this rate "
        f"in long videos, {there * short.wall_seconds / (shorts * SHORT_CLIPS):.0f} s in videos of {minutes:.0f} "
        f"minutes ({1e3 * short.processor_seconds / shorts:.1f} ms of processor time per video), if the disk brings "
        "them as fast as memory does",
        "checksums are not part of the pass; what is reported is read again with them",
    ]
    return table


def _store(location: Path, videos: int, clips: int) -> FeatureStore:
    recipe = Recipe(
        encoder="bench", encoder_config={}, weights_sha256="", sampling={"frames": 1}, preprocessing={},
        pooling="embedding", num_tokens=1, dim=DIM,
    )  # fmt: skip
    store = FeatureStore.create(location, recipe, clips_per_shard=CLIPS_PER_SHARD)
    noise = np.random.default_rng(0)
    starts = np.arange(clips) * SECONDS_PER_CLIP
    for number in range(videos):
        key = f"video-{number}"
        store.plan(key, np.stack([starts, starts + SECONDS_PER_CLIP], axis=1), {})
        for shard in store.missing(key):
            first, stop = store.shard_clips(key, shard)
            store.write_shard(key, shard, noise.standard_normal((stop - first, 1, DIM), np.float32))
        store.complete(key)
    store.update_catalogue()
    return FeatureStore.open(location)


def _search(store: FeatureStore, query: np.ndarray) -> Found:
    return one_pass(store, Scorer(query), most=20, per_video=3)


def _read(store: FeatureStore) -> list[int]:
    """The bytes of every video, read once, by the threads of a search."""

    def largest(_: Scorer, key: str) -> int:
        return max(int(arrays["tokens"].view(np.uint32).max()) for arrays in store.video(key).iter_chunks())

    nothing = Scorer(np.ones((1, 1), np.float32))
    return [found for _, found in in_threads(largest, nothing, store.keys())]


def _peak(store: FeatureStore, query: np.ndarray) -> float:
    with PeakMemory(interval_seconds=0.001) as memory:
        _search(store, query)
    return float(memory.grown_bytes)
