"""Every byte of a store is looked at; what is broken is named, taken out, and made again as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import MemoryStore

from longvid.stores import Damage, FeatureStore, NotAFeatureStore, repair, verify
from longvid.stores.place import FolderPlace
from longvid.stores.testing import toy_features, toy_recipe, write_toy_video

pytestmark = pytest.mark.faults


@pytest.fixture
def folder(store: FeatureStore, make_features, write_video) -> Path:
    """A sound store of two complete videos and a planned one, with a catalogue."""
    write_video(store, "a", make_features(9))
    write_video(store, "b", make_features(2, seed=1))
    write_video(store, "part", make_features(9), complete=False)
    (Path(store.location) / "videos/part/tokens/c.1.0.0").unlink()
    store.update_catalogue()
    return Path(store.location)


def said(damages: list[Damage]) -> list[tuple[str, str | None, int | None, str]]:
    return [(damage.kind, damage.key, damage.shard, damage.path) for damage in damages]


def test_a_sound_store_has_nothing_to_say(folder: Path, store: FeatureStore):
    assert verify(store) == []


def test_every_single_flipped_byte_of_every_file_is_found_in_its_file(folder, store, folder_bytes):
    for path, data in folder_bytes(folder).items():
        positions = np.random.default_rng(0).choice(len(data), min(len(data), 25), replace=False)
        for position in positions.tolist():
            flipped = bytearray(data)
            flipped[position] ^= 1 << (position % 8)
            (folder / path).write_bytes(flipped)
            damages = verify(store)
            assert damages, f"{path}: byte {position} changed unnoticed"
            named = [damage.path for damage in damages if not damage.path.startswith("catalogue/")]
            assert all(path.startswith(name) for name in named), (path, position, named)
        (folder / path).write_bytes(data)
    assert verify(store) == []


def test_repair_after_any_damage_lets_the_same_store_be_made_again(
    folder, store, folder_bytes, make_features, write_video
):
    videos = [("a", 9, 0), ("b", 2, 1), ("part", 9, 0)]
    write_video(store, "part", make_features(9))
    store.update_catalogue()
    sound = folder_bytes(folder)
    for number, (path, data) in enumerate(sound.items()):
        if path == "zarr.json":
            continue
        file = folder / path
        spoils = [
            lambda f, d: f.write_bytes(d[: len(d) // 2]),
            lambda f, d: f.write_bytes(d[::-1]),
            lambda f, d: f.unlink(),
        ]
        spoils[number % 3](file, data)
        assert repair(store)
        assert verify(store) == []
        for key, num_clips, seed in videos:
            write_video(store, key, make_features(num_clips, seed=seed))
        store.update_catalogue()
        assert folder_bytes(folder) == sound, path


def test_a_missing_shard_of_a_complete_video_is_named(folder, store):
    (folder / "videos/a/tokens/c.2.0.0").unlink()
    (damage,) = verify(store)
    assert said([damage]) == [("missing", "a", 2, "videos/a/tokens/c.2.0.0")]
    assert str(damage) == "video 'a': shard 2: videos/a/tokens/c.2.0.0: is missing"


def test_a_missing_shard_of_a_planned_video_is_no_damage(folder, store):
    (folder / "videos/part/tokens/c.0.0.0").unlink()
    assert verify(store) == []


@pytest.mark.parametrize("length", [0, 1, 100, 235])
def test_a_truncated_shard_is_named(length, folder, store):
    file = folder / "videos/a/tokens/c.0.0.0"
    file.write_bytes(file.read_bytes()[:length])
    (damage,) = verify(store)
    assert said([damage]) == [("damaged", "a", 0, "videos/a/tokens/c.0.0.0")]


def test_bytes_behind_a_shard_are_named(folder, store):
    file = folder / "videos/a/tokens/c.0.0.0"
    data = file.read_bytes()
    file.write_bytes(b"12345678" + data)
    assert verify(store)[0].shard == 0


@pytest.mark.parametrize(
    "path",
    [
        "zarr.json.0f.partial",
        "videos/zarr.json.0f.partial",
        "videos/a/zarr.json.0f.partial",
        "videos/a/tokens/c.0.0.0.0f.partial",
        "videos/a/tokens/c.9.0.0",
        "videos/a/seconds/c.1.0",
        "catalogue/zarr.json.0f.partial",
    ],
)
def test_a_left_over_file_is_ignored_named_and_cleared(path, folder, store, make_features):
    (folder / path).write_bytes(b"half")
    assert store.keys() == ["a", "b"]
    assert store.missing("a") == []
    np.testing.assert_array_equal(store.video("a").read(0, 9), make_features(9))
    assert [(damage.kind, damage.path) for damage in repair(store)] == [("stray", path)]
    assert verify(store) == []
    assert store.keys() == ["a", "b"]


def test_a_folder_that_is_no_video_is_cleared(folder, store):
    (folder / "videos/gone/tokens").mkdir(parents=True)
    (folder / "videos/gone/tokens/c.0.0.0").write_bytes(b"old")
    assert said(repair(store)) == [("stray", "gone", None, "videos/gone/")]
    assert not (folder / "videos/gone").exists()


def test_a_video_copied_from_another_store_is_not_readable(
    folder, store, tmp_path, make_recipe, make_features, write_video
):
    other = FeatureStore.create(tmp_path / "other", make_recipe(pooling="class"), clips_per_shard=4, clips_per_chunk=2)
    write_video(other, "c", make_features(3))
    (tmp_path / "other/videos/c").rename(folder / "videos/c")
    with pytest.raises(ValueError, match="does not belong to video 'c' of this store"):
        store.video("c")
    (folder / "videos/a").rename(folder / "videos/d")  # under a name that is not its key's
    with pytest.raises(ValueError, match="does not belong to video 'd'"):
        store.video("d")
    assert [damage.path for damage in verify(store)][:2] == ["videos/c/", "videos/d/"]


def test_repair_keeps_what_is_sound(folder, store, make_features):
    before = (folder / "videos/a/tokens/c.0.0.0").stat().st_mtime_ns
    (folder / "videos/a/tokens/c.1.0.0").write_bytes(b"")
    repair(store)
    assert store.missing("a") == [1]
    assert (folder / "videos/a/tokens/c.0.0.0").stat().st_mtime_ns == before
    assert store.status("b") == "complete"


class _Listening(FolderPlace):
    """A folder that counts how often the receipts of a video are listed."""

    listings = 0

    def sizes(self, path: str) -> dict[str, int | None]:
        self.listings += path.endswith("/receipts")
        return super().sizes(path)


def test_the_receipts_of_a_planned_video_are_listed_equally_often_for_any_number_of_shards(
    folder, store, make_features, write_video
):
    listings = []
    for num_clips in (4, 80):
        write_video(store, f"planned-{num_clips}", make_features(num_clips), complete=False)
        place = _Listening(folder, writable=False)
        assert verify(FeatureStore(place, store.recipe, store.layout)) == []
        listings.append(place.listings)
        store.delete(f"planned-{num_clips}")
    assert listings[0] == listings[1] > 0


def test_progress_is_told_video_by_video(folder, store):
    seen: list[str] = []
    listen: Callable[[str], None] = seen.append
    verify(store, on_video=listen)
    assert seen == ["a", "b", "part"]


@pytest.mark.parametrize("field", ["clips_per_shard", "clips_per_chunk", "dim"])
def test_a_changed_number_in_the_store_s_own_document_is_refused(field, folder):
    document = folder / "zarr.json"
    document.write_text(document.read_text().replace(f'"{field}": ', f'"{field}": 2'))
    with pytest.raises(NotAFeatureStore, match=r"changed or damaged|no layout of shards"):
        FeatureStore.open(folder)


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_receipt_that_a_killed_writer_left_beside_a_complete_video_is_taken_out(kind, tmp_path):
    location = tmp_path / "x.zarr" if kind == "folder" else MemoryStore()
    store = FeatureStore.create(location, toy_recipe(), clips_per_shard=4, clips_per_chunk=2)
    write_toy_video(store, "a", toy_features(9))
    store.update_catalogue()
    store.place.put("videos/a/receipts/0.plan.content", b"left")
    assert [damage.path for damage in repair(store)] == ["videos/a/receipts"]
    assert verify(store) == []
    assert store.status("a") == "complete"
