"""Counts and sizes of a store."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longvid.notebook import Cell, clock, html_table
from longvid.stores.canonical import document_bytes
from longvid.stores.catalogue import catalogue_rows
from longvid.stores.digests import ShardDigest, chunk_bytes_of, digests_document, document_sha256
from longvid.stores.layout import Layout, array_documents, shard_arrays
from longvid.stores.place import Place
from longvid.stores.recipe import Recipe
from longvid.stores.records import VideoRecord
from longvid.stores.shard import CRC_BYTES, clip_bytes_of, shard_shape


@dataclass(frozen=True)
class StoreInfo:
    """A store's recipe, layout and size."""

    location: str
    recipe: Recipe
    layout: Layout
    complete_videos: int
    planned_videos: int
    """Videos that are planned, but not complete."""
    num_clips: int
    """Clips of the complete videos, those that are not there included."""
    damaged_videos: int
    """Complete videos that lack clips, because their files are damaged."""
    damaged_clips: int
    """The clips that they lack."""
    seconds: float
    """From the first clip's start to the last one's end, summed over the complete videos."""
    token_bytes: int
    """Bytes of the complete videos' tokens (and scales), without checksums and padding, before compression."""
    file_bytes: int | None
    """Bytes of all files in the store's folder; None where that would need a request per file."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"recipe": self.recipe.to_dict(), "digest": self.recipe.digest}

    def _repr_html_(self) -> str:
        facts: list[tuple[str, Cell]] = [
            ("encoder", self.recipe.encoder),
            ("complete videos", self.complete_videos),
            ("planned videos", self.planned_videos),
            ("clips", self.num_clips),
            ("clips that are not there", self.damaged_clips),
            ("time", clock(self.seconds)),
            ("bytes of tokens", self.token_bytes),
            ("bytes on disk", "-" if self.file_bytes is None else self.file_bytes),
        ]
        return html_table(self.location, facts)


def store_info(place: Place, recipe: Recipe, layout: Layout) -> StoreInfo:
    """Counts and sizes of the store at `place`."""
    rows = catalogue_rows(place)
    complete = [row for row in rows if row.complete]
    num_clips = sum(row.num_clips for row in complete)
    return StoreInfo(
        location=place.location,
        recipe=recipe,
        layout=layout,
        complete_videos=len(complete),
        planned_videos=len(rows) - len(complete),
        num_clips=num_clips,
        damaged_videos=sum(row.num_damaged > 0 for row in complete),
        damaged_clips=sum(row.num_damaged for row in complete),
        seconds=sum(row.end_seconds - row.start_seconds for row in complete),
        token_bytes=num_clips * clip_bytes(recipe),
        file_bytes=None if place.folder is None else _folder_bytes(place.folder),
    )


def clip_bytes(recipe: Recipe) -> int:
    """Bytes of one clip: its tokens, and for int8 their scales."""
    return sum(clip_bytes_of(recipe, array) for array in shard_arrays(recipe))


def disk_bytes(recipe: Recipe, layout: Layout, record: VideoRecord) -> int:
    """Bytes of the video's files once it is complete: its shards, padded to whole chunks, and its documents.

    Exact without compression, an upper limit with it.
    """
    num_clips = record.num_clips
    spans = [layout.shard_clips(num_clips, index) for index in range(layout.num_shards(num_clips))]
    shards = [
        shard_shape(recipe, layout, array, stop_clip - first_clip).file_bytes
        for array in shard_arrays(recipe)
        for first_clip, stop_clip in spans
    ]
    documents = [document_bytes(one) for one in array_documents(recipe, layout, num_clips).values()]
    some = [ShardDigest("0" * 64, bytes(length)) for length in chunk_bytes_of(num_clips, layout)]
    digests = digests_document(record, dict.fromkeys(shard_arrays(recipe), some))
    documents += [digests, record.completed(document_sha256(digests)).to_bytes()]
    return sum(shards) + sum(map(len, documents)) + num_clips * 16 + CRC_BYTES


@dataclass(frozen=True)
class Estimate:
    """Size that a video will have in a store."""

    files: int
    token_bytes: int
    """Bytes of its tokens (and scales), without checksums and padding, before compression."""
    disk_bytes: int
    """Bytes of all its files once it is complete; an upper limit with compression."""


def estimate(recipe: Recipe, layout: Layout, record: VideoRecord) -> Estimate:
    """Size that the planned video will have."""
    arrays = len(shard_arrays(recipe))
    # the shards of each array and its document; the video's document, its digests, the seconds and their document
    files = arrays * layout.num_shards(record.num_clips) + arrays + 4
    return Estimate(files, record.num_clips * clip_bytes(recipe), disk_bytes(recipe, layout, record))


def _folder_bytes(folder: Path) -> int:
    return sum(os.lstat(os.path.join(where, file)).st_size for where, _, files in os.walk(folder) for file in files)
