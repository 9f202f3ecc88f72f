"""Finding damage in one video of a store, by reading all its files."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from longvid.stores import layout as on_disk
from longvid.stores.absent import Ranges, absent_mask
from longvid.stores.canonical import document_bytes
from longvid.stores.digests import MissingDigests, Rows, digests_path
from longvid.stores.errors import DamagedStore, StoreAccessError
from longvid.stores.keys import path_name
from longvid.stores.layout import DOCUMENT
from longvid.stores.numbers import stored_fault
from longvid.stores.receipts import Note
from longvid.stores.records import VideoRecord, seconds_sha256
from longvid.stores.shard import check_shard, decode_seconds, decode_shard
from longvid.stores.shards import VideoShards
from longvid.stores.store import FeatureStore

LEFT_OVER = "left over: not part of the store"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a store."""

    kind: Literal["damaged", "misplaced", "missing", "misnamed", "stray", "stranger"]
    """damaged: not what was written. misplaced: whole, but from another place, or an older one. missing: a complete
    video lacks it. misnamed: a video under a name that is not allowed any more. stray: left over, harmless. stranger:
    put there by others; harmless, and left alone."""
    key: str | None
    """The video's key; its path name where the key cannot be read; None outside of videos."""
    shard: int | None
    """The shard's index; None for anything but a shard."""
    path: str
    """Path of the object in the store; ends with `/` for a whole video."""
    reason: str

    def __str__(self) -> str:
        video = "" if self.key is None else f"video {self.key!r}: "
        shard = "" if self.shard is None else f"shard {self.shard}: "
        return f"{video}{shard}{self.path}: {self.reason}"


@dataclass(frozen=True)
class Fault:
    """A damage, with the sha256 of the file where it is a shard that can be read."""

    damage: Damage
    sha256: str = ""


def video_faults(store: FeatureStore, name: str) -> Iterator[Fault]:
    """All damage of the video with this path name."""
    path = on_disk.video_path(name)
    try:
        document = store.place.get(f"{path}/{DOCUMENT}")
    except StoreAccessError as error:
        yield Fault(Damage("damaged", name, None, f"{path}/", str(error)))
        return
    if document is None:
        yield Fault(Damage("stray", name, None, f"{path}/", "belongs to no planned video (links are not followed)"))
        return
    reason = _record_fault(store, name, document)
    if reason is not None:
        yield Fault(Damage("damaged", name, None, f"{path}/", reason))
        return
    record = VideoRecord.from_bytes(document)
    shards = VideoShards(store.place, store.recipe, store.layout, record)
    yield from map(Fault, _beside_arrays(store, record, path))
    rows = None
    try:
        rows = None if store.place.is_link(f"{path}/{on_disk.DIGESTS}") else shards.recorded()
    except (DamagedStore, StoreAccessError) as error:
        kind: Literal["missing", "damaged"] = "missing" if isinstance(error, MissingDigests) else "damaged"
        yield Fault(Damage(kind, record.key, None, digests_path(name), str(error)))
    accepted = shards.accepted() if record.status == "planned" else {}
    for left in shards.spoiled_receipts() if record.status == "planned" else []:
        yield Fault(Damage("stray", record.key, None, left, "is not what a writer left there"))
    for array, expected in on_disk.array_documents(store.recipe, store.layout, record.num_clips).items():
        if store.place.is_link(f"{path}/{array}"):
            continue
        yield from _array(shards, f"{path}/{array}", array, document_bytes(expected), rows, accepted)


def _record_fault(store: FeatureStore, name: str, document: bytes) -> str | None:
    try:
        record = VideoRecord.from_bytes(document)
    except DamagedStore as error:
        return str(error)
    if path_name(record.key) != name or record.recipe_digest != store.recipe.digest:
        return f"holds video {record.key!r} of another store"
    return None if record.to_bytes() == document else "its zarr.json was changed"


def _beside_arrays(store: FeatureStore, record: VideoRecord, path: str) -> Iterator[Damage]:
    """Damage in the video's folder outside its arrays."""
    ours = {DOCUMENT, *on_disk.array_documents(store.recipe, store.layout, record.num_clips), on_disk.DIGESTS}
    if record.status == "planned":
        ours.add(on_disk.RECEIPTS)
    elif not record.digests_sha256:
        ours.discard(on_disk.DIGESTS)
    for file in sorted(store.place.sizes(path)):
        if file not in ours:
            yield Damage("stray", record.key, None, f"{path}/{file}", LEFT_OVER)
        elif store.place.is_link(f"{path}/{file}"):
            reason = "is a symbolic link, which is never followed inside a store"
            yield Damage("damaged", record.key, None, f"{path}/{file}", reason)
    for file in sorted(store.place.sizes(f"{path}/{on_disk.DIGESTS}").keys() - {DOCUMENT}):
        if on_disk.DIGESTS in ours:
            yield Damage("stray", record.key, None, f"{path}/{on_disk.DIGESTS}/{file}", LEFT_OVER)


