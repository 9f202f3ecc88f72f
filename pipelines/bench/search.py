"""Speed of a search against reading memory; what 10,000 hours take.

A store of pooled float16 vectors on this disk (in the system's cache) is searched in one pass: mapped, converted,
multiplied, reduced to the best hits. Beside it, as many bytes that lie in memory are read once by numpy (the largest
64-bit word). Both use one thread, and count its processor time. The memory of the pass is compared between a store and
one of twice its size.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, interleaved_seconds
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.searching.run import hits_of_video
from longvid.pipelines.searching.scan import Scorer
from longvid.stores import FeatureStore, Recipe

DIM, CLIPS_PER_SHARD = 768, 4096
HOURS, SECONDS_PER_CLIP = 10_000, 2.0
GOAL = 0.5
FLAT_BYTES = 16e6
"""How much more memory a pass over twice the store may take: the noise of an allocator."""


def run(*, quick: bool = False) -> BenchTable:
    """Bytes per second of a search and of memory."""
    videos, clips = (4, 8_192) if quick else (12, 32_768)
    table = BenchTable(
        title=f"Search: {videos} videos of {clips:,} clips, {DIM} float16 numbers each",
        columns=["what", "GB/s", "million clips/s", "peak MB"],
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with TemporaryDirectory(prefix="longvid-bench-") as folder:
            store = _store(Path(folder) / "whole.zarr", videos, clips)
            query = np.random.default_rng(1).standard_normal((1, DIM)).astype(np.float32)
            keys = store.keys()
            num_bytes = videos * clips * DIM * 2
            memory = np.ones(num_bytes // 8, np.uint64)
            ways: dict[str, Callable[[], object]] = {
                "memory": memory.max,
                "search": lambda: _search(store, keys, query),
            }
            # with one thread this is the time it takes, without the time that the machine gives to other programs
            seconds = interleaved_seconds(ways, rounds=7, processor=True)
            del memory, ways
            half, whole = (_peak(store, some, query) for some in (keys[: videos // 2], keys))
    finally:
        torch.set_num_threads(before)
    for name, taken in seconds.items():
        rate = num_bytes / taken
        peak = whole / MEGABYTE if name == "search" else None
        clips_per_second = rate / (2 * DIM) / 1e6 if name == "search" else None
        table.rows.append([name, rate / 1e9, clips_per_second, peak])
    ratio = seconds["memory"] / seconds["search"]
    table.claim("search over memory's read speed", ratio, at_least=GOAL)
    table.claim("MB more for twice the store", max(0.0, whole - half) / MEGABYTE, at_most=FLAT_BYTES / MEGABYTE)
    there = HOURS * 3600 / SECONDS_PER_CLIP
    needed = there * seconds["search"] / (videos * clips)
    table.notes.append(
        f"{HOURS:,} hours at a clip per {SECONDS_PER_CLIP:g} s: {there / 1e6:.0f} million clips, "
        f"{there * DIM * 2 / 1e9:.1f} GB, {needed:.1f} s at this rate, if the disk brings them as fast as memory does"
    )
    table.notes.append("checksums are not part of the pass; what is reported is read again with them")
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
    return FeatureStore.open(location)


def _search(store: FeatureStore, keys: list[str], query: np.ndarray) -> list[tuple[int, float]]:
    scorer = Scorer(query)
    return [hit for key in keys for hit in hits_of_video(store.video(key), scorer, most=3)]


def _peak(store: FeatureStore, keys: list[str], query: np.ndarray) -> float:
    with PeakMemory(interval_seconds=0.001) as memory:
        _search(store, keys, query)
    return float(memory.grown_bytes)
