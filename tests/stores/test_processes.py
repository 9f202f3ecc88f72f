"""Several processes, some of them killed: what is in the store is what one undisturbed process would have written."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import MemoryStore

from longvid.stores import (
    FeatureStore,
    IncompleteVideo,
    NotAFeatureStore,
    RecipeMismatch,
    StoreAccessError,
    repair,
    verify,
)
from longvid.stores import store as store_module
from longvid.stores.place import FolderPlace, ZarrPlace

pytestmark = pytest.mark.faults

NUM_CLIPS = 40


def _features(num_clips: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((num_clips, 3, 8)).astype(np.float32)


def _write_some(pickled_stores: bytes, shard_indices: list[int]) -> None:
    """What a worker does: it gets the store, not the location, and writes shards of one video."""
    for store in pickle.loads(pickled_stores):
        for shard_index in shard_indices:
            first_clip, stop_clip = store.shard_clips("v", shard_index)
            store.write_shard("v", shard_index, _features(NUM_CLIPS)[first_clip:stop_clip])


def _read_some(pickled: bytes, windows: list[tuple[int, int]]) -> list[np.ndarray]:
    video = pickle.loads(pickled)
    return [video.read(start, stop) for start, stop in windows]


def test_three_writers_give_the_bytes_of_one(tmp_path, make_recipe, make_seconds, write_video, folder_bytes):
    shared = []
    for dtype in ("float16", "int8"):
        serial = FeatureStore.create(tmp_path / "serial" / dtype, make_recipe(dtype=dtype), clips_per_shard=2)
        write_video(serial, "v", _features(NUM_CLIPS), source={"size_bytes": 1})
        shared.append(FeatureStore.create(tmp_path / "shared" / dtype, make_recipe(dtype=dtype), clips_per_shard=2))
        shared[-1].plan("v", make_seconds(NUM_CLIPS), {"size_bytes": 1})
    orders = [[*range(worker, 20, 3), 0, 1, 2] for worker in range(3)]  # and three shards that all of them write
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_some, args=(pickle.dumps(shared), order)) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3
    for store in shared:
        store.complete("v")
    assert folder_bytes(tmp_path / "shared") == folder_bytes(tmp_path / "serial")


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_reader_can_be_used_on_both_sides_of_a_new_process(method, compression, tmp_path, make_recipe, write_video):
    """Also for zarr's own reader, whose threads do not survive a fork."""
    store = FeatureStore.create(
        tmp_path / "f", make_recipe(dtype="float32"), clips_per_shard=8, compression=compression
    )
    write_video(store, "v", _features(NUM_CLIPS))
    video = store.video("v")
    windows = [(0, 5), (6, 20), (39, 40)]
    expected = [video.read(start, stop) for start, stop in windows]  # the parent has read before
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        results = pool.starmap_async(_read_some, [(pickle.dumps(video), windows)] * 4).get(timeout=60)
    for result in results:
        for tokens, truth in zip(result, expected, strict=True):
            np.testing.assert_array_equal(tokens, truth)


def _read_inherited(connection: "multiprocessing.connection.Connection", video: object, store: FeatureStore) -> None:
    connection.send((video.read(3, 9), store.video("v").read(3, 9), store.keys()))  # type: ignore[attr-defined]
    connection.close()


