"""Deletion and repair leave the catalogue to the other videos, so that nobody has to list them all again."""

from pathlib import Path

import pytest

from longvid.stores import VideoNotInStore, repair, verify


def test_after_a_deletion_the_other_videos_are_still_known_from_the_catalogue(
    store, make_features, write_video, monkeypatch
):
    for number in range(6):
        write_video(store, f"v{number}", make_features(2))
    store.update_catalogue()
    store.delete("v1", "v4")
    read = []
    place = store.place
    monkeypatch.setattr(place, "get_many", lambda paths: read.extend(paths) or [])
    assert store.keys() == ["v0", "v2", "v3", "v5"]
    assert read == []


def test_of_videos_to_delete_none_is_deleted_if_one_is_not_there(store, make_features, write_video):
    write_video(store, "there", make_features(2))
    with pytest.raises(VideoNotInStore, match="'absent'"):
        store.delete("there", "absent")
    assert store.keys() == ["there"]


def test_repair_of_one_video_reads_no_other_and_keeps_the_catalogue_of_the_others(
    store, make_features, write_video, monkeypatch
):
    for number in range(4):
        write_video(store, f"v{number}", make_features(2))
    store.update_catalogue()
    for key in ("v1", "v3"):
        shard = next(Path(store.location, "videos", key, "tokens").glob("c.*"))
        shard.write_bytes(shard.read_bytes()[:-3] + b"abc")
    read = []
    get = store.place.get
    monkeypatch.setattr(store.place, "get", lambda path: read.append(path) or get(path))
    assert {damage.key for damage in repair(store, keys=["v1"])} == {"v1"}
    assert not [path for path in read if path.startswith("videos/v") and not path.startswith("videos/v1/")]
    monkeypatch.setattr(store.place, "get", get)
    assert store.keys() == ["v0", "v2", "v3"]
    assert {damage.key for damage in verify(store)} == {"v3"}, "v1 waits for its shard"
    with pytest.raises(VideoNotInStore, match="'absent'"):
        verify(store, keys=["absent"])
