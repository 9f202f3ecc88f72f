"""Small recipes, features and stores that every test of this room starts from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longvid.stores import FeatureStore, Recipe

NUM_TOKENS, DIM = 3, 8


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    """A recipe of 3 tokens of 8 numbers; fields by keyword."""

    def make(**fields: Any) -> Recipe:
        given: dict[str, Any] = {
            "encoder": "toy",
            "encoder_config": {"depth": 2},
            "weights_sha256": "0" * 64,
            "sampling": {"fps": 8, "frames": 4},
            "preprocessing": {"size": 32},
            "pooling": "mean",
            "num_tokens": NUM_TOKENS,
            "dim": DIM,
        }
        return Recipe(**(given | fields))

    return make


@pytest.fixture(scope="session")
def make_features() -> Callable[..., np.ndarray]:
    """Features (num_clips, tokens, dim), float32, each number exact in float16."""

    def make(num_clips: int, seed: int = 0, shape: tuple[int, int] = (NUM_TOKENS, DIM)) -> np.ndarray:
        values = np.random.default_rng(seed).standard_normal((num_clips, *shape))
        return values.astype(np.float16).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def make_seconds() -> Callable[[int], np.ndarray]:
    """(num_clips, 2): two-second clips, one every second, starting at 0.5."""

    def make(num_clips: int) -> np.ndarray:
        starts = np.arange(num_clips) + 0.5
        return np.stack([starts, starts + 2.0], axis=1)

    return make


@pytest.fixture(scope="session")
def write_video(make_seconds: Callable[[int], np.ndarray]) -> Callable[..., None]:
    """Plan a video, write its missing shards and complete it."""

    def write(
        store: FeatureStore,
        key: str,
        features: np.ndarray,
        *,
        source: dict[str, Any] | None = None,
        complete: bool = True,
    ) -> None:
        store.plan(key, make_seconds(len(features)), source or {"size_bytes": 10})
        for shard_index in store.missing(key):
            first_clip, stop_clip = store.shard_clips(key, shard_index)
            store.write_shard(key, shard_index, features[first_clip:stop_clip])
        if complete:
            store.complete(key)

    return write


@pytest.fixture
def store(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> FeatureStore:
    """An empty store in a folder: shards of 4 clips in chunks of 2."""
    return FeatureStore.create(tmp_path / "features.zarr", make_recipe(), clips_per_shard=4, clips_per_chunk=2)


@pytest.fixture(scope="session")
def folder_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, by relative path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 emulator in this process, with an empty bucket `longvid`."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3")
    emulator = server.ThreadedMotoServer(port=0, verbose=False)
    emulator.start()
    host, port = emulator.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket="longvid")
    yield endpoint
    emulator.stop()


@pytest.fixture
def s3_options(s3_endpoint: str) -> dict[str, Any]:
    """What fsspec needs to reach the emulator."""
    return {
        "key": "key",
        "secret": "secret",
        "client_kwargs": {"endpoint_url": s3_endpoint, "region_name": "us-east-1"},
    }
