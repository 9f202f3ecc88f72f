"""What others put into a store's folder, or write into its documents, harms nothing outside it and ends no command."""

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from longvid.stores import (
    DamagedStore,
    FeatureStore,
    NotAFeatureStore,
    StoreAccessError,
    StoreError,
    StoreNotFound,
    path_name,
    repair,
    restore_root,
    verify,
)
from longvid.stores.canonical import digest, document_bytes
from longvid.stores.errors import VideoNotInStore
from longvid.stores.place import FolderPlace, Place

pytestmark = pytest.mark.faults


@pytest.fixture
def folder(store: FeatureStore, make_features, write_video) -> Path:
    """Two complete videos with a catalogue."""
    write_video(store, "a", make_features(9))
    write_video(store, "b", make_features(2, seed=1))
    store.update_catalogue()
    return Path(store.location)


@pytest.fixture
def outside(tmp_path: Path, make_recipe, make_features, write_video) -> Path:
    """Somebody's precious files, which look like a video's."""
    other = FeatureStore.create(tmp_path / "outside", make_recipe(), clips_per_shard=4, clips_per_chunk=2)
    write_video(other, "linked", make_features(9))
    return tmp_path / "outside/videos/linked"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- links and strangers


def test_a_linked_video_is_not_read_written_or_deleted(store, folder, outside, make_seconds):
    before = snapshot(outside)
    (folder / "videos/linked").symlink_to(outside)
    assert store.status("linked") == "absent"
    assert store.keys() == ["a", "b"]
    with pytest.raises(StoreAccessError, match="a symbolic link, which is never followed inside a store"):
        store.plan("linked", make_seconds(9), {})
    with pytest.raises(VideoNotInStore):
        store.delete("linked")
    (damage,) = repair(store)
    assert (damage.kind, damage.path) == ("stray", "videos/linked/")
    assert not (folder / "videos/linked").is_symlink()
    assert snapshot(outside) == before


@pytest.mark.parametrize("inside", ["tokens/c.1.0.0", "tokens", "digests", "zarr.json", "seconds/c.0.0"])
def test_a_link_in_a_videos_place_is_refused_named_and_only_the_link_removed(
    inside, store, folder, outside, make_features, write_video
):
    before, sound = snapshot(outside), snapshot(folder)
    entry = folder / "videos/a" / inside
    entry.rename(folder.parent / "put-aside")
    entry.symlink_to(outside / inside)
    with pytest.raises(StoreError):
        store.video("a").read_seconds(0, 20)
    damages = repair(store)
    assert {damage.key for damage in damages} - {None} == {"a"}  # None: the catalogue knew the video
    assert not entry.is_symlink()
    assert snapshot(outside) == before
    write_video(store, "a", make_features(9))
    store.update_catalogue()
    assert snapshot(folder) == sound


def test_a_link_that_leads_to_itself_ends_neither_verify_nor_repair(store, folder):
    shard = folder / "videos/a/tokens/c.1.0.0"
    shard.unlink()
    shard.symlink_to(shard)
    assert store.missing("a") == [1]
    assert [damage.shard for damage in repair(store)] == [1]
    assert store.missing("a") == [1]


def test_a_store_may_itself_be_reached_through_a_link(store, folder, tmp_path, make_features):
    (tmp_path / "short").symlink_to(folder)
    linked = FeatureStore.open(tmp_path / "short", mode="a")
    np.testing.assert_array_equal(linked.video("a").read(0, 9), make_features(9))
    assert verify(linked) == []


@pytest.mark.parametrize("stranger", ["lost+found", ".snapshot", "videos/lost+found", "videos/.snapshot"])
def test_a_folder_of_others_is_left_alone_and_told(stranger, store, folder):
    (folder / stranger / "deep").mkdir(parents=True)
    (folder / stranger / "deep/file").write_text("precious")
    (damage,) = repair(store)
    assert (damage.kind, damage.path, damage.reason) == ("stranger", stranger, "not longvid's: left alone")
    assert (folder / stranger / "deep/file").read_text() == "precious"
    assert store.keys() == ["a", "b"]


def test_a_folder_in_a_shards_place_is_taken_out_and_the_shard_made_again(store, folder, make_features, write_video):
    shard = folder / "videos/a/tokens/c.1.0.0"
    shard.unlink()
    (shard / "inner").mkdir(parents=True)
    assert store.missing("a") == [1]
    assert [damage.shard for damage in repair(store)] == [1]
    write_video(store, "a", make_features(9))
    assert verify(store) == []


def test_a_pipe_in_a_shards_place_does_not_hang_a_reader(store, folder):
    shard = folder / "videos/a/tokens/c.1.0.0"
    shard.unlink()
    os.mkfifo(shard)
    assert [damage.shard for damage in repair(store)] == [1]