@pytest.mark.parametrize("where", ["folder", "s3"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_an_open_video_that_a_fork_inherits_still_reads(where, tmp_path, make_recipe, write_video, request):
    """As in a DataLoader's workers, which inherit the data set and never pickle it."""
    location: dict[str, object] = {"location": tmp_path / "f"}
    if where == "s3":
        pytest.importorskip("s3fs")
        location = {"location": "s3://longvid/fork", "storage_options": request.getfixturevalue("s3_options")}
    store = FeatureStore.create(**location, recipe=make_recipe(dtype="float32"), clips_per_shard=8, compression="zstd")
    write_video(store, "v", _features(NUM_CLIPS))
    video = store.video("v")
    expected = video.read(3, 9)
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_read_inherited, args=(sending, video, store))
    child.start()
    assert receiving.poll(60), "the forked reader hangs"
    tokens, again, keys = receiving.recv()
    child.join()
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_array_equal(again, expected)
    assert keys == ["v"]


_WRITE_FOREVER = """
import sys
import numpy as np
from longvid.stores import FeatureStore

store = FeatureStore.open(sys.argv[1], mode="a")
clips = np.random.default_rng(7).standard_normal((64, 32, 512)).astype(np.float32)
print("ready", flush=True)
for key in ("first", "second", "third"):
    store.plan(key, np.arange(2 * 64.0 * 40).reshape(-1, 2), {})
    for shard_index in store.missing(key):
        store.write_shard(key, shard_index, clips)
    store.complete(key)
"""


def test_a_killed_writer_leaves_nothing_that_can_be_read_as_complete(tmp_path: Path, make_recipe):
    recipe = make_recipe(num_tokens=32, dim=512)
    for attempt, delay_seconds in enumerate([0.02, 0.1, 0.25]):
        location = tmp_path / f"killed-{attempt}"
        store = FeatureStore.create(location, recipe, clips_per_shard=64)
        writer = subprocess.Popen([sys.executable, "-c", _WRITE_FOREVER, location], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(delay_seconds)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        for key in store.keys(complete=False):
            if store.status(key) == "complete":
                assert store.missing(key) == []
                continue
            with pytest.raises(IncompleteVideo):
                store.video(key)
        damages = repair(store)
        assert {damage.kind for damage in damages} <= {"stray"}, damages
        assert verify(store) == []
        assert not list(location.rglob("*.partial"))


class _Overtaken(ZarrPlace):
    """A place where another worker writes the same shard just before the given puts: receipt, scale, tokens, ..."""

    def __init__(self, memory: MemoryStore, overtake: Callable[[], object], before: list[int]) -> None:
        super().__init__(memory, writable=True)
        self._overtake = overtake
        self._before = before
        self._num_puts = 0

    def put(self, path: str, data: bytes, *, flush: bool = True) -> None:
        self._num_puts += 1
        if self._num_puts in self._before:
            self._overtake()
        super().put(path, data, flush=flush)


@pytest.mark.parametrize("before", [[1], [2], [3], [1, 2], [2, 3], [3, 4], [3, 5, 7]])
def test_tokens_and_scales_of_two_writers_are_never_mixed(before, make_recipe, make_features, make_seconds):
    memory = MemoryStore()
    other = FeatureStore.create(memory, make_recipe(dtype="int8"))
    other.plan("v", make_seconds(4), {})
    place = _Overtaken(memory, lambda: other.write_shard("v", 0, make_features(4, seed=2)), before)
    mine = FeatureStore(place, other.recipe, other.layout)
    mine.write_shard("v", 0, make_features(4, seed=1))
    other.complete("v")
    read = other.video("v").read(0, 4)
    errors = [np.abs(read - make_features(4, seed=seed)).max() for seed in (1, 2)]
    assert min(errors) < 0.02 < max(errors)


def test_a_shard_that_keeps_changing_under_a_writer_is_an_error(make_recipe, make_features, make_seconds):
    memory = MemoryStore()
    other = FeatureStore.create(memory, make_recipe(dtype="int8"))
    other.plan("v", make_seconds(4), {})
    place = _Overtaken(memory, lambda: other.write_shard("v", 0, make_features(4, seed=2)), list(range(3, 100, 2)))
    with pytest.raises(StoreAccessError, match="keeps changing; stop the other run"):
        FeatureStore(place, other.recipe, other.layout).write_shard("v", 0, make_features(4, seed=1))


def test_two_planners_and_completers_of_one_video_agree(store, make_features, make_seconds, folder_bytes):
    other = FeatureStore.open(store.location, mode="a")
    for planner in (store, other):
        planner.plan("v", make_seconds(4), {"size_bytes": 1})
    store.write_shard("v", 0, make_features(4))
    other.write_shard("v", 0, make_features(4))
    for completer in (store, other):
        completer.complete("v")
    before = folder_bytes(Path(store.location))
    other.plan("v", make_seconds(4), {"size_bytes": 1})
    assert folder_bytes(Path(store.location)) == before


def test_a_video_finished_after_a_kill_has_no_file_that_an_undisturbed_one_has_not(store, make_features, write_video):
    write_video(store, "v", make_features(9), complete=False)
    video = Path(store.location) / "videos/v"
    left = [video / "tokens/c.0.0.0.0f.partial", video / "zarr.json.0f.partial", video / "seconds/zarr.json.0f.partial"]
    left.append(Path(store.location) / "zarr.json.0f.partial")
    for file in left:
        file.write_bytes(b"half")
    store.complete("v")
    store.update_catalogue()
    assert not any(file.exists() for file in left)


def test_a_writer_whose_temporary_file_was_cleared_loses_only_if_it_was_needed(tmp_path, monkeypatch):
    target, cleared, rename = tmp_path / "c.0.0.0", [], Path.replace

    def clear_first(partial, to):
        if len(cleared) < attempts:
            partial.unlink()
            cleared.append(partial.name)
        return rename(partial, to)

    monkeypatch.setattr(Path, "replace", clear_first)
    attempts = 2
    FolderPlace(tmp_path, writable=True).put("c.0.0.0", b"written again")
    assert (len(set(cleared)), target.read_bytes()) == (2, b"written again")
    attempts = 3
    target.write_bytes(b"by another worker")
    FolderPlace(tmp_path, writable=True).put("c.0.0.0", b"the same of this one")
    assert (len(cleared), target.read_bytes()) == (3, b"by another worker")


def _at_once(number: int, work: Callable[[int], object]) -> list[object]:
    """What each of `number` threads came to that start at one instant, errors among them."""
    start = threading.Barrier(number)

    def one(index: int) -> object:
        start.wait()
        try:
            return work(index)
        except Exception as error:  # noqa: BLE001 -- what it came to
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_of_several_who_make_one_store_at_once_each_gets_it(tmp_path, make_recipe, folder_bytes):
    recipe = make_recipe(dtype="float16")
    FeatureStore.create(tmp_path / "alone", recipe, clips_per_shard=4)
    for number in range(8):
        place = tmp_path / str(number)
        made = _at_once(6, lambda _, place=place: FeatureStore.create(place, recipe, clips_per_shard=4))
        assert all(isinstance(store, FeatureStore) for store in made), made
        assert folder_bytes(place) == folder_bytes(tmp_path / "alone")


class _Late(FolderPlace):
    """Finds no store, and when it looks for other files, another process has made one."""

    overtake: Callable[[], object] = staticmethod(lambda: None)

    def sizes(self, path: str) -> dict[str, int | None]:
        type(self).overtake()
        return super().sizes(path)


def test_who_finds_a_store_that_was_made_since_it_looked_opens_it(tmp_path, make_recipe, monkeypatch):
    place = tmp_path / "x.zarr"
    monkeypatch.setattr(store_module, "open_place", lambda location, **_: _Late(location, writable=True))

    def overtake() -> None:
        monkeypatch.undo()
        FeatureStore.create(place, make_recipe(), clips_per_shard=4)

    monkeypatch.setattr(_Late, "overtake", staticmethod(overtake))
    assert FeatureStore.create(place, make_recipe(), clips_per_shard=8).layout.clips_per_shard == 4


def test_of_several_who_make_different_stores_at_one_place_one_wins_and_no_other_goes_on(
    tmp_path, make_recipe, folder_bytes
):
    recipes = [make_recipe(dtype="float16"), make_recipe(dtype="float32")]
    for number in range(8):
        place = tmp_path / str(number)
        made = _at_once(6, lambda index, place=place: FeatureStore.create(place, recipes[index % 2]))
        stores = [one for one in made if isinstance(one, FeatureStore)]
        assert {store.recipe.dtype for store in stores} == {FeatureStore.open(place).recipe.dtype}
        assert all(isinstance(one, FeatureStore | RecipeMismatch | NotAFeatureStore) for one in made), made
        FeatureStore.create(tmp_path / f"alone-{number}", stores[0].recipe)
        assert folder_bytes(place) == folder_bytes(tmp_path / f"alone-{number}"), "the copy is the winner's"
    sizes = _at_once(4, lambda index: FeatureStore.create(tmp_path / "sizes", recipes[0], clips_per_shard=2 + index))
    assert {store.layout for store in sizes} == {FeatureStore.open(tmp_path / "sizes").layout}
