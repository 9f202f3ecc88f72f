"""The search bench searches the whole store, and the hit it finds is the one that was put there."""

import numpy as np

from longvid.pipelines.bench import search


def test_the_bench_searches_every_video_of_its_store(tmp_path):
    store = search._store(tmp_path / "x.zarr", videos=2, clips=5_000)
    wanted = store.video("video-1").read(4_321, 4_322)[0].astype(np.float32)
    found = search._search(store, wanted)
    assert (found.num_videos, found.num_clips) == (2, 10_000)
    assert len(found.best) == 2 * 3
    assert (found.best[0].key, found.best[0].clip, found.best[0].score > 0.99) == ("video-1", 4_321, True)


def test_the_plain_read_beside_it_reads_every_byte(tmp_path):
    store = search._store(tmp_path / "x.zarr", videos=2, clips=300)
    assert search._read(store) == [int(np.array(video).view(np.uint32).max()) for video in store]
