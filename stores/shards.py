"""The shard files of one planned video, and what is known of each."""

from dataclasses import dataclass, field

from longvid.stores import layout as on_disk
from longvid.stores.absent import DamagedClips, Ranges, joined, within
from longvid.stores.digests import (
    MissingDigests,
    Rows,
    ShardDigest,
    digest_shard,
    digests_document,
    digests_path,
    document_sha256,
    parse_digests,
)
from longvid.stores.errors import DamagedStore
from longvid.stores.keys import path_name
from longvid.stores.layout import Layout, shard_arrays, shard_file, video_path
from longvid.stores.place import Place
from longvid.stores.receipts import (
    Digests,
    Note,
    Receipt,
    parse_name,
    parse_receipt,
    receipt_path,
    receipts_path,
)
from longvid.stores.recipe import Recipe
from longvid.stores.records import VideoRecord
from longvid.stores.shard import check_shard, clip_bytes_of, shard_shape


@dataclass
class _Told:
    """The receipts for one shard."""

    own: list[Receipt] = field(default_factory=list)
    """Receipts for the video's plan."""
    foreign: list[Receipt] = field(default_factory=list)
    """Receipts for other plans: one of their writers may have been the last."""

    @property
    def all(self) -> list[Receipt]:
        """Both."""
        return [*self.own, *self.foreign]


@dataclass(frozen=True)
class Collected:
    """The digests to be recorded for a video's shards, and how they were found."""

    rows: Rows
    stale: list[int]
    """Indices of shards that are not of the video's plan, or not whole."""
    contested: list[int]
    """Indices of shards that had to be read, because more than one writer may have been the last."""
    receipts: list[Receipt]
    """All receipts of the video."""
    damaged: Ranges = ()
    """Absent clips."""


