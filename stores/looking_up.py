"""What a store says of its videos, without changing any of them."""

import difflib
import shlex
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from longvid.notebook import Cell, clock, html_list, html_table
from longvid.stores import layout as on_disk
from longvid.stores.catalogue import catalogue_rows
from longvid.stores.digests import Rows
from longvid.stores.errors import (
    DamagedStore,
    IncompleteVideo,
    InvalidWindow,
    VideoNotInStore,
)
from longvid.stores.info import Estimate, StoreInfo, estimate, store_info
from longvid.stores.keys import path_name
from longvid.stores.layout import Layout
from longvid.stores.place import Place
from longvid.stores.recipe import Recipe
from longvid.stores.records import VideoRecord, make_record
from longvid.stores.shards import VideoShards
from longvid.stores.video import Check, StoredVideo

_SHOWN_VIDEOS = 10
"""Videos that a notebook lists."""
_MOST_COMPARED = 20_000
"""Keys among which one like another is looked for."""


class StoreReader:
    """The part of a `FeatureStore` that looks videos up."""

    def __init__(
        self,
        place: Place,
        recipe: Recipe,
        layout: Layout,
        made_with: dict[str, str] | None = None,
        *,
        check: Check = "once",
    ) -> None:
        self.place = place
        self.recipe = recipe
        self.layout = layout
        self.check: Check = check
        self.made_with = made_with or {}
        """Where the encoder of the features was (`encoder`, `weights`), as stated by the maker of the store. It is not
        trusted: it is only shown, or followed with a check against the recipe's digest of the weights."""

    @property
    def location(self) -> str:
        """The folder or URL, as it was given."""
        return self.place.location

    @property
    def clips_per_shard(self) -> int:
        """Clips in one shard: the unit of work, writing and resuming."""
        return self.layout.clips_per_shard

    def __repr__(self) -> str:
        recipe = self.recipe
        return f"FeatureStore({self.location!r}, {recipe.encoder}, {recipe.num_tokens}x{recipe.dim} {recipe.dtype})"

    def status(self, key: str) -> Literal["absent", "planned", "complete"]:
        """Status of the video, by its own document in the store."""
        record = self.record(key)
        return "absent" if record is None else record.status

    def __contains__(self, key: str) -> bool:
        return self.status(key) == "complete"

    def keys(self, *, complete: bool = True) -> list[str]:
        """Sorted keys of the complete videos; with `complete=False` also of the planned ones."""
        return sorted(row.key for row in catalogue_rows(self.place) if row.complete or not complete)

    def __len__(self) -> int:
        return len(self.keys())

    def __bool__(self) -> bool:
        return True  # a store is there, also an empty one

    def __getitem__(self, key: Any) -> StoredVideo:
        """The complete video `key`, as `video(key)`."""
        if not isinstance(key, str):
            raise TypeError(
                f"{self.location}: a store's videos are found by their key, a text, not by {type(key).__name__}; "
                "store.keys() lists them"
            )
        return self.video(key)

    def __iter__(self) -> Iterator[StoredVideo]:
        """Every complete video, in the order of the keys."""
        return self.videos()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Refused: the videos of a store have different lengths."""
        raise TypeError(f"{self.location}: a store holds many videos, not one array; use np.asarray(store[key])")

    def _repr_html_(self) -> str:
        rows = sorted((row for row in catalogue_rows(self.place) if row.complete), key=lambda row: row.key)
        recipe = self.recipe
        facts: list[tuple[str, Cell]] = [
            ("encoder", recipe.encoder),
            ("tokens per clip", f"{recipe.num_tokens} of {recipe.dim}, {recipe.dtype}, pooling {recipe.pooling}"),
            ("complete videos", len(rows)),
            ("clips", sum(row.num_clips for row in rows)),
            ("time", clock(sum(row.end_seconds - row.start_seconds for row in rows))),
        ]
        shown = [(row.key, row.num_clips, clock(row.end_seconds - row.start_seconds)) for row in rows[:_SHOWN_VIDEOS]]
        left = len(rows) - len(shown)
        more = f"and {left:,} more" if left else ""
        return html_table(self.location, facts) + html_list(("key", "clips", "time"), shown, more=more)

    def num_clips(self) -> dict[str, int]:
        """Number of clips of each complete video, by key in sorted order; from the catalogue, so no video is opened."""
        return {key: num_clips for key, (num_clips, _) in self.clip_counts().items()}

    def num_damaged_clips(self) -> dict[str, int]:
        """How many clips are not there, by key, of each complete video that lacks some; from the catalogue."""
        return {key: damaged for key, (_, damaged) in self.clip_counts().items() if damaged}

    def clip_counts(self) -> dict[str, tuple[int, int]]:
        """For each complete video, by key, its number of clips and how many of them are absent."""
        rows = [row for row in catalogue_rows(self.place) if row.complete]
        return {row.key: (row.num_clips, row.num_damaged) for row in sorted(rows, key=lambda row: row.key)}

    def video(self, key: str) -> StoredVideo:
        """The complete video `key`. Raises VideoNotInStore, or IncompleteVideo while shards are missing."""
        record = self._planned(key)
        if record.status != "complete":
            raise IncompleteVideo(
                f"{self.location}: video {key!r} is not complete ({len(self.missing(key))} shards missing); "
                "run the same `longvid extract` again to finish it"
            )
        return StoredVideo(self.place, self.recipe, self.layout, record, check=self.check)

    def videos(self) -> Iterator[StoredVideo]:
        """Every complete video, in the order of the keys."""
        for key in self.keys():
            yield self.video(key)

    def record(self, key: str) -> VideoRecord | None:
        """The video's document, or None if it was never planned. Raises DamagedStore if it is not the video's own."""
        document = self.place.get(f"{self._path(key)}/{on_disk.DOCUMENT}")
        if document is None:
            return None
        try:
            record = VideoRecord.from_bytes(document)
        except DamagedStore as error:
            raise DamagedStore(f"{self.location}: video {key!r}: {error}; run `longvid repair`") from error
        if record.key != key or record.recipe_digest != self.recipe.digest:
            raise DamagedStore(
                f"{self.location}: {self._path(key)} does not belong to video {key!r} of this store (its document is "
                f"of {record.key!r}, recipe {record.recipe_digest[:8]}); run `longvid repair`"
            )
        return record

    def no_video(self, key: str) -> VideoNotInStore:
        """The error that says that it is not held, with keys like it and how to list all."""
        known = self.keys(complete=False)
        near = difflib.get_close_matches(key, known, 3, 0.5) if len(known) <= _MOST_COMPARED else []
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        listing = f"`longvid info {shlex.quote(self.location)} --videos` lists those it holds"
        return VideoNotInStore(f"{self.location}: holds no video {key!r}; {hint}{listing}")

    def info(self) -> StoreInfo:
        """Number of videos, clips, hours and bytes."""
        return store_info(self.place, self.recipe, self.layout)

    def digests(self, key: str) -> Rows | None:
        """The digests that `complete` recorded, by array; None for a video without, as of version 0.1.0.

        Raises DamagedStore if the document is not the one that the video's record speaks of.
        """
        try:
            return self._shards(self._planned(key)).recorded()
        except DamagedStore as error:
            raise DamagedStore(f"{self.location}: video {key!r}: {error}; run `longvid repair`") from error

    def estimate(
        self,
        num_clips: int,
        *,
        key: str = "video",
        seconds: ArrayLike | None = None,
        source: dict[str, Any] | None = None,
    ) -> Estimate:
        """Files and bytes of a video of `num_clips` clips once it is complete.

        Exact without compression where `key`, `seconds` and `source` are those of the later plan; otherwise except for
        the length of the video's own document, less than a kilobyte.
        """
        times = np.arange(num_clips)[:, None] + np.array([0.0, 1.0]) if seconds is None else np.asarray(seconds)
        record = make_record(key, times.astype(np.float64), source or {}, self.recipe.digest)
        return estimate(self.recipe, self.layout, record)

    def whole_record(self, key: str) -> VideoRecord | None:
        """The document of a complete video whose files all lie there, by listing them; None for any other."""
        record = self.record(key)
        if record is None or record.status != "complete" or not self._has_documents(self._listing(key)):
            return None
        return None if self._shards(record).missing() else record

    def missing(self, key: str) -> list[int]:
        """Indices of the shards that are missing, found by a listing.

        A file of the wrong size counts as missing (where sizes can be listed and are known: local, uncompressed), and
        so does one that was written for another plan of the video.
        """
        return self._shards(self._planned(key)).missing()

    def shard_clips(self, key: str, shard_index: int) -> tuple[int, int]:
        """The shard's first clip and the one after its last."""
        return self._shard_clips(self._planned(key), shard_index)

    # --- internal

    def _path(self, key: str) -> str:
        return on_disk.video_path(path_name(key))

    def _planned(self, key: str) -> VideoRecord:
        record = self.record(key)
        if record is None:
            raise self.no_video(key)
        return record

    def _shard_clips(self, record: VideoRecord, shard_index: int) -> tuple[int, int]:
        num_shards = self.layout.num_shards(record.num_clips)
        if not 0 <= shard_index < num_shards:
            raise InvalidWindow(
                f"{self.location}: video {record.key!r} has shards 0 to {num_shards - 1}, not {shard_index}"
            )
        return self.layout.shard_clips(record.num_clips, shard_index)

    def _shards(self, record: VideoRecord) -> VideoShards:
        return VideoShards(self.place, self.recipe, self.layout, record)

    @property
    def _arrays(self) -> tuple[str, ...]:
        return *on_disk.shard_arrays(self.recipe), "seconds"

    def _listing(self, key: str) -> dict[str, dict[str, int | None]]:
        """Names and sizes of the files of each of the video's arrays."""
        return {array: self.place.sizes(f"{self._path(key)}/{array}") for array in self._arrays}

    def _has_documents(self, names: dict[str, dict[str, int | None]]) -> bool:
        return (
            all(on_disk.DOCUMENT in names[array] for array in self._arrays) and on_disk.SECONDS_FILE in names["seconds"]
        )
