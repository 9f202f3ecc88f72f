"""The feature store: written by many workers, read by trainers."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from longvid.files import PARTIAL
from longvid.stores import layout as on_disk
from longvid.stores.absent import Ranges, absent_mask, damaged_ranges, num_damaged
from longvid.stores.canonical import document_bytes
from longvid.stores.catalogue import drop_catalogue, without_rows, write_catalogue
from longvid.stores.digests import Rows
from longvid.stores.errors import (
    AbsentClips,
    DamagedStore,
    IncompleteVideo,
    InvalidTokens,
    RecipeMismatch,
    SourceChanged,
    StoreAccessError,
    StoreNotFound,
    StoreReadOnly,
)
from longvid.stores.keys import path_name
from longvid.stores.looking_up import StoreReader
from longvid.stores.numbers import check_stored, to_stored
from longvid.stores.place import Location, open_place
from longvid.stores.receipts import Digests, Receipt, make_receipt, receipt_path, receipts_path
from longvid.stores.recipe import Recipe
from longvid.stores.records import VideoRecord, make_record, seconds_sha256
from longvid.stores.root import named_differences, read_root, root_copy, write_root
from longvid.stores.shard import decode_seconds, encode_seconds, encode_shard
from longvid.stores.shards import Collected, VideoShards
from longvid.stores.video import Check

_PUT_ATTEMPTS = 5


class FeatureStore(StoreReader):
    """Features of many videos, all made by one recipe, at one location.

    Made by `create` or `open`. One process plans videos and completes them; any number of others write shards, each
    shard by one call. Nothing is locked: every write is one atomic put, the store's content alone shows what is done,
    and doing the same thing twice gives the same bytes.

    Can be pickled (a worker opens the location again) unless it is in memory.
    """

    @classmethod
    def create(
        cls,
        location: Location,
        recipe: Recipe,
        *,
        clips_per_shard: int | None = None,
        clips_per_chunk: int | None = None,
        compression: str | None = None,
        made_with: dict[str, str] | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> "FeatureStore":
        """A store for features of `recipe` at `location`, open for writing; an existing one of that recipe is opened.

        `location` is a folder, a URL that fsspec knows (s3://...), or a zarr store object. `clips_per_shard` (64 by
        default) is the unit of work, of writing and of resuming; 256 and more read faster where a clip has only a few
        tokens. `clips_per_chunk` is the unit of reading, by default what fits into half a megabyte; `compression` is
        None or "zstd". A store that exists keeps its own layout. `storage_options` go to fsspec. `made_with` says where
        an encoder was that cannot be found by its name alone; it is kept beside the recipe and is not compared.

        Raises RecipeMismatch with the fields if a store of another recipe is there, NotAFeatureStore if other files
        are, InvalidLayout for an impossible layout.
        """
        place = open_place(location, writable=True, storage_options=storage_options)
        existing = read_root(place)
        if existing is None:
            sizes = {"clips_per_shard": clips_per_shard, "clips_per_chunk": clips_per_chunk}
            write_root(place, recipe, on_disk.make_layout(recipe, **sizes, compression=compression), made_with)
            existing = read_root(place)
            assert existing is not None
        there, layout, was = existing
        if there.digest != recipe.digest:
            remedy = "choose another location or the settings the store was made with"
            if not set(place.sizes(on_disk.VIDEOS)) - {on_disk.DOCUMENT}:  # left by a run that was refused
                remedy = f"it holds no video yet: delete it, or {remedy}"
            raise RecipeMismatch(
                f"{place.location}: holds features of another recipe (store != yours: "
                f"{named_differences(there, recipe)}); {remedy}"
            )
        return cls(place, there, layout, was)

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        mode: Literal["r", "a"] = "r",
        check: Check = "once",
        storage_options: dict[str, Any] | None = None,
    ) -> "FeatureStore":
        """The store at `location`, for reading ("r") or for reading and writing ("a").

        `check` says how often what is read is compared with what `complete` recorded for its place (video, array and
        index), so that an exchanged, copied or stale shard is refused with DamagedStore and never read as another:

        * "once": each chunk when this process first reads it. The default: a chunk's checksum is computed then in any
          case, so nothing more is read than the window needs, and a video's digests when it is first read. Measured
          by `longvid bench store`: 0.98 to 1.07 times as fast as "never".
        * "always": at every read, which also finds a file that was changed in place while it was in use. It computes
          the crc32c of each chunk of a window: 1.9 times the time of "once" for windows of 197 x 1024 tokens, 2.5
          times for 17 x 768.
        * "never": only the checksums inside the file, which show that its bytes are whole.

        Videos completed by version 0.1.0 have no digests before `longvid verify --record`: only the checksums inside
        their files are checked.

        Raises StoreNotFound if nothing is there and NotAFeatureStore if something else is.
        """
        if mode not in ("r", "a"):
            raise ValueError(f"mode={mode!r}: choose 'r' (read) or 'a' (read and write)")
        if check not in get_args(Check):
            raise ValueError(f"check={check!r}: choose 'always', 'once' or 'never'")
        place = open_place(location, writable=mode == "a", storage_options=storage_options)
        existing = read_root(place)
        if existing is None:
            remedy = "make one with `longvid extract`"
            if place.location.startswith("hf://"):  # the Hub says of a private repository that it is not there
                remedy = "check the name, HF_TOKEN (for a private repository) and HF_ENDPOINT"
            elif root_copy(place) is not None:
                remedy = "its zarr.json is gone, but there is a copy: run `longvid repair`"
            raise StoreNotFound(f"{place.location}: no feature store was found here; {remedy}")
        return cls(place, *existing, check=check)

    # --- planning, writing, completing

    def plan(self, key: str, seconds: ArrayLike, source: dict[str, Any]) -> None:
        """Plan a video: its clips' `seconds` (clips, 2), start and end of each, and the source it is read from.

        `source` is any JSON that identifies the file: size, fingerprint, stream. Entries under `checks` in it (a digest
        that takes long) are compared where both plans have them; those under `about` describe the file (measured
        timing, problems, the decoder) and are kept, but never compared.
        Planning the same again changes nothing. Raises SourceChanged, with the differences, if the video exists with
        other clips or another source; InvalidWindow for seconds that are not in order of time.
        """
        self._refuse_read_only()
        times = np.asarray(seconds, np.float64)
        record = make_record(key, times, source, self.recipe.digest)
        # listed before the record is read, so that shards of a video planned meanwhile do not count as left over
        names, others = self._listing(key), self._shards(record).left_over()
        planned = self.record(key)
        if planned is None:
            for array, files in names.items():  # from an interrupted deletion, or from a worker that outlived one
                for file in files.keys() - {on_disk.DOCUMENT, on_disk.SECONDS_FILE}:
                    self.place.delete(f"{self._path(key)}/{array}/{file}")
            for path in others:
                self.place.delete(path)
            drop_catalogue(self.place)  # it may still name a video whose folder somebody removed
            self._write_arrays(record, times)
            self._put_record(record, flush=False)  # a plan is quickly made again; `complete` flushes
            return
        changed = planned.changes(record)
        if changed:
            raise SourceChanged(
                f"{self.location}: video {key!r} was planned from something else (store != now: {'; '.join(changed)}); "
                "if the new file is right, delete the video from the store and extract it again"
            )
        if not self._has_documents(names):  # `repair` removes what is damaged
            self._write_arrays(record, times)

    def write_shard(
        self, key: str, shard_index: int, tokens: ArrayLike, *, damaged: Mapping[int, str] | None = None
    ) -> int:
        """Put the shard's features (clips, tokens, dim), any float dtype; returns the bytes written.

        `damaged` gives, by the clip's number in the video, why a clip is absent; its numbers do not matter then.

        One atomic put (int8: the scale, then the tokens; the shard is present when both are), after a receipt with its
        digests. A complete video is not written again: 0 is returned. Raises InvalidTokens for a wrong shape, NaN,
        infinity, and values that would become infinite in the store's dtype; SourceChanged if the video was deleted or
        planned anew meanwhile.
        """
        array = np.asarray(tokens)
        record = self._planned(key)
        first_clip, stop_clip = self._shard_clips(record, shard_index)
        expected = (stop_clip - first_clip, *on_disk.token_shape(self.recipe))
        if array.shape != expected:
            raise InvalidTokens(
                f"{self.location}: video {key!r}, shard {shard_index} (clips {first_clip} to {stop_clip}): tokens of "
                f"shape {array.shape}, expected {expected}"
            )
        try:
            ranges = self._damaged_ranges(record, first_clip, stop_clip, damaged or {})
            arrays = to_stored(array, self.recipe.dtype, absent_mask(ranges, first_clip, stop_clip))
        except InvalidTokens as error:
            raise InvalidTokens(f"{self.location}: video {key!r}, shard {shard_index}: {error}") from error
        return self._put_shard(record, shard_index, arrays, ranges)

    def _damaged_ranges(
        self, record: VideoRecord, first_clip: int, stop_clip: int, damaged: Mapping[int, str]
    ) -> Ranges:
        if not damaged:
            return ()
        outside = [clip for clip in damaged if not first_clip <= clip < stop_clip]
        if outside:
            raise InvalidTokens(f"damaged clip {outside[0]} is not one of the shard's, {first_clip} to {stop_clip}")
        data = self.place.get(f"{self._path(record.key)}/seconds/{on_disk.SECONDS_FILE}")
        seconds = None if data is None else decode_seconds(data)
        if seconds is None or seconds_sha256(seconds) != record.seconds_sha256:
            raise DamagedStore(f"{self.location}: video {record.key!r}: its seconds are damaged; run `longvid repair`")
        return damaged_ranges(damaged, seconds)

    def put_stored(self, key: str, shard_index: int, arrays: dict[str, np.ndarray]) -> int:
        """Put arrays from `StoredVideo.read_stored` unchanged, for copying int8 tokens; otherwise as `write_shard`.

        Raises InvalidTokens for arrays of another name, shape or dtype than the shard's, and for values not finite.
        """
        record = self._planned(key)
        self._shard_clips(record, shard_index)
        return self._put_shard(record, shard_index, arrays)

    def _put_shard(
        self, record: VideoRecord, shard_index: int, arrays: dict[str, np.ndarray], damaged: Ranges = ()
    ) -> int:
        """Check the arrays and put them; both ways to write end here."""
        self._refuse_read_only()
        first_clip, stop_clip = self._shard_clips(record, shard_index)
        shape = (stop_clip - first_clip, *on_disk.token_shape(self.recipe))
        try:
            check_stored(arrays, self.recipe.dtype, shape, absent_mask(damaged, first_clip, stop_clip))
        except InvalidTokens as error:
            raise InvalidTokens(f"{self.location}: video {record.key!r}, shard {shard_index}: {error}") from error
        if record.status == "complete":
            return 0
        shards = self._shards(record)
        files, digests = {}, {}
        for name in shards.arrays:
            data = encode_shard(arrays[name], self.layout, fill_value=on_disk.fill_value(arrays[name].dtype))
            files[shards.path(name, shard_index)], digests[name] = data, shards.digest(name, data)
        receipt, note = make_receipt(record.plan_id, shard_index, digests, damaged)
        self._put_receipt(record, receipt, note, flush=bool(damaged))
        self._put_together(files)
        self._look_back(record, receipt, note, digests)
        return sum(map(len, files.values()))

    def _put_receipt(self, record: VideoRecord, receipt: Receipt, note: bytes, *, flush: bool = True) -> None:
        # not flushed where a power cut costs nothing: digests are computed from the file, reasons of absence are not
        self.place.put(receipt_path(path_name(record.key), receipt), note, flush=flush)

    def _put_together(self, files: dict[str, bytes]) -> None:
        """Put a shard's files in order, so that all are of the same call once the last is present.

        Two workers may write one int8 shard at once (where a scheduler took the first for lost), with results that
        differ in the last bit. The one that puts its tokens last then finds the other's scale, and puts both again.
        """
        *companions, _ = files
        for _attempt in range(_PUT_ATTEMPTS):
            for path, data in files.items():
                self.place.put(path, data)
            if all(self.place.get(path) == files[path] for path in companions):
                return
        raise StoreAccessError(f"{self.location}: {companions[0]} keeps changing; stop the other run that writes it")

    def _look_back(self, record: VideoRecord, receipt: Receipt, note: bytes, digests: Digests) -> None:
        """Checks by a writer after its put, as the video may have been completed, deleted or planned anew meanwhile.

        The file may now be this writer's. Either its receipt is present while the video is not complete, so that a
        later completion will read the file; or the completion that happened is taken back if it recorded other bytes
        than the file has.
        """
        now = self.record(record.key)
        while now is not None and now.status == "planned" and not self._has_receipt(record, receipt):
            self._put_receipt(record, receipt, note)
            now = self.record(record.key)
        same_plan = now is not None and now.plan_id == record.plan_id
        if now is not None and now.status == "complete":
            shards = self._shards(now)
            if shards.found(receipt.shard_index) == digests != shards.recorded_of(receipt.shard_index):
                self._put_receipt(record, receipt, note)
                self.reopen(record.key)
                if same_plan:
                    self.complete(record.key)
            else:
                shards.remove_receipts([receipt])
        if not same_plan:
            raise SourceChanged(
                f"{self.location}: video {record.key!r} was deleted or planned anew while shard {receipt.shard_index} "
                "of it was being written; run the same command again"
            )

    def _has_receipt(self, record: VideoRecord, receipt: Receipt) -> bool:
        return self.place.get(receipt_path(path_name(record.key), receipt)) is not None

    def complete(self, key: str) -> None:
        """Mark the video as complete, so that it can be read, and record the digest of each shard.

        Raises IncompleteVideo, with their indices, while shards are missing or were written for another plan of the
        video.
        """
        self._refuse_read_only()
        record = self._planned(key)
        if record.status == "complete":
            return
        shards = self._shards(record)
        for _attempt in range(_PUT_ATTEMPTS):
            collected = self._collect(shards)
            if num_damaged(collected.damaged) == record.num_clips:
                raise AbsentClips(
                    f"{self.location}: video {key!r} cannot be completed: none of its clips is there "
                    f"({'; '.join(map(str, collected.damaged))}); get a sound file, delete the video, extract it again"
                )
            completed = shards.record_all(collected.rows, collected.damaged)
            shards.remove_receipts(collected.receipts)  # a complete video has none, even if its completion is cut short
            self._put_record(completed)
            if shards.are_still(collected):
                return
            self.reopen(key)  # a late writer replaced a file after its digest was recorded
        raise StoreAccessError(f"{self.location}: video {key!r} keeps changing; stop the other run that writes it")

    def _collect(self, shards: VideoShards) -> Collected:
        """The digests to record for a video, whose files are flushed. Raises IncompleteVideo if any is missing."""
        key = shards.record.key
        missing = shards.missing()
        collected = None if missing else shards.collect()
        if collected is not None:
            for shard_index in collected.stale:  # so that they are made again
                shards.remove(shard_index)
            missing = collected.stale
        if collected is None or missing or not self._has_documents(self._listing(key)):
            what = f"shards {_shown(missing)} are" if missing else "its array documents are"
            raise IncompleteVideo(
                f"{self.location}: video {key!r} cannot be completed: {what} missing; extract it again"
            )
        arrays = [f"{self._path(key)}/{array}" for array in self._arrays]
        beside = [receipts_path(path_name(key)), f"{self._path(key)}/{on_disk.DIGESTS}"]
        self._clear_partials(self._path(key), *arrays, *beside)
        documents = [f"{array}/{on_disk.DOCUMENT}" for array in arrays]
        self.place.flush([*documents, f"{self._path(key)}/seconds/{on_disk.SECONDS_FILE}"])
        return collected

    def reopen(self, key: str) -> None:
        """Undo `complete`, because part of the video is to be made again."""
        self._refuse_read_only()
        record = self._planned(key)
        drop_catalogue(self.place)
        self._put_record(record.reopened())
        drop_catalogue(self.place)  # again, in case another process made one in between

    def record_digests(self, key: str) -> None:
        """Record the digests of a complete video of version 0.1.0, which has none, from its present shards.

        For videos that `verify` found whole. Raises DamagedStore if a shard cannot be read.
        """
        self._refuse_read_only()
        record = self._planned(key)
        if record.status != "complete" or record.digests_sha256:
            return
        shards = self._shards(record)
        rows: Rows = {array: [] for array in shards.arrays}
        for shard_index in range(shards.num_shards):
            found = shards.found(shard_index)
            if found is None:
                raise DamagedStore(f"{self.location}: video {key!r}: shard {shard_index} is damaged: `longvid repair`")
            for array in rows:
                rows[array].append(found[array])
        self._put_record(shards.record_all(rows))

    def delete(self, *keys: str) -> None:
        """Remove the videos; a document goes before its files, so that a half-deleted video cannot be read.

        Raises VideoNotInStore, and removes none, if one of them is not there.
        """
        self._refuse_read_only()
        for key in keys:
            if self.place.get(f"{self._path(key)}/{on_disk.DOCUMENT}") is None:
                raise self.no_video(key)
        with without_rows(self.place, {path_name(key) for key in keys}):
            for key in keys:
                self.place.delete(f"{self._path(key)}/{on_disk.DOCUMENT}")
                self.place.delete_tree(self._path(key))

    def update_catalogue(self) -> None:
        """List all complete videos in one document, so that a large store opens fast. It is never relied on.

        To be called at the end of a run: also removes temporary files that killed processes left.
        """
        self._refuse_read_only()
        self._clear_partials("", on_disk.VIDEOS, on_disk.CATALOGUE)
        write_catalogue(self.place)

    # --- internal

    def _write_arrays(self, record: VideoRecord, seconds: np.ndarray) -> None:
        path = self._path(record.key)
        for array, document in on_disk.array_documents(self.recipe, self.layout, record.num_clips).items():
            self.place.put(f"{path}/{array}/{on_disk.DOCUMENT}", document_bytes(document), flush=False)
        self.place.put(f"{path}/seconds/{on_disk.SECONDS_FILE}", encode_seconds(seconds), flush=False)

    def _put_record(self, record: VideoRecord, *, flush: bool = True) -> None:
        self.place.put(f"{self._path(record.key)}/{on_disk.DOCUMENT}", record.to_bytes(), flush=flush)

    def _clear_partials(self, *folders: str) -> None:
        """Remove temporary files of killed writers, so that a finished store equals one that was never interrupted."""
        if self.place.folder is None:  # elsewhere an interrupted put leaves nothing behind
            return
        for folder in folders:
            for name, size in self.place.sizes(folder).items():
                if name.endswith(PARTIAL) and size is not None:  # not a folder
                    self.place.delete(f"{folder}/{name}".lstrip("/"))

    def _refuse_read_only(self) -> None:
        if not self.place.writable:
            raise StoreReadOnly(f"{self.location}: opened for reading; open it with mode='a' to write")


def _shown(indices: list[int], limit: int = 8) -> str:
    text = ", ".join(map(str, indices[:limit]))
    return text if len(indices) <= limit else f"{text} and {len(indices) - limit} more"
