"""A place that fails is one clear line, and what was written before stays."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from longvid.stores import FeatureStore, RecipeMismatch, StoreAccessError, StoreError, StoreReadOnly, verify
from longvid.stores.convert import export_hdf5, export_npy

pytestmark = pytest.mark.faults


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond this, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_and_loses_nothing(store: FeatureStore, make_features, make_seconds, write_video):
    write_video(store, "before", make_features(9))
    store.plan("v", make_seconds(9), {"size_bytes": 10})
    store.write_shard("v", 2, make_features(1))
    with (
        largest_file(200),
        pytest.raises(StoreAccessError, match=r"cannot write videos/v/tokens/c\.0\.0\.0: ") as caught,
    ):
        store.write_shard("v", 0, make_features(4))
    assert "\n" not in str(caught.value)
    assert "make room" in str(caught.value)
    assert isinstance(caught.value, OSError)
    assert store.missing("v") == [0, 1]
    assert not list(Path(store.location).rglob("*.partial"))
    assert verify(store) == []
    write_video(store, "v", make_features(9))
    assert store.keys() == ["before", "v"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, make_recipe):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreAccessError, match=r"file/features\.zarr: cannot write"):
        FeatureStore.create(tmp_path / "file/features.zarr", make_recipe())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_named(store: FeatureStore, make_seconds):
    videos = Path(store.location) / "videos"
    videos.chmod(0o500)
    try:
        with pytest.raises(StoreAccessError, match="Permission denied"):
            store.plan("v", make_seconds(3), {})
    finally:
        videos.chmod(0o700)


def test_a_folder_of_other_files_does_not_become_a_store(tmp_path: Path, make_recipe):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match=r"holds other files \('thesis.tex'"):
        FeatureStore.create(tmp_path, make_recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_whose_making_was_interrupted_can_be_made(tmp_path: Path, make_recipe, store):
    (tmp_path / "new/videos").mkdir(parents=True)
    (tmp_path / "new/videos/zarr.json").write_bytes((Path(store.location) / "videos/zarr.json").read_bytes())
    (tmp_path / "new/zarr.json.3f.partial").write_bytes(b"{")
    assert FeatureStore.create(tmp_path / "new", make_recipe()).keys() == []


def test_an_empty_document_that_a_power_cut_left_is_none(store: FeatureStore, make_features, make_seconds, write_video):
    store.plan("v", make_seconds(9), {})
    (Path(store.location) / "videos/v/zarr.json").write_bytes(b"")
    assert store.status("v") == "absent"
    write_video(store, "v", make_features(9))
    assert verify(store) == []


def test_an_empty_shard_that_a_power_cut_left_is_missing(tmp_path: Path, make_recipe, make_features, write_video):
    store = FeatureStore.create(tmp_path / "f", make_recipe(), clips_per_shard=4, compression="zstd")
    write_video(store, "v", make_features(9), complete=False)
    (tmp_path / "f/videos/v/tokens/c.1.0.0").write_bytes(b"")
    assert store.missing("v") == [1]


def test_a_shard_of_the_wrong_size_is_missing(store: FeatureStore, make_features, write_video):
    write_video(store, "v", make_features(9), complete=False)
    (Path(store.location) / "videos/v/tokens/c.1.0.0").write_bytes(b"half")
    assert store.missing("v") == [1]


def test_an_export_that_does_not_fit_leaves_no_half_file(store: FeatureStore, tmp_path, make_features, write_video):
    write_video(store, "v", make_features(200))
    with largest_file(8000), pytest.raises(StoreAccessError, match="the store is as it was"):
        export_npy(store, tmp_path / "npy")
    with largest_file(8000), pytest.raises(StoreAccessError, match="the store is as it was"):
        export_hdf5(store, tmp_path / "f.h5")
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("*.npy"))
    assert not (tmp_path / "f.h5").exists()


def test_an_unknown_kind_of_url_says_so(make_recipe):
    with pytest.raises(StoreAccessError, match=r"nonsense://x: cannot be opened"):
        FeatureStore.create("nonsense://x", make_recipe())


def test_a_wrong_mode_is_refused(store: FeatureStore, unchecked):
    code = f"from longvid.stores import FeatureStore; FeatureStore.open({str(store.location)!r}, mode='w')"
    assert "choose 'r' (read) or 'a'" in unchecked(code)
    with pytest.raises(StoreReadOnly):
        FeatureStore.open(store.location).delete("v")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"clips_per_shard": 10, "clips_per_chunk": 4}, "clips_per_shard=10 and clips_per_chunk=4: a shard is"),
        ({"clips_per_shard": -1}, "clips_per_shard=-1 and"),
        ({"clips_per_shard": 0}, "clips_per_shard=0 and"),
        ({"clips_per_chunk": 0}, "clips_per_chunk=0: a shard is"),
        ({"compression": "gzip"}, "choose 'zstd', or none"),
    ],
)
def test_an_impossible_layout_is_refused(sizes, message, tmp_path, make_recipe):
    with pytest.raises(ValueError, match=message) as caught:
        FeatureStore.create(tmp_path / "f", make_recipe(), **sizes)
    assert isinstance(caught.value, StoreError)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("below", [".", "deep/x.zarr"])
def test_a_file_in_the_way_of_the_store_is_named_with_the_cure(below, tmp_path, make_recipe):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StoreAccessError, match="a file is where a folder has to be: choose another place"):
        FeatureStore.create(tmp_path / "taken" / below, make_recipe())
    assert (tmp_path / "taken").read_text() == "mine"


def test_of_another_encoder_only_what_the_two_have_in_common_is_compared(tmp_path, make_recipe):
    FeatureStore.create(tmp_path / "f", make_recipe())
    other = make_recipe(encoder="other", encoder_config={"width": 8}, weights_sha256="1" * 64, dim=64, pooling="class")
    with pytest.raises(
        RecipeMismatch, match=r"yours: encoder: \"toy\" != \"other\"; pooling: \"mean\" != \"class\"\);"
    ):
        FeatureStore.create(tmp_path / "f", other)
