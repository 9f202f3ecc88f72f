"""A shard in another's place is whole, and is refused, named, taken out and made again all the same."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import MemoryStore

from longvid.stores import (
    DamagedStore,
    FeatureStore,
    IncompleteVideo,
    InvalidTokens,
    SourceChanged,
    repair,
    unrecorded,
    verify,
)
from longvid.stores.convert import export_hdf5, export_npy
from longvid.stores.damage import record

pytestmark = pytest.mark.faults

VIDEOS = {"a": (9, 0), "b": (9, 1), "c": (4, 2)}
"""Number of clips and seed of each video."""


@pytest.fixture(params=["float16", "int8", "zstd"])
def written(request: pytest.FixtureRequest, tmp_path: Path, make_recipe, make_features, write_video) -> FeatureStore:
    """Three complete videos in shards of four clips, with a catalogue."""
    dtype, compression = ("float16", "zstd") if request.param == "zstd" else (request.param, None)
    store = FeatureStore.create(
        tmp_path / "f", make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2, compression=compression
    )
    for key, (num_clips, seed) in VIDEOS.items():
        write_video(store, key, make_features(num_clips, seed=seed))
    store.update_catalogue()
    return store


def files_of(store: FeatureStore, key: str, shard_index: int) -> list[Path]:
    video = Path(store.location) / "videos" / key
    return [*video.glob(f"scale/c.{shard_index}.0"), video / f"tokens/c.{shard_index}.0.0"]


def exchange(store: FeatureStore, one: tuple[str, int], other: tuple[str, int]) -> None:
    for file, another in zip(files_of(store, *one), files_of(store, *other), strict=True):
        data = file.read_bytes()
        file.write_bytes(another.read_bytes())
        another.write_bytes(data)


def copy_over(store: FeatureStore, one: tuple[str, int], other: tuple[str, int]) -> None:
    for file, another in zip(files_of(store, *one), files_of(store, *other), strict=True):
        shutil.copyfile(file, another)


MISPLACED = [
    pytest.param(exchange, ("a", 0), ("a", 1), {("a", 0), ("a", 1)}, "of this video, .*exchanged", id="exchanged"),
    pytest.param(
        exchange, ("a", 1), ("b", 0), {("a", 1), ("b", 0)}, "of video '[ab]', .*exchanged", id="exchanged over videos"
    ),
    pytest.param(copy_over, ("a", 0), ("a", 1), {("a", 1)}, "of this video, .*a copy", id="copied"),
    pytest.param(copy_over, ("c", 0), ("b", 1), {("b", 1)}, "of video 'c', .*a copy", id="copied from another video"),
]


@pytest.mark.parametrize(("misplace", "one", "other", "wrong", "said"), MISPLACED)
def test_a_shard_in_anothers_place_is_named_with_its_own(written, misplace, one, other, wrong, said):
    misplace(written, one, other)
    damages = verify(written)
    assert {(damage.kind, damage.key, damage.shard) for damage in damages} == {("misplaced", *place) for place in wrong}
    for damage in damages:
        assert re.search(said, damage.reason), damage.reason


@pytest.mark.parametrize(("misplace", "one", "other", "wrong", "said"), MISPLACED)
def test_repair_and_the_same_extraction_make_the_same_bytes_again(
    written, misplace, one, other, wrong, said, folder_bytes, make_features, write_video
):
    sound = folder_bytes(Path(written.location))
    misplace(written, one, other)
    assert repair(written)
    assert {(key, i) for key in VIDEOS for i in written.missing(key)} == wrong
    for key, (num_clips, seed) in VIDEOS.items():
        write_video(written, key, make_features(num_clips, seed=seed))
    written.update_catalogue()
    assert verify(written) == []
    assert folder_bytes(Path(written.location)) == sound


@pytest.mark.parametrize("check", ["once", "always"])
@pytest.mark.parametrize(("misplace", "one", "other", "wrong", "said"), MISPLACED)
def test_a_reader_is_never_given_another_places_numbers(written, misplace, one, other, wrong, said, check):
    misplace(written, one, other)
    store = FeatureStore.open(written.location, check=check)
    for key, (num_clips, _) in VIDEOS.items():
        for shard_index in range(-(-num_clips // 4)):
            window = shard_index * 4, min(shard_index * 4 + 4, num_clips)
            if (key, shard_index) in wrong:
                with pytest.raises(DamagedStore, match=f"shard {shard_index} of `.*exchanged, copied or stale; run"):
                    store.video(key).read(*window)
            else:
                assert len(store.video(key).read(*window)) == window[1] - window[0]


def test_who_asks_for_no_check_is_given_what_lies_there(written):
    first = written.video("a").read(0, 4)
    exchange(written, ("a", 0), ("a", 1))
    unchecked = FeatureStore.open(written.location, check="never").video("a")
    np.testing.assert_array_equal(unchecked.read(4, 8), first)


def test_only_who_always_checks_notices_a_file_changed_in_place(store, make_features, write_video):
    write_video(store, "v", make_features(9))
    once = FeatureStore.open(store.location).video("v")
    always = FeatureStore.open(store.location, check="always").video("v")
    for video in (once, always):
        video.read(0, 9)
    exchange(store, ("v", 0), ("v", 1))  # keeps the files, and so their mappings
    assert once.read(0, 4) is not None
    with pytest.raises(DamagedStore, match="shard 0 of `tokens`: chunk 0 is not the one"):
        always.read(0, 4)


@pytest.mark.parametrize("to_file", [export_npy, export_hdf5])
def test_an_export_refuses_a_misplaced_shard(written, tmp_path, to_file):
    exchange(written, ("a", 0), ("b", 1))
    with pytest.raises(DamagedStore, match="exchanged, copied or stale"):
        to_file(written, tmp_path / "out.h5")


def test_a_shard_of_an_older_extraction_is_named_as_stale(store, make_features, write_video):
    write_video(store, "v", make_features(9))
    old = files_of(store, "v", 1)[0].read_bytes()
    store.delete("v")
    write_video(store, "v", make_features(9, seed=5), source={"size_bytes": 11})
    files_of(store, "v", 1)[0].write_bytes(old)
    (damage,) = verify(store)
    assert (damage.kind, damage.key, damage.shard) == ("misplaced", "v", 1)
    assert "of an older extraction, or of another store" in damage.reason


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(b"{}")], ids=["gone", "changed"])
def test_digests_that_are_gone_or_changed_are_named_and_made_again(
    spoil: Callable[[Path], object], written, folder_bytes, make_features, write_video
):
    sound = folder_bytes(Path(written.location))
    spoil(Path(written.location) / "videos/a/digests/zarr.json")
    with pytest.raises(DamagedStore, match="the document of its shards' digests is"):
        FeatureStore.open(written.location).video("a").read(0, 4)
    assert [damage.path for damage in repair(written)] == ["videos/a/digests/zarr.json"]
    assert written.missing("a") == []  # all its shards are sound
    write_video(written, "a", make_features(9))
    written.update_catalogue()
    assert folder_bytes(Path(written.location)) == sound


def test_the_digests_of_two_videos_cannot_be_exchanged(written):
    digests = [Path(written.location) / f"videos/{key}/digests/zarr.json" for key in "ab"]
    first, second = (file.read_bytes() for file in digests)
    digests[0].write_bytes(second)
    digests[1].write_bytes(first)
    assert [damage.path for damage in verify(written)] == [f"videos/{key}/digests/zarr.json" for key in "ab"]


def test_sha256sum_gives_the_digests_that_were_recorded(written):
    rows = written.digests("a")
    assert rows is not None
    for array, digests in rows.items():
        files = sorted((Path(written.location) / "videos/a" / array).glob("c.*"))
        assert [digest.sha256 for digest in digests] == [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]


def test_a_remote_like_place_compares_too(make_recipe, make_features, write_video):
    memory = MemoryStore()
    store = FeatureStore.create(memory, make_recipe(dtype="int8"), clips_per_shard=4, clips_per_chunk=2)
    write_video(store, "a", make_features(9))
    for array, ending in (("tokens", ".0.0"), ("scale", ".0")):
        one, other = (store.place.get(f"videos/a/{array}/c.{i}{ending}") for i in (0, 1))
        store.place.put(f"videos/a/{array}/c.0{ending}", other)
        store.place.put(f"videos/a/{array}/c.1{ending}", one)
    video = store.video("a")
    for window in [(0, 1), (3, 5), (5, 6)]:
        with pytest.raises(DamagedStore, match="exchanged, copied or stale"):
            video.read(*window)
    assert len(video.read(8, 9)) == 1


def test_a_shard_exchanged_while_its_video_was_reopened_is_named(written):
    written.reopen("a")
    copy_over(written, ("b", 0), ("a", 0))
    assert {(damage.kind, damage.key, damage.shard) for damage in repair(written)} >= {("misplaced", "a", 0)}
    assert written.missing("a") == [0]


def test_identical_shards_may_change_places(store, write_video):
    write_video(store, "v", np.ones((8, 3, 8), np.float32))
    exchange(store, ("v", 0), ("v", 1))
    assert verify(store) == []
    assert (store.video("v").read(0, 8) == 1).all()


# --- writers that outlive their plan


class _Interrupting:
    """A store whose next shard is put only after `meanwhile` was called."""

    def __init__(self, store: FeatureStore, ending: str, meanwhile: Callable[[], object]) -> None:
        self.store = FeatureStore.open(store.location, mode="a")
        put = self.store.place.put

        def late(path: str, data: bytes, *, flush: bool = True) -> None:
            if path.endswith(ending):
                self.store.place.put = put  # type: ignore[method-assign]
                meanwhile()
            put(path, data, flush=flush)

        self.store.place.put = late  # type: ignore[method-assign]


@pytest.mark.parametrize("completed", [False, True])
def test_a_late_workers_old_shard_is_not_accepted_into_a_new_plan(
    completed, store, make_features, make_seconds, write_video
):
    new = make_features(9, seed=8)

    def planned_anew() -> None:
        store.delete("v")
        write_video(store, "v", new, source={"size_bytes": 11}, complete=completed)

    store.plan("v", make_seconds(9), {"size_bytes": 10})
    late = _Interrupting(store, "tokens/c.1.0.0", planned_anew)
    with pytest.raises(SourceChanged, match="planned anew while shard 1 of it was being written"):
        late.store.write_shard("v", 1, make_features(9)[4:8])
    with pytest.raises(IncompleteVideo):
        store.video("v")
    if not completed:
        with pytest.raises(IncompleteVideo, match="shards 1 are missing"):
            store.complete("v")
    write_video(store, "v", new, source={"size_bytes": 11})
    np.testing.assert_array_equal(store.video("v").read(0, 9), new)
    assert verify(store) == []


def test_a_shard_that_a_killed_late_worker_left_is_missing_in_the_new_plan(store, make_features, make_seconds):
    store.plan("v", make_seconds(9), {"size_bytes": 10})
    store.write_shard("v", 1, make_features(4))
    file, note = files_of(store, "v", 1)[0], next((Path(store.location) / "videos/v/receipts").iterdir())
    old = {path: path.read_bytes() for path in (file, note)}
    store.delete("v")
    store.plan("v", make_seconds(9), {"size_bytes": 11})
    for path, data in old.items():  # put after the deletion, by a worker that was killed then
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert store.missing("v") == [0, 1, 2]
    assert [(damage.kind, damage.shard) for damage in verify(store)] == [("misplaced", 1)]


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_of_two_writers_with_other_bytes_one_is_read_even_if_the_later_comes_after_completion(
    dtype, tmp_path, make_recipe, make_features, make_seconds
):
    store = FeatureStore.create(tmp_path / "f", make_recipe(dtype=dtype), clips_per_shard=4, clips_per_chunk=2)
    store.plan("v", make_seconds(4), {})

    def overtaken() -> None:
        store.write_shard("v", 0, make_features(4, seed=1))
        store.complete("v")

    late = _Interrupting(store, "tokens/c.0.0.0", overtaken)
    late.store.write_shard("v", 0, make_features(4, seed=2))
    assert store.status("v") == "complete"
    assert verify(store) == []
    errors = [np.abs(store.video("v").read(0, 4) - make_features(4, seed=seed)).max() for seed in (1, 2)]
    assert min(errors) < 0.02 < max(errors)


# --- stores of version 0.1.0


@pytest.mark.parametrize("name", ["written_by_0_1_0.zarr", "written_by_0_1_0_int8.zarr"])
def test_a_store_of_version_0_1_0_gains_digests(name, tmp_path):
    store = FeatureStore.open(shutil.copytree(Path(__file__).parent / name, tmp_path / name), mode="a")
    assert unrecorded(store) == ["Cam01/P03", "plain"]
    before = {key: store.video(key).read(0, 3) for key in store.num_clips()}
    assert record(store, verify(store)) == ["Cam01/P03", "plain"]
    assert unrecorded(store) == []
    assert verify(store) == []
    for key, tokens in before.items():
        np.testing.assert_array_equal(store.video(key).read(0, 3), tokens)
    folder = Path(store.location) / "videos"
    shutil.copyfile(folder / "plain/tokens/c.1.0.0", folder / "cam01-p03--050df21cd3a9ad08c31a0996/tokens/c.0.0.0")
    assert [damage.key for damage in verify(store)] == ["Cam01/P03"]


def test_a_damaged_video_of_version_0_1_0_gains_no_digests(tmp_path):
    name = "written_by_0_1_0.zarr"
    store = FeatureStore.open(shutil.copytree(Path(__file__).parent / name, tmp_path / name), mode="a")
    shard = Path(store.location) / "videos/plain/tokens/c.1.0.0"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert record(store, verify(store)) == ["Cam01/P03"]
    assert unrecorded(store) == ["plain"]


# --- what may become a shard


@pytest.mark.parametrize(
    ("array", "spoil", "message"),
    [
        ("tokens", lambda tokens: tokens[:3], r"`tokens` of shape \(3, 3, 8\), expected \(4, 3, 8\)"),
        ("tokens", lambda tokens: tokens.astype(np.int16), "`tokens` of dtype int16, expected int8"),
        ("tokens", lambda tokens: np.full_like(tokens, -128), "-128 stands for a shard that is not there"),
        ("scale", lambda scale: None, "arrays tokens; a shard stores scale, tokens"),
        ("scale", lambda scale: scale * np.float32(np.nan), "`scale` holds nan; a scale is finite"),
        ("scale", lambda scale: scale * np.float32(np.inf), "`scale` holds inf; a scale is finite"),
        ("scale", lambda scale: -scale, "a scale is finite and not negative"),
    ],
)
def test_put_stored_refuses_what_no_shard_can_be(
    array, spoil, message, tmp_path, make_recipe, make_features, make_seconds
):
    store = FeatureStore.create(tmp_path / "f", make_recipe(dtype="int8"), clips_per_shard=4, clips_per_chunk=2)
    store.plan("v", make_seconds(9), {})
    store.write_shard("v", 0, make_features(4))
    other = FeatureStore.create(tmp_path / "g", make_recipe(dtype="int8"), clips_per_shard=4, clips_per_chunk=2)
    other.plan("v", make_seconds(4), {})
    other.write_shard("v", 0, make_features(4))
    other.complete("v")
    arrays = other.video("v").read_stored(0, 4)
    arrays = {name: spoil(given) if name == array else given for name, given in arrays.items()}
    arrays = {name: given for name, given in arrays.items() if given is not None}
    with pytest.raises(InvalidTokens, match=f"video 'v', shard 1: .*{message}"):
        store.put_stored("v", 1, arrays)
    assert store.missing("v") == [1, 2]


def test_verify_names_a_shard_that_holds_fewer_clips_than_were_planned(store, make_features, make_seconds):
    from longvid.stores.shard import encode_shard

    store.plan("v", make_seconds(4), {})
    short = make_features(3).astype(np.float16)
    file = files_of(store, "v", 0)[0]
    file.write_bytes(encode_shard(short, store.layout, fill_value=np.nan))  # the last clip is filled up
    store.complete("v")
    (damage,) = verify(store)
    assert (damage.kind, damage.shard) == ("damaged", 0)
    assert "clip 3 of the shard, token 0: `tokens` holds nan" in damage.reason
