"""Looking at every byte of a store, and taking out what is broken so that the next extraction makes it again."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from longvid.stores import layout as on_disk
from longvid.stores.canonical import document_bytes
from longvid.stores.catalogue import catalogue_agrees, drop_catalogue, video_names
from longvid.stores.errors import DamagedStore, StoreReadOnly
from longvid.stores.keys import path_name
from longvid.stores.layout import DOCUMENT
from longvid.stores.place import PARTIAL
from longvid.stores.records import VideoRecord, seconds_sha256
from longvid.stores.shard import check_shard, decode_seconds
from longvid.stores.store import FeatureStore

_AT_ONCE = 8
"""Videos that are read at once: what hides the round trips of an object store."""
_LEFT_OVER = "left over: no part of the store"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a store."""

    kind: Literal["damaged", "missing", "stray"]
    """damaged: not what was written. missing: a complete video lacks it. stray: left over, harmless."""
    key: str | None
    """The video's key; its path name where the key cannot be read; None for what belongs to no video."""
    shard: int | None
    """The shard's index, where it is a shard."""
    path: str
    """The object within the store; ends with `/` where it is a whole video."""
    reason: str

    def __str__(self) -> str:
        video = "" if self.key is None else f"video {self.key!r}: "
        shard = "" if self.shard is None else f"shard {self.shard}: "
        return f"{video}{shard}{self.path}: {self.reason}"


def verify(store: FeatureStore, *, on_video: Callable[[str], None] | None = None) -> list[Damage]:
    """Everything that is wrong with the store, found by reading every file of it once, a few shards at a time.

    One changed byte in any file is found and named. Files that a running extraction is writing at the moment look like
    strays. `on_video` is called with each video's path name, in order, when it has been read.
    """
    damages = [*_documents(store), *_outside_videos(store)]
    names = video_names(store.place)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, found in zip(names, pool.map(lambda name: list(_video(store, name)), names), strict=True):
            damages += found
            if on_video is not None:
                on_video(name)
    if not catalogue_agrees(store.place):
        path = f"{on_disk.CATALOGUE}/{DOCUMENT}"
        damages.append(Damage("damaged", None, None, path, "does not agree with the videos' own documents"))
    return damages


def repair(store: FeatureStore, *, on_video: Callable[[str], None] | None = None) -> list[Damage]:
    """Take out everything `verify` finds, and return it. What was damaged is missing then, and its video planned again.

    Extract the same videos again to make the missing shards. Run it while nothing else writes to the store: it cannot
    tell a file that is being written from one that a killed process left.
    """
    if not store.place.writable:
        raise StoreReadOnly(f"{store.location}: opened for reading; open it with mode='a' to repair")
    damages = verify(store, on_video=on_video)
    if damages:
        drop_catalogue(store.place)
    documents = _store_documents(store)
    whole_videos = {damage.key for damage in damages if damage.path.endswith("/")}
    broken = dict.fromkeys(damage.key for damage in damages if damage.kind != "stray" and damage.key is not None)
    for key in broken:
        if key not in whole_videos:
            store.reopen(key)
    for damage in damages:
        if damage.path.endswith("/"):
            store.place.delete_tree(damage.path.rstrip("/"))
        elif damage.path in documents:
            store.place.put(damage.path, documents[damage.path])
        else:
            store.place.delete(damage.path)
    return damages


def _store_documents(store: FeatureStore) -> dict[str, bytes]:
    """The documents that belong to no video, as they must be, by path."""
    attributes = {DOCUMENT: on_disk.store_attributes(store.recipe, store.layout), f"{on_disk.VIDEOS}/{DOCUMENT}": {}}
    return {path: document_bytes(on_disk.group_document(given)) for path, given in attributes.items()}


def _documents(store: FeatureStore) -> Iterator[Damage]:
    for path, expected in _store_documents(store).items():
        if store.place.get(path) != expected:
            yield Damage("damaged", None, None, path, "is not the group's document")


def _outside_videos(store: FeatureStore) -> Iterator[Damage]:
    expected = {"": {DOCUMENT, on_disk.VIDEOS, on_disk.CATALOGUE}, on_disk.CATALOGUE: {DOCUMENT}}
    for folder, names in expected.items():
        for name in sorted(store.place.sizes(folder).keys() - names):
            yield Damage("stray", None, None, f"{folder}/{name}".lstrip("/"), _LEFT_OVER)
    for name in sorted(store.place.sizes(on_disk.VIDEOS)):
        if name.endswith(PARTIAL):
            yield Damage("stray", None, None, f"{on_disk.VIDEOS}/{name}", _LEFT_OVER)


def _video(store: FeatureStore, name: str) -> Iterator[Damage]:
    path = on_disk.video_path(name)
    document = store.place.get(f"{path}/{DOCUMENT}")
    if document is None:
        yield Damage("stray", name, None, f"{path}/", "belongs to no planned video")
        return
    try:
        record = VideoRecord.from_bytes(document)
    except DamagedStore as error:
        yield Damage("damaged", name, None, f"{path}/", str(error))
        return
    if path_name(record.key) != name or record.recipe_digest != store.recipe.digest:
        yield Damage("damaged", name, None, f"{path}/", f"holds video {record.key!r} of another store")
        return
    if record.to_bytes() != document:
        yield Damage("damaged", name, None, f"{path}/", "its zarr.json was changed")
        return
    arrays = on_disk.array_documents(store.recipe, store.layout, record.num_clips)
    for file in sorted(store.place.sizes(path).keys() - arrays.keys() - {DOCUMENT}):
        yield Damage("stray", record.key, None, f"{path}/{file}", _LEFT_OVER)
    for array, expected in arrays.items():
        yield from _array(store, record, f"{path}/{array}", array, document_bytes(expected))


def _array(store: FeatureStore, record: VideoRecord, path: str, array: str, document: bytes) -> Iterator[Damage]:
    """What is wrong with one array of a video whose own document is sound."""
    there = store.place.sizes(path).keys()
    shards: dict[str, int | None] = {on_disk.SECONDS_FILE: None}
    if array != "seconds":
        shards = {on_disk.shard_file(array, i): i for i in range(store.layout.num_shards(record.num_clips))}
    for file in sorted(there - shards.keys() - {DOCUMENT}):
        yield Damage("stray", record.key, None, f"{path}/{file}", _LEFT_OVER)
    for file, shard_index in [(DOCUMENT, None), *shards.items()]:
        if file not in there:
            if record.status == "complete":
                yield Damage("missing", record.key, shard_index, f"{path}/{file}", "is missing")
            continue
        reason = _fault(store, record, f"{path}/{file}", shard_index, document)
        if reason is not None:
            yield Damage("damaged", record.key, shard_index, f"{path}/{file}", reason)


def _fault(store: FeatureStore, record: VideoRecord, path: str, shard_index: int | None, document: bytes) -> str | None:
    """What is wrong with one file of an array, or None."""
    data = store.place.get(path)
    if data is None:
        return "is empty, or vanished while it was being read"
    if path.endswith(DOCUMENT):
        return None if data == document else "is not the array's document"
    if shard_index is None:
        seconds = decode_seconds(data)
        sound = seconds is not None and seconds_sha256(seconds) == record.seconds_sha256
        return None if sound else "is not what was planned"
    first_clip, stop_clip = store.layout.shard_clips(record.num_clips, shard_index)
    try:
        check_shard(data, store.layout, stop_clip - first_clip)
    except DamagedStore as error:
        return str(error)
    return None
