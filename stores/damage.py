"""Verifying every byte of a store, and removing what is damaged."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from longvid.files import PARTIAL
from longvid.stores import layout as on_disk
from longvid.stores.canonical import document_bytes
from longvid.stores.catalogue import catalogue_agrees, drop_catalogue, video_names, without_rows
from longvid.stores.errors import DamagedStore, StoreAccessError, StoreReadOnly
from longvid.stores.faults import LEFT_OVER, Damage, Fault, video_faults
from longvid.stores.keys import path_name, was_path_name
from longvid.stores.layout import DOCUMENT
from longvid.stores.place import Location, Place, open_place
from longvid.stores.records import VideoRecord
from longvid.stores.root import root_copy
from longvid.stores.store import FeatureStore

_AT_ONCE = 8
"""Videos that are read at the same time, which hides the latency of an object store."""

Home = tuple[str, str, int]
"""The place where a shard belongs: the video's key, the array, the shard's index."""


def verify(
    store: FeatureStore, *, keys: Iterable[str] | None = None, on_video: Callable[[str], None] | None = None
) -> list[Damage]:
    """All damage of the store, found by reading every file of it once, a few shards at a time.

    `keys`: read only the files of these videos, without listing the others.

    A single changed byte in any file is found, and so is a shard that is whole but is not the one that was written in
    its place. Files that a running extraction is writing at the moment look like strays. `on_video` is called with each
    video's path name, in order, when it has been read.
    """
    if keys is None:
        faults = [Fault(damage) for damage in [*_documents(store), *_outside_videos(store)]]
        names = video_names(store.place)
    else:
        asked = {path_name(key): key for key in keys}
        faults, names = [], sorted(asked)
        for name in names:
            if not store.place.sizes(on_disk.video_path(name)):
                raise store.no_video(asked[name])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, found in zip(names, pool.map(lambda name: list(video_faults(store, name)), names), strict=True):
            faults += found
            if on_video is not None:
                on_video(name)
    if keys is not None:
        return [fault.damage for fault in faults]
    damages = _told_where_they_belong(store, faults)
    if not catalogue_agrees(store.place):
        path = f"{on_disk.CATALOGUE}/{DOCUMENT}"
        damages.append(Damage("damaged", None, None, path, "does not agree with the videos' own documents"))
    return damages


def repair(
    store: FeatureStore, *, keys: Iterable[str] | None = None, on_video: Callable[[str], None] | None = None
) -> list[Damage]:
    """Remove everything that `verify` finds, and return it; damaged shards are then missing, their videos planned.

    Extract the same videos again to make the missing shards. Strangers are left alone, and links are never followed.
    Run it while nothing else writes to the store: it cannot tell a file that is being written from one that a killed
    process left. Continues past what cannot be removed, and at the end raises StoreAccessError with its name.
    """
    if not store.place.writable:
        raise StoreReadOnly(f"{store.location}: opened for reading; open it with mode='a' to repair")
    found = verify(store, keys=keys, on_video=on_video)
    damages = [damage for damage in found if damage.kind != "stranger"]
    if not damages:
        return found
    if any(damage.path.startswith(f"{on_disk.CATALOGUE}/") for damage in damages):
        drop_catalogue(store.place)
    inside = [damage.path.split("/") for damage in damages if damage.path.startswith(f"{on_disk.VIDEOS}/")]
    touched = {parts[1] for parts in inside}
    with without_rows(store.place, touched):
        _take_all_out(store, damages)
    return found


def _take_all_out(store: FeatureStore, damages: list[Damage]) -> None:
    """Take out each that can be; then raise the first error."""
    whole_videos = {damage.key for damage in damages if damage.path.endswith("/")}
    broken = dict.fromkeys(damage.key for damage in damages if damage.kind != "stray" and damage.key is not None)
    for key in broken:
        if key not in whole_videos:
            store.reopen(key)
    failed = []
    for damage in damages:
        try:
            _take_out(store, damage)
        except StoreAccessError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def restore_root(location: Location, *, storage_options: dict[str, Any] | None = None) -> Damage | None:
    """Restore the store's own document from its copy, if it is damaged or gone; returns the damage, None if none.

    Only if the videos belong to it: each holds the digest of its recipe. Raises NotAFeatureStore where there is no
    usable copy, as in a store of version 0.1.0.
    """
    place = open_place(location, writable=True, storage_options=storage_options)
    copy = root_copy(place)
    if copy is not None and _is_of_its_videos(place, copy[0].digest):
        document = on_disk.store_documents(*copy)[DOCUMENT]
        if place.get(DOCUMENT) == document:
            return None
        place.put(DOCUMENT, document)
        return Damage("damaged", None, None, DOCUMENT, "was damaged or gone, and was put back from its copy")
    FeatureStore.open(location, storage_options=storage_options)  # raises an error with what is wrong, if anything is
    return None


def unrecorded(store: FeatureStore) -> list[str]:
    """Keys of complete videos without recorded digests, because version 0.1.0 completed them."""
    complete = [(key, store.record(key)) for key in store.num_clips()]
    return [key for key, record in complete if record is not None and not record.digests_sha256]


def record(store: FeatureStore, damages: list[Damage]) -> list[str]:
    """Record digests of the shards of `unrecorded` videos, and a copy of the store's own document; returns their keys.

    For a store that `verify` has just read: `damages` is its result, and the videos in it are skipped.
    """
    if not store.place.writable:
        raise StoreReadOnly(f"{store.location}: opened for reading; open it with mode='a' to record digests")
    for path, document in on_disk.store_documents(store.recipe, store.layout, store.made_with).items():
        if store.place.get(path) != document:
            store.place.put(path, document)
    damaged = {damage.key for damage in damages}
    keys = [key for key in unrecorded(store) if key not in damaged]
    for key in keys:
        store.record_digests(key)
    return keys


def _take_out(store: FeatureStore, damage: Damage) -> None:
    documents = on_disk.store_documents(store.recipe, store.layout, store.made_with)
    if damage.kind == "misnamed":
        _rename(store, damage.path.rstrip("/"))
    elif damage.path.endswith("/"):
        store.place.delete_tree(damage.path.rstrip("/"))
    elif damage.path in documents:
        store.place.put(damage.path, documents[damage.path])
    else:
        store.place.delete(damage.path)  # a folder, too, where there are folders
        if store.place.folder is None:
            store.place.delete_tree(damage.path)


def _documents(store: FeatureStore) -> Iterator[Damage]:
    without_copy = document_bytes(on_disk.group_document({}))  # as version 0.1.0 wrote it
    for path, expected in on_disk.store_documents(store.recipe, store.layout, store.made_with).items():
        found = store.place.get(path)
        if found != expected and (path == DOCUMENT or found != without_copy):
            yield Damage("damaged", None, None, path, "is not the group's document")


def _outside_videos(store: FeatureStore) -> Iterator[Damage]:
    """Files beside the videos: temporary ones, which repair removes, and those of others, which it leaves."""
    expected = {"": {DOCUMENT, on_disk.VIDEOS, on_disk.CATALOGUE}, on_disk.CATALOGUE: {DOCUMENT}}
    for folder, names in expected.items():
        for name, size in sorted(store.place.sizes(folder).items()):
            if name not in names:
                yield _outside(store.place, f"{folder}/{name}".lstrip("/"), size)
    videos = store.place.sizes(on_disk.VIDEOS)
    for name in sorted(videos.keys() - {DOCUMENT} - set(video_names(store.place))):
        path = f"{on_disk.VIDEOS}/{name}"
        if was_path_name(name) and videos[name] is None and _record_at(store.place, path) is not None:
            reason = "has the name of a temporary file, which version 0.1.0 gave it; `longvid repair` renames it"
            yield Damage("misnamed", name, None, f"{path}/", reason)
        else:
            yield _outside(store.place, path, videos[name])


def _outside(place: Place, path: str, size: int | None) -> Damage:
    """What a killed writer left is a file with the name of a temporary one; nothing else here is longvid's."""
    if path.endswith(PARTIAL) and (size is not None or place.folder is None):
        return Damage("stray", None, None, path, LEFT_OVER)
    return Damage("stranger", None, None, path, "not longvid's: left alone")


