"""Digests that bind each shard to its video, array and index.

`complete` records them in one document per video:

    videos/<name>/digests/zarr.json    group; attributes: key, plan, and a row per shard of `tokens` (and `scale`)

A checksum inside a shard shows that its bytes are whole, not that they are where they belong: two exchanged shards, a
copy over another shard, or one of an older extraction are valid by themselves. So a row holds, in the order of the
shards, the sha256 of the file (`sha256sum` gives the same) and the crc32c of the numbers of each of its chunks before
compression. The document's own sha256 is in the video's record.

There are two digests because their costs differ (one core with SHA instructions, under load, 26 MB shards: sha256 0.55
GB/s, crc32c 3.4 GB/s, blake2b 0.18). `verify` compares the sha256 of the whole file. A reader compares the crc32c of
the chunks that it reads, which it has to compute in any case: checking costs no byte more than the window needs.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from longvid.stores.bounded_json import parse_json_object
from longvid.stores.canonical import document_bytes
from longvid.stores.errors import DamagedStore
from longvid.stores.layout import DIGESTS, DOCUMENT, Layout, group_document, shard_arrays, video_path
from longvid.stores.recipe import Recipe
from longvid.stores.records import VideoRecord
from longvid.stores.shard import CRC_BYTES, chunk_checksums

_HEX_SHA256 = 64
Rows = dict[str, list["ShardDigest"]]
"""Digests of the shards of each array, in order, by the array's name."""


class MissingDigests(DamagedStore):
    """The digests that `complete` recorded for a video are gone."""


@dataclass(frozen=True)
class ShardDigest:
    """Identifies the bytes of one shard file."""

    sha256: str
    """sha256 of the whole file, hexadecimal."""
    chunks: bytes
    """The crc32c of each chunk's numbers before compression, padded to a whole chunk; 4 little-endian bytes each."""

    def __str__(self) -> str:
        return f"{self.sha256} {self.chunks.hex()}"

    @classmethod
    def from_text(cls, text: str) -> "ShardDigest":
        """The inverse of `str`. Raises ValueError for anything else."""
        sha256, _, chunks = text.partition(" ")
        digest = cls(sha256, bytes.fromhex(chunks))
        if len(bytes.fromhex(sha256)) * 2 != _HEX_SHA256 or not chunks or str(digest) != text:
            raise ValueError("not a digest of a shard")
        return digest


def digest_shard(data: bytes, layout: Layout, clip_bytes: int) -> ShardDigest:
    """The digest of a shard file whose clips have `clip_bytes` bytes. Raises DamagedStore for an unreadable chunk."""
    return ShardDigest(hashlib.sha256(data).hexdigest(), chunk_checksums(data, layout, clip_bytes))


def digests_path(name: str) -> str:
    """Path in the store of the digests of the video with this path name."""
    return f"{video_path(name)}/{DIGESTS}/{DOCUMENT}"


def digests_document(record: VideoRecord, rows: Rows) -> bytes:
    """The document with the digests of a video's shards."""
    attributes: dict[str, Any] = {"key": record.key, "plan": record.plan_id}
    return document_bytes(group_document(attributes | {array: list(map(str, rows[array])) for array in rows}))


def document_sha256(document: bytes) -> str:
    """The sha256 of a digests document, which the video's record holds."""
    return hashlib.sha256(document).hexdigest()


def parse_digests(document: bytes, record: VideoRecord, recipe: Recipe, layout: Layout) -> Rows:
    """The rows of a document that `digests_document` wrote for this plan. Raises DamagedStore for anything else."""
    num_shards = layout.num_shards(record.num_clips)
    arrays = shard_arrays(recipe)
    # known in advance, so that a longer document is not even parsed
    most_bytes = 1000 + 2 * len(record.key) * 6 + len(arrays) * num_shards * digest_text_bytes(layout)
    try:
        if len(document) > most_bytes:
            raise ValueError(f"{len(document)} bytes, where there can be {most_bytes}")
        attributes = parse_json_object(document)["attributes"]
        if (attributes["key"], attributes["plan"]) != (record.key, record.plan_id):
            raise ValueError(f"are of video {attributes['key']!r}, or of another plan of it")
        rows = {array: [ShardDigest.from_text(text) for text in attributes[array]] for array in arrays}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedStore(f"its digests cannot be used ({error})") from error
    for array, digests in rows.items():
        if [len(one.chunks) for one in digests] != chunk_bytes_of(record.num_clips, layout):
            raise DamagedStore(f"its digests of `{array}` are not of as many shards and chunks as it has")
    return rows


def chunk_bytes_of(num_clips: int, layout: Layout) -> list[int]:
    """Length of `ShardDigest.chunks` for each shard of a video of `num_clips` clips."""
    spans = [layout.shard_clips(num_clips, index) for index in range(layout.num_shards(num_clips))]
    return [CRC_BYTES * -(-(stop - first) // layout.clips_per_chunk) for first, stop in spans]


def digest_text_bytes(layout: Layout) -> int:
    """Length of the longest row of a document, with quotes, indentation and line end."""
    return _HEX_SHA256 + 1 + 2 * CRC_BYTES * layout.chunks_per_shard + 20


def misplaced(chunk: int) -> str:
    """The message for a chunk that is whole, but is not the one that was recorded for its place."""
    return f"chunk {chunk} is not the one that was written there: exchanged, copied or stale"


def recorded_checksum(chunks: bytes, chunk: int) -> int:
    """The crc32c of one chunk, from `ShardDigest.chunks`."""
    return int.from_bytes(chunks[chunk * CRC_BYTES : (chunk + 1) * CRC_BYTES], "little")