def _array(
    shards: VideoShards, path: str, array: str, document: bytes, rows: Rows | None, accepted: dict[int, list[Note]]
) -> Iterator[Fault]:
    """Damage in one array of a video whose own document is sound."""
    record = shards.record
    there = shards.place.sizes(path).keys()
    files: dict[str, int | None] = {on_disk.SECONDS_FILE: None}
    if array != "seconds":
        files = {on_disk.shard_file(array, i): i for i in range(shards.num_shards)}
    for file in sorted(there - files.keys() - {DOCUMENT}):
        yield Fault(Damage("stray", record.key, None, f"{path}/{file}", LEFT_OVER))
    for file, shard_index in [(DOCUMENT, None), *files.items()]:
        if file not in there:
            if record.status == "complete":
                yield Fault(Damage("missing", record.key, shard_index, f"{path}/{file}", "is missing"))
            continue
        try:
            data = shards.place.get(f"{path}/{file}")
        except StoreAccessError as error:  # a sector that cannot be read; the other files can be
            yield Fault(Damage("damaged", record.key, shard_index, f"{path}/{file}", str(error)))
            continue
        if data is None:
            reason = "is empty, is not a file (links are not followed), or vanished while it was being read"
            yield Fault(Damage("damaged", record.key, shard_index, f"{path}/{file}", reason))
        elif shard_index is None:
            sound = data == document if file == DOCUMENT else _is_seconds(data, record)
            if not sound:
                yield Fault(Damage("damaged", record.key, None, f"{path}/{file}", "is not what was planned"))
        else:
            allowed = accepted.get(shard_index)
            if rows is not None:
                allowed = [Note({array: rows[array][shard_index]}, shards.damaged_before(shard_index))]
            yield from _shard(shards, array, shard_index, data, allowed)


def _is_seconds(data: bytes, record: VideoRecord) -> bool:
    seconds = decode_seconds(data)
    return seconds is not None and seconds_sha256(seconds) == record.seconds_sha256


def _shard(
    shards: VideoShards, array: str, shard_index: int, data: bytes, allowed: list[Note] | None
) -> Iterator[Fault]:
    """Damage of one existing shard file, whose digest must be in `allowed` (None: any)."""
    sha256 = hashlib.sha256(data).hexdigest()
    known = allowed is not None and sha256 in [note.digests[array].sha256 for note in allowed]
    kind: Literal["damaged", "misplaced"] = "damaged"
    reason = None
    try:
        _check_contents(shards, array, shard_index, data, [note.damaged for note in allowed or []])
    except DamagedStore as error:
        reason = str(error)
    if reason is None and allowed is not None and not known:
        kind = "misplaced"
        reason = "is whole, but is not what was written there: of an older extraction, or of another store"
    if reason is not None:
        damage = Damage(kind, shards.record.key, shard_index, shards.path(array, shard_index), reason)
        yield Fault(damage, "" if known else sha256)


def _check_contents(shards: VideoShards, array: str, shard_index: int, data: bytes, damaged: list[Ranges]) -> None:
    """Raise DamagedStore unless the file is whole and holds the planned number of valid numbers.

    `damaged` is what may be true of the shard's absent clips, beside what the video's document says.
    """
    num_clips = shards.num_clips(shard_index)
    check_shard(data, shards.layout, num_clips)
    planned = on_disk.array_documents(shards.recipe, shards.layout, shards.record.num_clips)[array]
    dtype, clip_shape = np.dtype(planned["data_type"]), tuple(planned["shape"][1:])
    clips = decode_shard(data, shards.layout, dtype, clip_shape, num_clips)
    clip_range = shards.layout.shard_clips(shards.record.num_clips, shard_index)
    possible = dict.fromkeys([*damaged, shards.damaged_before(shard_index)])
    faults = [stored_fault(array, clips, absent_mask(ranges, *clip_range)) for ranges in possible]
    if all(fault is not None for fault in faults):
        raise DamagedStore(faults[0])