@pytest.mark.parametrize("path", ["README.md", "labels.csv", "catalogue/notes.txt", "videos/.DS_Store", "videos/notes"])
def test_a_file_that_others_put_into_a_store_is_left_alone_and_told(path, store, folder):
    (folder / "catalogue").mkdir(exist_ok=True)
    (folder / path).write_text("precious")
    (damage,) = repair(store)
    assert (damage.kind, damage.path, damage.reason) == ("stranger", path, "not longvid's: left alone")
    assert (folder / path).read_text() == "precious"
    (folder / "videos/a/tokens/c.1.0.0").unlink()
    assert {damage.kind for damage in repair(store)} == {"missing", "stranger"}
    store.update_catalogue()
    assert (folder / path).read_text() == "precious"


class _BadSector(FolderPlace):
    """A folder on a disk that cannot read one file."""

    unreadable = ""

    def get(self, path: str) -> bytes | None:
        if path == self.unreadable:
            raise StoreAccessError(f"{self.location}: cannot read {path}: Input/output error")
        return super().get(path)


@pytest.mark.parametrize(
    ("unreadable", "named"), [("videos/a/tokens/c.1.0.0", ("a", 1)), ("videos/b/seconds/c.0.0", ("b", None))]
)
def test_a_sector_that_cannot_be_read_is_one_damaged_place(unreadable, named, store, folder):
    place = _BadSector(folder, writable=True)
    place.unreadable = unreadable
    broken = FeatureStore(place, store.recipe, store.layout)
    (damage,) = repair(broken)
    assert (damage.key, damage.shard) == named
    assert "Input/output error" in damage.reason
    assert not (folder / unreadable).exists()


# --- names of temporary files


@pytest.mark.parametrize("key", ["talk.partial", "talk.mp4.partial", "zarr.json.0f.partial"])
def test_a_key_that_looks_like_a_temporary_file_is_a_key_like_any_other(key, store, make_features, write_video):
    write_video(store, key, make_features(9))
    store.update_catalogue()
    assert not path_name(key).endswith(".partial")
    assert store.keys() == [key]
    assert repair(store) == []
    np.testing.assert_array_equal(store.video(key).read(0, 9), make_features(9))


def test_a_store_in_which_such_a_key_has_its_old_name_is_mended_by_repair(store, folder, make_features, write_video):
    write_video(store, "talk.partial", make_features(9, seed=4))
    (folder / "videos" / path_name("talk.partial")).rename(folder / "videos/talk.partial")  # as version 0.1.0 called it
    store.update_catalogue()  # failed then
    assert store.status("talk.partial") == "absent"
    (damage,) = repair(store)
    assert (damage.kind, damage.path) == ("misnamed", "videos/talk.partial/")
    write_video(store, "talk.partial", make_features(9, seed=4))
    np.testing.assert_array_equal(store.video("talk.partial").read(0, 9), make_features(9, seed=4))
    assert verify(store) == []


# --- the store's own document


def test_no_flip_of_the_stores_own_document_is_beyond_repair(store, folder):
    sound = (folder / "zarr.json").read_bytes()
    for position in range(0, len(sound), 7):
        flipped = bytearray(sound)
        flipped[position] ^= 1 << (position % 8)
        (folder / "zarr.json").write_bytes(flipped)
        with suppress(NotAFeatureStore):  # some flips are in what nobody reads
            assert FeatureStore.open(folder).recipe == store.recipe
        damage = restore_root(folder)
        assert damage is not None
        assert damage.path == "zarr.json"
        assert (folder / "zarr.json").read_bytes() == sound
    assert restore_root(folder) is None
    assert verify(store) == []


def test_who_opens_a_store_with_a_damaged_document_is_told_of_the_copy(store, folder):
    sound = (folder / "zarr.json").read_bytes()
    (folder / "zarr.json").write_bytes(sound.replace(b'"dim"', b'"dum"'))
    with pytest.raises(NotAFeatureStore, match=r"there is a copy: run `longvid repair`"):
        FeatureStore.open(folder)


def test_a_document_that_is_gone_comes_back_from_its_copy(store, folder, make_recipe):
    sound = (folder / "zarr.json").read_bytes()
    (folder / "zarr.json").unlink()
    with pytest.raises(StoreNotFound, match=r"there is a copy: run `longvid repair`"):
        FeatureStore.open(folder)
    with pytest.raises(NotAFeatureStore, match=r"holds videos of another recipe, but its zarr\.json is gone"):
        FeatureStore.create(folder, make_recipe(pooling="class"))
    assert restore_root(folder) is not None
    assert (folder / "zarr.json").read_bytes() == sound


def test_a_copy_of_another_store_is_not_put_back(store, folder, tmp_path, make_recipe):
    other = FeatureStore.create(tmp_path / "other", make_recipe(pooling="class"))
    (folder / "videos/zarr.json").write_bytes((Path(other.location) / "videos/zarr.json").read_bytes())
    (folder / "zarr.json").write_bytes(b"{")
    with pytest.raises(NotAFeatureStore):
        restore_root(folder)
    assert (folder / "zarr.json").read_bytes() == b"{"


# --- documents that claim too much

_DEEP = b"[" * 200_000


@pytest.mark.parametrize("path", ["zarr.json", "videos/a/zarr.json", "videos/a/tokens/zarr.json"])
def test_a_document_nested_without_end_is_one_line(path, store, folder):
    (folder / path).write_bytes(_DEEP)
    with pytest.raises(StoreError) as caught:
        FeatureStore.open(folder).video("a").read(0, 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["shape", "chunk_shape", "inner", "data_type"])
