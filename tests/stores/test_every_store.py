"""What every store does, wherever it lies: one class of tests, run for each place."""

import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.storage import MemoryStore

from longvid.stores import FeatureStore, StoreAccessError
from longvid.stores.testing import KEY, StoreContract


class TestFolder(StoreContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> dict[str, Any]:
        return {"location": tmp_path / "features.zarr"}

    def test_it_can_be_sent_to_another_process(self, store, make_features, write_video):
        write_video(store, KEY, make_features(5))
        video = store.video(KEY)
        video.read(0, 2)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(video)).read(1, 5), make_features(5)[1:])
        assert pickle.loads(pickle.dumps(store)).keys() == [KEY]


class TestMemory(StoreContract):
    @pytest.fixture
    def place(self) -> dict[str, Any]:
        return {"location": MemoryStore()}

    def test_it_says_that_it_cannot_be_sent_to_another_process(self, store):
        with pytest.raises(StoreAccessError, match="in memory lives in one process"):
            pickle.dumps(store)


class RemoteContract(StoreContract):
    """Places that cost a round trip an object: int8 alone, which writes every kind of array."""

    @pytest.fixture
    def dtype(self) -> str:
        return "int8"


class TestFsspecMemory(RemoteContract):
    @pytest.fixture
    def place(self) -> dict[str, Any]:
        return {"location": f"memory://{uuid.uuid4().hex}/features.zarr"}


class TestS3(RemoteContract):
    @pytest.fixture
    def place(self, s3_options: dict[str, Any]) -> dict[str, Any]:
        pytest.importorskip("s3fs")
        return {"location": f"s3://longvid/{uuid.uuid4().hex}/features.zarr", "storage_options": s3_options}

    def test_it_can_be_sent_to_another_process(self, store, make_features, write_video):
        write_video(store, KEY, make_features(5))
        video = store.video(KEY)
        video.read(0, 2)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(video)).read(1, 5), make_features(5)[1:])

    def test_the_usual_environment_is_enough(self, store, s3_endpoint, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        assert FeatureStore.open(store.location).recipe == store.recipe

    def test_another_worker_s_shards_are_seen_at_once(self, store, place, make_features, make_seconds):
        store.plan(KEY, make_seconds(9), {})
        assert store.missing(KEY) == [0, 1, 2]
        FeatureStore.open(**place, mode="a").write_shard(KEY, 1, make_features(4))
        assert store.missing(KEY) == [0, 2]

    def test_a_server_that_is_not_there_is_one_clear_line(self, recipe):
        options = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
        options["config_kwargs"] = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
        with pytest.raises(StoreAccessError, match=r"s3://longvid/x: cannot read zarr\.json") as caught:
            FeatureStore.create("s3://longvid/x", recipe, storage_options=options)
        assert "\n" not in str(caught.value)


class TestObjectStore(RemoteContract):
    @pytest.fixture
    def place(self) -> dict[str, Any]:
        obstore = pytest.importorskip("obstore.store", reason="obstore is not installed")
        from zarr.storage import ObjectStore

        return {"location": ObjectStore(obstore.MemoryStore())}
