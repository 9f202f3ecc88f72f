"""A store on S3 behind a network that fails: what is done is right, or one line says that it was not done."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from failing_proxy import FailingProxy

from longvid.stores import FeatureStore, StoreAccessError, verify
from longvid.stores.testing import toy_features, toy_recipe, write_toy_video

pytestmark = pytest.mark.faults

VIDEOS = {"a": 9, "b": 3}


@pytest.fixture(scope="module")
def proxy(s3_endpoint: str) -> Iterator[FailingProxy]:
    """In front of the emulator."""
    pytest.importorskip("s3fs")
    with FailingProxy(s3_endpoint, stall_seconds=1.0).running() as running:
        yield running


@pytest.fixture
def place(proxy: FailingProxy) -> dict[str, Any]:
    """An empty place behind the proxy, for a client that does not wait long."""
    options = {
        "key": "key",
        "secret": "secret",
        "client_kwargs": {"endpoint_url": proxy.url, "region_name": "us-east-1"},
        "config_kwargs": {"connect_timeout": 1, "read_timeout": 0.5, "retries": {"max_attempts": 1}},
    }
    return {"location": f"s3://longvid/{uuid.uuid4().hex}/features.zarr", "storage_options": options}


def written(place: dict[str, Any]) -> None:
    """Make the store and its videos, or go on with what there is of it."""
    store = FeatureStore.create(recipe=toy_recipe(dtype="int8"), clips_per_shard=4, clips_per_chunk=2, **place)
    for seed, (key, num_clips) in enumerate(VIDEOS.items()):
        write_toy_video(store, key, toy_features(num_clips, seed=seed))
    store.update_catalogue()


def read(place: dict[str, Any]) -> dict[str, np.ndarray]:
    """All that the store says it holds."""
    store = FeatureStore.open(**place)
    return {key: store.video(key).read(0, num_clips) for key, num_clips in store.num_clips().items()}


def tried(proxy: FailingProxy, work: Callable[[], Any], share: float, seed: int) -> Any:
    """What the work returns while requests fail; None where it says in one line that they did."""
    proxy.seed(seed)
    proxy.share = share
    said = None
    try:
        return work()
    except StoreAccessError as error:
        said = str(error)
    finally:
        proxy.share = 0.0
    assert "\n" not in said
    assert "s3://longvid/" in said
    assert "run the same command again" in said
    return None


@pytest.mark.parametrize("share", [0.03, 0.1, pytest.param(0.4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_writing_and_reading_end_right_or_in_one_line_and_complete_once_the_server_is_well(
    share: float, seed: int, proxy: FailingProxy, place: dict[str, Any]
) -> None:
    expected = {key: toy_features(num_clips, seed=number) for number, (key, num_clips) in enumerate(VIDEOS.items())}
    tried(proxy, lambda: written(place), share, seed)
    assert sum(proxy.happened[fault] for fault in proxy.happened if fault) > 0 or share < 0.1
    written(place)
    sound = read(place)
    assert sound.keys() == VIDEOS.keys()
    for key, tokens in sound.items():
        np.testing.assert_allclose(tokens, expected[key], atol=0.03)  # int8
    found = tried(proxy, lambda: read(place), share, seed + 100)
    if found is not None:
        assert found.keys() == VIDEOS.keys()
        for key, tokens in found.items():
            np.testing.assert_array_equal(tokens, sound[key])
    damages = tried(proxy, lambda: verify(FeatureStore.open(**place)), share, seed + 200)
    assert all("cannot read" in damage.reason for damage in damages or [])
    assert verify(FeatureStore.open(**place)) == []
