"""Real stores, small enough to be made for each test."""

from collections.abc import Callable

import numpy as np
import pytest

from longvid.stores import FeatureStore, Recipe


def recipe(num_tokens: int, dim: int, dtype: str) -> Recipe:
    return Recipe(
        encoder="toy",
        encoder_config={},
        weights_sha256="0" * 64,
        sampling={"fps": 1},
        preprocessing={},
        pooling="tokens",
        num_tokens=num_tokens,
        dim=dim,
        dtype=dtype,
    )


@pytest.fixture
def make_store(tmp_path) -> Callable[..., FeatureStore]:
    """A store whose token [clip, token, 0] of video i holds 100 i + clip + token / 10, one clip per second."""

    def make(
        clips: dict[str, int],
        *,
        num_tokens: int = 2,
        dim: int = 3,
        dtype: str = "float16",
        stretch: float = 1.0,
        absent: dict[str, list[int]] | None = None,
    ):
        store = FeatureStore.create(tmp_path / "toy.zarr", recipe(num_tokens, dim, dtype), clips_per_shard=4)
        for index, (key, count) in enumerate(clips.items()):
            begins = np.arange(count) * stretch
            store.plan(key, np.stack([begins, begins + stretch], axis=1), {"size_bytes": index})
            tokens = np.zeros((count, num_tokens, dim), np.float32)
            tokens[..., 0] = 100 * index + np.arange(count)[:, None] + np.arange(num_tokens) / 10
            for shard in store.missing(key):
                first, stop = store.shard_clips(key, shard)
                lost = {clip: "torn" for clip in (absent or {}).get(key, []) if first <= clip < stop}
                store.write_shard(key, shard, tokens[first:stop], damaged=lost)
            store.complete(key)
        return FeatureStore.open(tmp_path / "toy.zarr")

    return make