class VideoShards:
    """The shards of the video of `record`, in the store at `place`."""

    def __init__(self, place: Place, recipe: Recipe, layout: Layout, record: VideoRecord) -> None:
        self.place = place
        self.recipe = recipe
        self.layout = layout
        self.record = record
        self.arrays = shard_arrays(recipe)
        self.num_shards = layout.num_shards(record.num_clips)
        self._name = path_name(record.key)

    def path(self, array: str, shard_index: int) -> str:
        """Path in the store of the shard's file of the array."""
        return f"{video_path(self._name)}/{array}/{shard_file(array, shard_index)}"

    def num_clips(self, shard_index: int) -> int:
        """Number of clips in the shard."""
        first_clip, stop_clip = self.layout.shard_clips(self.record.num_clips, shard_index)
        return stop_clip - first_clip

    def digest(self, array: str, data: bytes) -> ShardDigest:
        """The digest of one of the shard's files. Raises DamagedStore if a chunk cannot be read."""
        return digest_shard(data, self.layout, clip_bytes_of(self.recipe, array))

    def missing(self) -> list[int]:
        """Indices of the missing shards, found by a listing; see `FeatureStore.missing`."""
        sizes = {array: self.place.sizes(f"{video_path(self._name)}/{array}") for array in self.arrays}
        told = {} if self.record.status == "complete" else self._told()
        stale = {index for index, one in told.items() if one.foreign and not one.own}
        return [index for index in range(self.num_shards) if index in stale or not self._is_there(index, sizes)]

    def found(self, shard_index: int) -> Digests | None:
        """The digests of the shard's files as they are now; None where one is missing or not whole."""
        found = {}
        for array in self.arrays:
            data = self.place.get(self.path(array, shard_index))
            if data is None:
                return None
            try:
                check_shard(data, self.layout, self.num_clips(shard_index))
                found[array] = self.digest(array, data)
            except DamagedStore:
                return None
        return found

    def recorded(self) -> Rows | None:
        """The digests that `complete` recorded; None for an incomplete video, or one completed by version 0.1.0.

        Raises DamagedStore if the document's sha256 is not that in the video's record.
        """
        if not self.record.digests_sha256:
            return None
        document = self.place.get(digests_path(self._name))
        if document is None:
            raise MissingDigests("the document of its shards' digests is missing")
        if document_sha256(document) != self.record.digests_sha256:
            raise DamagedStore("the document of its shards' digests is not the one that was recorded with the video")
        return parse_digests(document, self.record, self.recipe, self.layout)

    def recorded_of(self, shard_index: int) -> Digests | None:
        """The recorded digests of one shard; None where there are none."""
        try:
            rows = self.recorded()
        except DamagedStore:
            return None
        return None if rows is None else {array: digests[shard_index] for array, digests in rows.items()}

    def record_all(self, rows: Rows, damaged: Ranges = ()) -> VideoRecord:
        """Put the digests of all shards; returns the record with their sha256, which is not put yet."""
        document = digests_document(self.record, rows)
        self.place.put(digests_path(self._name), document)
        return self.record.completed(document_sha256(document), damaged)

    def collect(self) -> Collected:
        """The digest of each shard of a video without missing shards.

        They come from the writers' receipts, and from the recorded digests if this plan was complete before. A file is
        read only where these disagree, or do not include the shard; then it must be whole, and have one of the digests.
        """
        told, before = self._told(), self._before()
        notes = self._own_notes(told)
        everything = [receipt for one in told.values() for receipt in one.all]
        rows: Rows = {array: [] for array in self.arrays}
        stale, contested, damaged = [], [], list[DamagedClips]()
        for index in range(self.num_shards):
            own = notes.get(index, [])
            known = [note.digests for note in own]
            if before is not None and (earlier := {array: before[array][index] for array in before}) not in known:
                known.append(earlier)
            foreign = index in told and bool(told[index].foreign)
            digests = known[0] if len(known) == 1 else None
            if digests is None or foreign:
                contested.append(index)
                digests = self.found(index)
            if digests is None or (known and digests not in known) or (not known and foreign):
                stale.append(index)
                continue
            for array in self.arrays:
                rows[array].append(digests[array])
            damaged += next((note.damaged for note in own if note.digests == digests), self.damaged_before(index))
        return Collected(rows, stale, contested, everything, joined(damaged))

    def damaged_before(self, shard_index: int) -> Ranges:
        """The absent clips of the shard, by the video's document."""
        return within(self.record.damaged, *self.layout.shard_clips(self.record.num_clips, shard_index))

    def are_still(self, collected: Collected) -> bool:
        """Whether no shard was written since `collect`: no new receipt, and the same file where several had written."""
        if self._all_receipts():
            return False
        rows = collected.rows
        return all(self.found(i) == {array: rows[array][i] for array in rows} for i in collected.contested)

    def remove(self, shard_index: int) -> None:
        """Remove the shard, with all its receipts."""
        for array in self.arrays:
            self.place.delete(self.path(array, shard_index))
        self.remove_receipts([receipt for receipt in self._all_receipts() if receipt.shard_index == shard_index])

    def remove_receipts(self, receipts: list[Receipt]) -> None:
        """Remove these receipts, and their folder with the last one."""
        for receipt in receipts:
            self.place.delete(receipt_path(self._name, receipt))
        self.place.prune(receipts_path(self._name))

    def accepted(self) -> dict[int, list[Note]]:
        """What may be true of each shard of an incomplete video: what its receipts say, and what was recorded before.

        Empty for a shard with receipts of other plans only.
        """
        told = self._told()
        notes = self._own_notes(told)
        accepted = {index: notes.get(index, []) for index, one in told.items() if index in notes or not one.own}
        before = self._before()
        if before is not None:
            for index in range(self.num_shards):
                earlier = {array: before[array][index] for array in self.arrays}
                accepted.setdefault(index, []).append(Note(earlier, self.damaged_before(index)))
        return accepted

    def _own_notes(self, told: dict[int, _Told]) -> dict[int, list[Note]]:
        """What the sound receipts for the video's plan say, by shard."""
        receipts = [receipt for one in told.values() for receipt in one.own]
        found = self.place.get_many(receipt_path(self._name, receipt) for receipt in receipts)
        notes: dict[int, list[Note]] = {}
        for receipt, data in zip(receipts, found, strict=True):
            note = parse_receipt(receipt, data)
            if note is not None and note.digests.keys() == set(self.arrays):
                notes.setdefault(receipt.shard_index, []).append(note)
        return notes

    def spoiled_receipts(self) -> list[str]:
        """Paths of files among the receipts that are not receipts, or were changed."""
        spoiled = []
        for name in sorted(self.place.sizes(receipts_path(self._name))):
            receipt, path = parse_name(name), f"{receipts_path(self._name)}/{name}"
            if receipt is None or parse_receipt(receipt, self.place.get(path)) is None:
                spoiled.append(path)
        return spoiled

    def left_over(self) -> list[str]:
        """Paths of receipts and digests, which an interrupted deletion may leave."""
        folders = self.place.sizes(video_path(self._name))
        paths = []
        if on_disk.RECEIPTS in folders:
            paths += [f"{receipts_path(self._name)}/{name}" for name in self.place.sizes(receipts_path(self._name))]
        if on_disk.DIGESTS in folders:
            paths.append(digests_path(self._name))
        return paths

    def _before(self) -> Rows | None:
        """The digests from when this same plan was complete before; None if it never was."""
        document = self.place.get(digests_path(self._name))
        try:
            return None if document is None else parse_digests(document, self.record, self.recipe, self.layout)
        except DamagedStore:
            return None

    def _told(self) -> dict[int, _Told]:
        told: dict[int, _Told] = {}
        for receipt in self._all_receipts():
            one = told.setdefault(receipt.shard_index, _Told())
            (one.own if receipt.is_of(self.record.plan_id) else one.foreign).append(receipt)
        return told

    def _all_receipts(self) -> list[Receipt]:
        names = sorted(self.place.sizes(receipts_path(self._name)))
        return [receipt for name in names if (receipt := parse_name(name)) is not None]

    def _is_there(self, shard_index: int, sizes: dict[str, dict[str, int | None]]) -> bool:
        for array, names in sizes.items():
            file = shard_file(array, shard_index)
            if file not in names:
                return False
            size, expected = names[file], self._file_bytes(array, shard_index)
            if size is None and self.place.folder is not None:  # a folder or a link in the file's place
                return False
            if size == 0 or (size is not None and expected is not None and size != expected):
                return False
        return True

    def _file_bytes(self, array: str, shard_index: int) -> int | None:
        """Size of a shard file of the array; None where it depends on the values (compression)."""
        if self.layout.compression is not None:
            return None
        return shard_shape(self.recipe, self.layout, array, self.num_clips(shard_index)).file_bytes
