"""The bytes of one shard file: chunks, each with its crc32c, then an index with its own.

    | chunk 0 | crc32c | chunk 1 | crc32c | ... | offset, nbytes of every chunk of the shard | crc32c |
                                                  two little-endian uint64 each; 2**64-1 twice = not there

The zarr v3 codec `sharding_indexed` with the index at the end. Every byte of the file is under one of the checksums.
"""

from dataclasses import dataclass

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

from longvid.stores.errors import DamagedStore
from longvid.stores.layout import ZSTD_LEVEL, Layout, item_bytes
from longvid.stores.recipe import Recipe

CRC_BYTES = 4
_NOT_THERE = np.uint64(2**64 - 1)


def encode_shard(clips: np.ndarray, layout: Layout, *, fill_value: int | float) -> bytes:
    """The file of one shard that holds `clips`, an array (n, ...) with 1 <= n <= clips_per_shard.

    The last chunk is filled up with `fill_value`. The same array gives the same bytes.
    """
    assert 1 <= len(clips) <= layout.clips_per_shard
    little = clips.astype(clips.dtype.newbyteorder("<"), copy=False)
    pieces, index, offset = [], np.full((layout.chunks_per_shard, 2), _NOT_THERE, "<u8"), 0
    for chunk_index, first in enumerate(range(0, len(clips), layout.clips_per_chunk)):
        data = _chunk_bytes(little[first : first + layout.clips_per_chunk], layout, fill_value)
        index[chunk_index] = offset, len(data) + CRC_BYTES
        offset += len(data) + CRC_BYTES
        pieces += [data, crc32c(data)]
    return b"".join([*pieces, index.tobytes(), crc32c(index.tobytes())])


def _chunk_bytes(clips: np.ndarray, layout: Layout, fill_value: int | float) -> bytes:
    missing = layout.clips_per_chunk - len(clips)
    if missing:
        clips = np.concatenate([clips, np.full((missing, *clips.shape[1:]), fill_value, clips.dtype)])
    data = clips.tobytes()
    return bytes(Zstd(level=ZSTD_LEVEL).encode(data)) if layout.compression == "zstd" else data


def crc32c(data: bytes) -> bytes:
    """The checksum that follows `data` in a file, 4 bytes."""
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


def encode_seconds(seconds: np.ndarray) -> bytes:
    """The one file of the array `seconds` (clips, 2)."""
    data = np.ascontiguousarray(seconds, "<f8").tobytes()
    return data + crc32c(data)


def decode_seconds(data: bytes) -> np.ndarray | None:
    """Seconds (clips, 2), read-only, or None if the file is damaged."""
    whole = np.frombuffer(data, np.uint8)
    if len(whole) % 16 != CRC_BYTES or not _matches(whole):
        return None
    return whole[:-CRC_BYTES].view("<f8").reshape(-1, 2)


def _matches(data: np.ndarray) -> bool:
    """Whether the last four bytes are the checksum of those before."""
    stored = int.from_bytes(data[-CRC_BYTES:].tobytes(), "little")
    return bool(google_crc32c.value(data[:-CRC_BYTES]) == stored)


def index_bytes(layout: Layout) -> int:
    """Length of the index and its checksum at the end of a shard file."""
    return 16 * layout.chunks_per_shard + CRC_BYTES


@dataclass(frozen=True)
class ShardShape:
    """What an uncompressed shard file of `num_clips` clips must look like."""

    layout: Layout
    num_clips: int
    clip_bytes: int

    @property
    def num_chunks(self) -> int:
        """How many chunks are there."""
        return -(-self.num_clips // self.layout.clips_per_chunk)

    @property
    def chunk_bytes(self) -> int:
        """One chunk without its checksum."""
        return self.layout.clips_per_chunk * self.clip_bytes

    @property
    def file_bytes(self) -> int:
        """The whole file."""
        return self.num_chunks * (self.chunk_bytes + CRC_BYTES) + index_bytes(self.layout)

    def index(self) -> bytes:
        """The index with its checksum: there is only one that an uncompressed shard can have."""
        index = np.full((self.layout.chunks_per_shard, 2), _NOT_THERE, "<u8")
        step = self.chunk_bytes + CRC_BYTES
        index[: self.num_chunks, 0] = np.arange(self.num_chunks, dtype="<u8") * np.uint64(step)
        index[: self.num_chunks, 1] = step
        return index.tobytes() + crc32c(index.tobytes())


def shard_shape(recipe: Recipe, layout: Layout, array: str, num_clips: int) -> ShardShape:
    """What an uncompressed shard file of `num_clips` clips of the array looks like."""
    if array == "scale":
        return ShardShape(layout, num_clips, recipe.num_tokens * 4)
    return ShardShape(layout, num_clips, recipe.num_tokens * recipe.dim * item_bytes(recipe.dtype))


def check_shard(data: bytes, layout: Layout, num_clips: int) -> None:
    """Raise DamagedStore with the reason unless `data` is a whole shard file of `num_clips` clips.

    Every byte is looked at: the index and each chunk against their checksums, and nothing lies between or behind them.
    """
    tail = index_bytes(layout)
    if len(data) < tail:
        raise DamagedStore(f"truncated: {len(data)} bytes do not even hold the index of {tail}")
    whole = np.frombuffer(data, np.uint8)
    if not _matches(whole[-tail:]):
        raise DamagedStore("the index does not match its checksum (a changed byte, or a truncated file)")
    index = whole[-tail:-CRC_BYTES].view("<u8").reshape(-1, 2)
    num_chunks = -(-num_clips // layout.clips_per_chunk)
    there = index[:, 0] != _NOT_THERE
    if not there[:num_chunks].all() or there[num_chunks:].any():
        raise DamagedStore(f"holds {int(there.sum())} chunks where its clips need {num_chunks}")
    offset = 0
    for chunk_index, (begin, nbytes) in enumerate(index[:num_chunks].tolist()):
        if begin != offset or nbytes <= CRC_BYTES or begin + nbytes > len(data) - tail:
            raise DamagedStore(f"chunk {chunk_index} does not lie where the index says")
        offset = begin + nbytes
        if not _matches(whole[begin:offset]):
            raise DamagedStore(f"chunk {chunk_index} does not match its checksum")
    if offset != len(data) - tail:
        raise DamagedStore(f"{len(data) - tail - offset} bytes too many")