def test_an_array_that_claims_to_be_huge_is_one_line_and_takes_no_memory(field, folder):
    file = folder / "videos/a/tokens/zarr.json"
    document = json.loads(file.read_text())
    huge = [9, 3_000_000, 8_000_000]
    if field == "shape":
        document["shape"] = document["chunk_grid"]["configuration"]["chunk_shape"] = huge
        document["codecs"][0]["configuration"]["chunk_shape"] = huge
    elif field == "chunk_shape":
        document["chunk_grid"]["configuration"]["chunk_shape"] = [4_000_000_000, 3, 8]
    elif field == "inner":
        document["codecs"][0]["configuration"]["chunk_shape"] = [1, 3, 8]
    else:
        document["data_type"] = "float64"
    file.write_bytes(document_bytes(document))
    with pytest.raises(DamagedStore, match=r"the document of `tokens` claims|cannot be read") as caught:
        FeatureStore.open(folder).video("a").read(0, 9)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("claim", [{"num_clips": 10**15}, {"num_clips": -1}, {"num_clips": "9"}, {"source": []}])
def test_a_video_that_claims_what_none_can_be_is_one_line(claim, store, folder):
    file = folder / "videos/a/zarr.json"
    attributes = json.loads(file.read_text())["attributes"] | claim
    covered = {name: value for name, value in attributes.items() if name not in ("status", "checksum")}
    attributes["checksum"] = digest(covered)  # somebody wrote it on purpose
    file.write_bytes(document_bytes({"zarr_format": 3, "node_type": "group", "attributes": attributes}))
    with pytest.raises(DamagedStore, match=r"claims|wrong type") as caught:
        store.video("a")
    assert "\n" not in str(caught.value)
    first, *_ = repair(store)
    assert (first.kind, first.key) == ("damaged", "a")


def test_digests_that_claim_more_than_there_are_are_not_even_parsed(store, folder):
    file = folder / "videos/a/digests/zarr.json"
    file.write_bytes(file.read_bytes() + b" " * 1_000_000)
    with pytest.raises(DamagedStore, match="is not the one that was recorded"):
        store.video("a").read(0, 4)


# --- several processes

_TRUNCATED_WHILE_MAPPED = """
import os, sys
from longvid.stores import DamagedStore, FeatureStore
video = FeatureStore.open(sys.argv[1]).video("a")
video.read(0, 9)
os.truncate(sys.argv[1] + "/videos/a/tokens/c.1.0.0", 0)
try:
    video.read(0, 9)
except DamagedStore as error:
    print("named:", error)
"""


def test_a_shard_that_is_truncated_while_it_is_mapped_is_an_error_and_no_signal(folder):
    command = [sys.executable, "-c", _TRUNCATED_WHILE_MAPPED, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # -7 would be SIGBUS
    assert "named:" in done.stdout


def test_two_launchers_may_make_the_catalogue_at_once(store, folder):
    failures: list[BaseException] = []

    def launch() -> None:
        mine = FeatureStore.open(folder, mode="a")
        try:
            for _ in range(150):
                mine.update_catalogue()
                mine.place.delete("catalogue/zarr.json")  # as planning and repairing do
        except BaseException as error:  # noqa: BLE001 -- carried to the test
            failures.append(error)

    launchers = [threading.Thread(target=launch) for _ in range(4)]
    for launcher in launchers:
        launcher.start()
    for launcher in launchers:
        launcher.join()
    assert failures == []


def test_a_reader_during_repair_and_deletion_gets_the_video_or_an_error(store, folder, make_features, write_video):
    truth, stop = make_features(9), threading.Event()
    wrong: list[np.ndarray] = []
    read = 0

    def reader() -> None:
        nonlocal read
        while not stop.is_set():
            try:
                tokens = FeatureStore.open(folder).video("a").read(0, 9)
            except StoreError:
                continue
            read += 1
            if not np.array_equal(tokens, truth):
                wrong.append(tokens)

    readers = [threading.Thread(target=reader) for _ in range(2)]
    for thread in readers:
        thread.start()
    try:
        for round_ in range(20):
            if round_ % 2:
                store.delete("a")
            else:
                other = shutil.copy(folder / "videos/a/tokens/c.1.0.0", folder.parent / "other")
                os.replace(other, folder / "videos/a/tokens/c.0.0.0")  # cut short in its place, it would kill a reader
                repair(store)
            write_video(store, "a", truth)
    finally:
        stop.set()
        for thread in readers:
            thread.join()
    assert read > 0
    assert wrong == []


def test_every_place_refuses_a_path_that_leads_out(folder):
    place: Place = FolderPlace(folder, writable=True)
    (folder.parent / "secret").write_text("mine")
    assert place.get("videos/../../secret") is None
    with pytest.raises(StoreAccessError):
        place.put("videos/../../other/secret", b"yours")
    with pytest.raises(StoreAccessError):
        place.delete("videos/../../secret/x")
    assert (folder.parent / "secret").read_text() == "mine"
