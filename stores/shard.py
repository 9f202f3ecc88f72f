"""The bytes of one shard file: chunks, each with its crc32c, then an index with its own.

    | chunk 0 | crc32c | chunk 1 | crc32c | ... | offset, nbytes of every chunk of the shard | crc32c |
                                                  two little-endian uint64 each; 2**64-1 twice = not there

The zarr v3 codec `sharding_indexed` with the index at the end. Every byte of the file is under one of the checksums.
"""

import math
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


def _filled(clips: np.ndarray, layout: Layout, fill_value: int | float) -> np.ndarray:
    """The clips of one chunk, filled up to a whole one."""
    missing = layout.clips_per_chunk - len(clips)
    if not missing:
        return clips
    return np.concatenate([clips, np.full((missing, *clips.shape[1:]), fill_value, clips.dtype)])


def _chunk_bytes(clips: np.ndarray, layout: Layout, fill_value: int | float) -> bytes:
    data = _filled(clips, layout, fill_value).tobytes()
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
    return ShardShape(layout, num_clips, clip_bytes_of(recipe, array))


def clip_bytes_of(recipe: Recipe, array: str) -> int:
    """Bytes of one clip in the array."""
    if array == "scale":
        return recipe.num_tokens * 4
    return recipe.num_tokens * recipe.dim * item_bytes(recipe.dtype)


def check_shard(data: bytes, layout: Layout, num_clips: int) -> None:
    """Raise DamagedStore with the reason unless `data` is a whole shard file of `num_clips` clips.

    Every byte is looked at: the index and each chunk against their checksums, and nothing lies between or behind them.
    """
    for chunk_index, piece in enumerate(_pieces(data, layout, num_clips)):
        if not _matches(piece):
            raise DamagedStore(f"chunk {chunk_index} does not match its checksum")


def chunk_checksums(data: bytes, layout: Layout, clip_bytes: int) -> bytes:
    """The crc32c of each chunk's numbers in a shard file, 4 bytes each, as they are before compression.

    Without compression these are the checksums in the file, which are taken at their word. Raises DamagedStore.
    """
    pieces = _pieces(data, layout, None)
    if layout.compression is None:
        return b"".join(piece[-CRC_BYTES:].tobytes() for piece in pieces)
    chunk_bytes = layout.clips_per_chunk * clip_bytes
    return b"".join(crc32c(_unpacked(piece[:-CRC_BYTES], layout, chunk_bytes)) for piece in pieces)


def checksums_of(clips: np.ndarray, layout: Layout, *, fill_value: int | float) -> list[int]:
    """The crc32c of each chunk of the clips (n, ...), whose first one starts a chunk, as `chunk_checksums` gives it."""
    little = clips.astype(clips.dtype.newbyteorder("<"), copy=False)
    size = layout.clips_per_chunk
    chunks = (_filled(little[first : first + size], layout, fill_value) for first in range(0, len(clips), size))
    return [int(google_crc32c.value(np.ascontiguousarray(chunk).view(np.uint8).reshape(-1))) for chunk in chunks]


def decode_shard(
    data: bytes, layout: Layout, dtype: np.dtype, clip_shape: tuple[int, ...], num_clips: int
) -> np.ndarray:
    """The clips (num_clips, ...) of a shard file that `check_shard` found whole.

    Raises DamagedStore where a chunk does not hold as many numbers as its clips have.
    """
    chunk_bytes = layout.clips_per_chunk * math.prod(clip_shape) * dtype.itemsize
    chunks = [_unpacked(piece[:-CRC_BYTES], layout, chunk_bytes) for piece in _pieces(data, layout, num_clips)]
    return np.frombuffer(b"".join(chunks), dtype.newbyteorder("<")).reshape(-1, *clip_shape)[:num_clips]


def _unpacked(piece: np.ndarray, layout: Layout, expected_bytes: int) -> bytes:
    """The bytes of a chunk before compression. Raises DamagedStore unless there are as many as expected."""
    data = piece.tobytes()
    if layout.compression == "zstd":
        try:  # into a buffer of the right size: what the chunk claims to hold is not believed
            data = bytes(Zstd().decode(data, bytearray(expected_bytes)))
        except (RuntimeError, ValueError) as error:
            raise DamagedStore(f"a chunk cannot be decompressed to {expected_bytes} bytes ({error})") from error
    if len(data) != expected_bytes:
        raise DamagedStore(f"a chunk of {len(data)} bytes, where its clips have {expected_bytes}")
    return data


def _pieces(data: bytes, layout: Layout, num_clips: int | None) -> list[np.ndarray]:
    """Each chunk of a shard file with its checksum, uint8; of as many as `num_clips` clips need, or as there are.

    Raises DamagedStore unless they lie one behind the other up to the index.
    """
    tail = index_bytes(layout)
    if len(data) < tail:
        raise DamagedStore(f"truncated: {len(data)} bytes do not even hold the index of {tail}")
    whole = np.frombuffer(data, np.uint8)
    if not _matches(whole[-tail:]):
        raise DamagedStore("the index does not match its checksum (a changed byte, or a truncated file)")
    index = whole[-tail:-CRC_BYTES].view("<u8").reshape(-1, 2)
    there = index[:, 0] != _NOT_THERE
    num_chunks = int(there.sum()) if num_clips is None else -(-num_clips // layout.clips_per_chunk)
    if not there[:num_chunks].all() or there[num_chunks:].any():
        raise DamagedStore(f"holds {int(there.sum())} chunks where its clips need {num_chunks}")
    offset, pieces = 0, []
    for chunk_index, (start, nbytes) in enumerate(index[:num_chunks].tolist()):
        if start != offset or nbytes <= CRC_BYTES or start + nbytes > len(data) - tail:
            raise DamagedStore(f"chunk {chunk_index} does not lie where the index says")
        offset = start + nbytes
        pieces.append(whole[start:offset])
    if offset != len(data) - tail:
        raise DamagedStore(f"{len(data) - tail - offset} bytes too many")
    return pieces
