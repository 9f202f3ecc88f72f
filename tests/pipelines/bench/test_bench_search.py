"""The search bench searches the whole store, and the hit it finds is the one that was put there."""

import numpy as np

from longvid.pipelines.bench import search


def test_the_bench_searches_every_video_of_its_store(tmp_path):
    store = search._store(tmp_path / "x.zarr", videos=2, clips=5_000)
    wanted = store.video("video-1").read(4_321, 4_322)[0].astype(np.float32)
    hits = search._search(store, store.keys(), wanted)
    assert len(hits) == 2 * 3
    clip, score = max(hits, key=lambda hit: hit[1])
    assert (clip, score > 0.99) == (4_321, True)
