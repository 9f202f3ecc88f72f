"""Whatever happens to a store, in whatever order: a reader gets the numbers of the plan, or an error that says why.

A hypothesis state machine over one store, against a dictionary: videos are planned, written, completed, reopened,
deleted, repaired; any of these is killed between any two of its writes; shards change places behind the store's back;
workers that started under an earlier plan put their shards late, with other bytes than the new ones.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from zarr.storage import MemoryStore

from longvid.stores import (
    DamagedStore,
    FeatureStore,
    IncompleteVideo,
    Recipe,
    SourceChanged,
    VideoNotInStore,
    repair,
    verify,
)
from longvid.stores.place import ZarrPlace
from longvid.stores.records import VideoRecord

pytestmark = pytest.mark.faults

KEYS = ["a", "b"]
NUM_CLIPS, CLIPS_PER_SHARD = 6, 4
SHARDS = [0, 1]
SECONDS = np.arange(NUM_CLIPS)[:, None] + np.array([0.0, 1.0])

keys, shards = st.sampled_from(KEYS), st.sampled_from(SHARDS)
versions, flavours = st.integers(0, 1), st.integers(0, 1)
kills = st.one_of(st.none(), st.integers(0, 12))
"""After how many writes an action is killed; None: never."""


class Killed(Exception):
    """The process ended here."""


class _Place(ZarrPlace):
    """A place in memory at which the process is killed before a write that was chosen."""

    writes_left: int | None = None

    def _count(self) -> None:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise Killed
            self.writes_left -= 1

    def put(self, path: str, data: bytes, *, flush: bool = True) -> None:
        self._count()
        super().put(path, data, flush=flush)

    def delete(self, path: str) -> None:
        self._count()
        super().delete(path)

    def delete_tree(self, path: str) -> None:
        for name in self.sizes(path):  # an object store deletes one by one: a kill may come between
            self.delete_tree(f"{path}/{name}")
        if self.get(path) is not None:
            self.delete(path)


def features(key: str, version: int, flavour: int) -> np.ndarray:
    """(clips, 1, 2): numbers that say whose they are; of a flavour are the bytes of one of two workers."""
    values = 10.0 + 500 * KEYS.index(key) + 250 * version + 20 * np.arange(NUM_CLIPS) + 4 * flavour
    return np.stack([values, -values if flavour else values], axis=1)[:, None, :].astype(np.float32)


class StoreMachine(RuleBasedStateMachine):
    """The store and what is known of it."""

    dtype = "float16"

    def __init__(self) -> None:
        super().__init__()
        recipe = Recipe.from_dict(
            {
                "encoder": "toy",
                "encoder_config": {},
                "weights_sha256": "",
                "sampling": {},
                "preprocessing": {},
                "pooling": "mean",
                "num_tokens": 1,
                "dim": 2,
                "dtype": self.dtype,
            }
        )
        made = FeatureStore.create(MemoryStore(), recipe, clips_per_shard=CLIPS_PER_SHARD, clips_per_chunk=2)
        self.place = _Place(made.place.zarr_store(), writable=True)
        self.store = FeatureStore(self.place, made.recipe, made.layout)
        self.planned: dict[str, int] = {}
        """The version of the file that each key was planned from."""
        self.held: list[tuple[VideoRecord, str, int]] = []
        """Shards that workers have started but not put yet: the record they read, its key and version."""
        self.tampered = False

    @contextmanager
    def killed_after(self, writes: int | None) -> Iterator[None]:
        """The block, ended before its write of that number."""
        self.place.writes_left = writes
        try:
            yield
        except Killed:
            self.after_a_kill()
        finally:
            self.place.writes_left = None

    def after_a_kill(self) -> None:
        """What was planned is what the store says: a plan or a deletion was either done or not."""
        self.place.writes_left = None
        for key in KEYS:
            record = self.store.record(key)
            if record is None:
                self.planned.pop(key, None)
            else:
                self.planned[key] = record.source["version"]

    @initialize(flavour=flavours)
    def two_complete_videos(self, flavour: int) -> None:
        for key in KEYS:
            self.plan(key, 0, None)
            for shard in SHARDS:
                self.write(key, shard, flavour, None)
            self.complete(key, None)

    @rule(key=keys, version=versions, kill=kills)
    def plan(self, key: str, version: int, kill: int | None) -> None:
        """Another version of the file is refused, unless the video was deleted."""
        with self.killed_after(kill):
            if self.planned.get(key, version) != version:
                with pytest.raises(SourceChanged):
                    self.store.plan(key, SECONDS, {"version": version})
                return
            self.store.plan(key, SECONDS, {"version": version})
            self.planned[key] = version

    @rule(key=keys, shard=shards, flavour=flavours, kill=kills)
    def write(self, key: str, shard: int, flavour: int, kill: int | None) -> None:
        clips = slice(shard * CLIPS_PER_SHARD, min((shard + 1) * CLIPS_PER_SHARD, NUM_CLIPS))
        with self.killed_after(kill):
            if key not in self.planned:
                with pytest.raises(VideoNotInStore):
                    self.store.write_shard(key, shard, features(key, 0, flavour)[clips])
                return
            self.store.write_shard(key, shard, features(key, self.planned[key], flavour)[clips])

    @rule(key=keys, kill=kills)
    def complete(self, key: str, kill: int | None) -> None:
        with self.killed_after(kill):
            try:
                self.store.complete(key)
            except (IncompleteVideo, VideoNotInStore):
                assert self.store.status(key) != "complete"
                return
            assert self.store.status(key) == "complete"

    @rule(key=keys, kill=kills)
    def reopen(self, key: str, kill: int | None) -> None:
        with self.killed_after(kill):
            if key in self.planned:
                self.store.reopen(key)

    @rule(key=keys, kill=kills)
    def delete(self, key: str, kill: int | None) -> None:
        with self.killed_after(kill):
            if key in self.planned:
                self.store.delete(key)
                del self.planned[key]

    @rule(kill=kills)
    def catalogue(self, kill: int | None) -> None:
        with self.killed_after(kill):
            self.store.update_catalogue()

    @rule(kill=kills)
    def repair(self, kill: int | None) -> None:
        with self.killed_after(kill):
            repair(self.store)
            assert verify(self.store) == []
            self.tampered = False

    @rule(key=keys)
    def take_up(self, key: str) -> None:
        record = self.store.record(key)
        if record is not None and record.status == "planned":
            self.held = [*self.held[-2:], (record, key, self.planned[key])]

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 2), shard=shards, flavour=flavours, kill=kills)
    def put_late(self, which: int, shard: int, flavour: int, kill: int | None) -> None:
        record, key, version = self.held.pop(which % len(self.held))
        other = FeatureStore.create(MemoryStore(), self.store.recipe, clips_per_shard=CLIPS_PER_SHARD)
        other.plan("x", SECONDS, {})
        clips = slice(shard * CLIPS_PER_SHARD, min((shard + 1) * CLIPS_PER_SHARD, NUM_CLIPS))
        for index in SHARDS:
            span = slice(*other.shard_clips("x", index))
            other.write_shard("x", index, features(key, version, flavour)[span])
        other.complete("x")
        arrays = other.video("x").read_stored(clips.start, clips.stop)
        self.place.writes_left = kill
        try:
            self.store._put_shard(record, shard, arrays)
        except Killed:
            self.tampered = True  # it could not look back at what it had overwritten
            self.after_a_kill()
        except SourceChanged:
            assert self.planned.get(key) != version
        finally:
            self.place.writes_left = None

    @rule(one=keys, other=keys, shard=shards)
    def exchange(self, one: str, other: str, shard: int) -> None:
        """Behind the store's back: two shards of one video, or a shard of two videos."""
        arrays = {"tokens": ".0.0"} | ({"scale": ".0"} if self.dtype == "int8" else {})
        for array, ending in arrays.items():
            first = f"videos/{one}/{array}/c.{shard}{ending}"
            second = f"videos/{other}/{array}/c.{shard if one != other else 1 - shard}{ending}"
            data, others = self.place.get(first), self.place.get(second)
            if data is None or others is None:
                return
            self.place.put(first, others)
            self.place.put(second, data)
        self.tampered = True

    @rule()
    def extract_again(self) -> None:
        """What the user does after anything: `longvid repair`, and the same extraction."""
        repair(self.store)
        for key in list(self.planned):
            self.store.plan(key, SECONDS, {"version": self.planned[key]})
            for _attempt in range(2):  # a shard of another plan is found only when the video is to be completed
                for shard in self.store.missing(key):
                    span = slice(*self.store.shard_clips(key, shard))
                    self.store.write_shard(key, shard, features(key, self.planned[key], 0)[span])
                try:
                    self.store.complete(key)
                except IncompleteVideo:
                    continue
                break
            assert self.store.status(key) == "complete"
        self.store.update_catalogue()
        assert verify(self.store) == []
        self.tampered = False
        assert self.store.keys() == sorted(self.planned)

    @invariant()
    def statuses_are_those_of_the_dictionary(self) -> None:
        assert {key for key in KEYS if self.store.status(key) != "absent"} == self.planned.keys()
        assert set(self.store.keys()) == {key for key in KEYS if key in self.store}

    @invariant()
    def a_reader_gets_the_numbers_of_the_plan_or_an_error(self) -> None:
        for key in KEYS:
            if key not in self.store:
                continue
            for shard in SHARDS:
                span = slice(shard * CLIPS_PER_SHARD, min((shard + 1) * CLIPS_PER_SHARD, NUM_CLIPS))
                try:
                    tokens = self.store.video(key).read(span.start, span.stop)
                except DamagedStore:
                    assert self.tampered, f"video {key!r}, shard {shard} cannot be read, and nobody touched it"
                    continue
                allowed = [features(key, self.planned[key], flavour)[span] for flavour in (0, 1)]
                assert any(np.allclose(tokens, one, rtol=1e-3) for one in allowed), (key, shard, tokens.ravel())


class Int8Machine(StoreMachine):
    """The same with two files per shard, which may come from two writers."""

    dtype = "int8"


MACHINE_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "stateful_step_count": 30,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
}


def _test_case(machine: type[StoreMachine], examples: int) -> Callable[..., Any]:
    case = type(machine.__name__, (machine,), {}).TestCase
    case.settings = settings(max_examples=examples, **MACHINE_SETTINGS)
    return case


TestFloat16 = _test_case(StoreMachine, 10)
TestInt8 = _test_case(Int8Machine, 10)
TestManyFloat16 = pytest.mark.slow(_test_case(StoreMachine, 100))
TestManyInt8 = pytest.mark.slow(_test_case(Int8Machine, 100))