def _record_at(place: Place, path: str) -> VideoRecord | None:
    document = place.get(f"{path}/{DOCUMENT}")
    try:
        return None if document is None else VideoRecord.from_bytes(document)
    except DamagedStore:
        return None


def _rename(store: FeatureStore, path: str) -> None:
    """Move a video to the present path name of its key, its document last."""
    record = _record_at(store.place, path)
    assert record is not None
    new = on_disk.video_path(path_name(record.key))
    for folder in (*on_disk.array_documents(store.recipe, store.layout, record.num_clips), on_disk.DIGESTS):
        for file in store.place.sizes(f"{path}/{folder}"):
            data = store.place.get(f"{path}/{folder}/{file}")
            if data is not None:
                store.place.put(f"{new}/{folder}/{file}", data)
    store.place.put(f"{new}/{DOCUMENT}", record.to_bytes())
    store.place.delete_tree(path)


def _is_of_its_videos(place: Place, recipe_digest: str) -> bool:
    """Whether the first video whose document can be read is of this recipe; True if there is none."""
    for name in video_names(place):
        found = _record_at(place, on_disk.video_path(name))
        if found is not None:
            return found.recipe_digest == recipe_digest
    return True


def _told_where_they_belong(store: FeatureStore, faults: list[Fault]) -> list[Damage]:
    """The damages, where each shard that is whole but in another's place is reported with its own place."""
    wanted = {fault.sha256 for fault in faults if fault.sha256}
    homes = _homes(store, wanted) if wanted else {}
    broken = {(fault.damage.key, fault.damage.shard) for fault in faults}
    return [_with_home(fault, homes.get(fault.sha256, []), broken) for fault in faults]


def _homes(store: FeatureStore, wanted: set[str]) -> dict[str, list[Home]]:
    """The places for which these shards were recorded, by sha256."""
    homes: dict[str, list[Home]] = {}
    for key in store.num_clips():
        try:
            rows = store.digests(key)
        except DamagedStore:
            continue  # `verify` reports it
        for array, digests in (rows or {}).items():
            for shard_index, digest in enumerate(digests):
                if digest.sha256 in wanted:
                    homes.setdefault(digest.sha256, []).append((key, array, shard_index))
    return homes


def _with_home(fault: Fault, homes: list[Home], broken: set[tuple[str | None, int | None]]) -> Damage:
    damage = fault.damage
    if not homes:
        return damage
    key, array, shard_index = homes[0]
    whose = "this video" if key == damage.key else f"video {key!r}"
    also = "where something else lies: exchanged" if (key, shard_index) in broken else "where it lies too: a copy"
    return replace(damage, kind="misplaced", reason=f"is shard {shard_index} of `{array}` of {whose}, {also}")
