"""Fast reading for training: windows copied from mapped shard files.

An uncompressed local shard is the raw array, four bytes of checksum after each chunk, and an index. So a window is a
strided copy, without a zarr library in between (0.01 ms instead of 1 ms for a window of pooled tokens). It is used only
where everything is exactly as this version writes it: the array's document, the size of the file and its index;
otherwise `MappedArray.read` returns None and the ordinary reader is used.

A chunk is checked when a mapping first reads it: against its checksum in the file, so that a changed byte is found as
by the ordinary reader, and against the one that was recorded for its place, so that a misplaced chunk is found.

The system kills a process (SIGBUS) that reads a part of a mapping which is no longer in the file. So a file's length is
checked before each copy (0.3 us): a shard that was truncated is left to the ordinary reader, which names it. One that
is truncated during a copy of some microseconds still kills the process; nothing in longvid truncates a file.
"""

import errno
import math
import mmap
import os
import stat
import weakref
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from longvid.stores.digests import misplaced, recorded_checksum
from longvid.stores.errors import DamagedStore
from longvid.stores.layout import Layout, shard_file
from longvid.stores.place import NO_LINK
from longvid.stores.shard import CRC_BYTES, ShardShape

_MOST_KEPT_MAPPINGS = 4096


def _kept_mappings() -> int:
    """Number of shards that a process keeps mapped: a quarter of its file descriptors, as each shard holds one."""
    if resource is None:
        return 256
    may_have = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if may_have == resource.RLIM_INFINITY:
        return _MOST_KEPT_MAPPINGS
    return min(_MOST_KEPT_MAPPINGS, may_have // 4)


class MappedArray:
    """A sharded array of one video, read from its files; may be pickled and forked.

    A mapped file is still read after another has taken its name: it is a snapshot, as the video's record is.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        dtype: np.dtype,
        clip_shape: tuple[int, ...],
        layout: Layout,
        num_clips: int,
        *,
        expected: Sequence[bytes] | None = None,
        always: bool = False,
    ) -> None:
        """`expected`: for each shard, the recorded checksums of its chunks (`ShardDigest.chunks`).

        `always`: check the chunks of a window each time it is read, not only the first time.
        """
        self._folder = str(folder / name)
        self._name = name
        self._dtype = dtype
        self._clip_shape = clip_shape
        self._layout = layout
        self._num_clips = num_clips
        self._expected = expected
        self._always = always
        # weak: the cache below decides for the whole process which mappings stay open
        self._mapped: dict[int, weakref.ref[_MappedShard]] = {}

    def read(self, start_clip: int, stop_clip: int) -> np.ndarray | None:
        """A copy of the clips (stop_clip - start_clip, ...), or None if a shard is missing or not as expected.

        Raises DamagedStore if a chunk does not match its checksum.
        """
        window = np.empty((stop_clip - start_clip, *self._clip_shape), self._dtype)
        clips_per_shard = self._layout.clips_per_shard
        clip = start_clip
        while clip < stop_clip:
            shard_index, offset = divmod(clip, clips_per_shard)
            known = self._mapped.get(shard_index)
            shard = (known and known()) or self._map(shard_index)
            if shard is None or not shard.is_whole():
                return None
            upto = min(clip - offset + clips_per_shard, stop_clip)
            try:
                shard.copy(offset, window[clip - start_clip : upto - start_clip], again=self._always)
            except DamagedStore as error:
                raise DamagedStore(f"shard {shard_index} of `{self._name}`: {error}") from error
            clip = upto
        return window

    def chunks(self, shard_index: int) -> list[np.ndarray] | None:
        """The chunks (clips, ...) of one shard, in order, as read-only views; None as for `read`.

        For one pass over a whole store: the mapping ends with the last view, and no checksum is computed.
        """
        shard = self._map(shard_index, once=True)
        if shard is None or not shard.is_whole():
            return None
        first_clip, stop_clip = self._layout.shard_clips(self._num_clips, shard_index)
        return shard.views(stop_clip - first_clip)

    def _map(self, shard_index: int, *, once: bool = False) -> "_MappedShard | None":
        first_clip, stop_clip = self._layout.shard_clips(self._num_clips, shard_index)
        clip_bytes = math.prod(self._clip_shape) * self._dtype.itemsize
        shape = ShardShape(self._layout, stop_clip - first_clip, clip_bytes)
        path = f"{self._folder}/{shard_file(self._name, shard_index)}"
        try:
            status = os.lstat(path)  # a link is not followed
            if not stat.S_ISREG(status.st_mode) or status.st_size != shape.file_bytes:
                return None
            # a replaced file is another file, which must not use the old one's mapping
            identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
            expected = None if self._expected is None else self._expected[shard_index]
            if once:
                shard = _open_shard(path, shape, self._dtype, self._clip_shape, expected, ahead=True)
            else:
                shard = _map_shard(path, identity, shape, self._dtype, self._clip_shape, expected)
        except (OSError, ValueError) as error:  # gone, not permitted, emptied: the ordinary reader reports which
            if isinstance(error, OSError) and error.errno == errno.EMFILE:
                _map_shard.cache_clear()
            return None
        if shard is not None and not once:
            self._mapped[shard_index] = weakref.ref(shard)
        return shard

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {}}


class _MappedShard:
    """One mapped shard file, as chunks of clips."""

    def __init__(
        self,
        file: mmap.mmap,
        shape: ShardShape,
        dtype: np.dtype,
        clip_shape: tuple[int, ...],
        expected: bytes | None,
    ) -> None:
        self._file = file
        self._file_bytes = shape.file_bytes
        self._expected = expected
        data = self._data = np.frombuffer(file, np.uint8)
        self._chunk_bytes = shape.chunk_bytes
        self._clips_per_chunk = shape.layout.clips_per_chunk
        self._checked = bytearray(shape.num_chunks)
        self._num_unchecked = shape.num_chunks
        chunk_shape = (self._clips_per_chunk, *clip_shape)
        strides = np.empty(chunk_shape, dtype).strides
        self._chunks: np.ndarray = np.ndarray(
            (shape.num_chunks, *chunk_shape), dtype, data.data, strides=(shape.chunk_bytes + CRC_BYTES, *strides)
        )

    def is_whole(self) -> bool:
        """Whether the file still has all its bytes: reading missing ones would kill the process."""
        return self._file.size() == self._file_bytes

    def views(self, num_clips: int) -> list[np.ndarray]:
        """The chunks of the shard's clips without a copy, the last as short as its clips; nothing is checked."""
        size = self._clips_per_chunk
        return [chunk[: num_clips - at * size] for at, chunk in enumerate(self._chunks)]

    def copy(self, start_clip: int, window: np.ndarray, *, again: bool = False) -> None:
        """Fill `window` (n, ...) with the shard's clips from `start_clip` on.

        `again`: also check chunks that were checked before. Raises DamagedStore.
        """
        size = self._clips_per_chunk
        num_clips = len(window)
        filled = 0
        while filled < num_clips:
            chunk, offset = divmod(start_clip + filled, size)
            left = num_clips - filled
            if offset == 0 and left > size:
                whole = left // size
                upto = filled + whole * size
                source = self._chunks[chunk : chunk + whole]
                target = window[filled:upto].reshape(source.shape)
            else:
                whole = 1
                upto = filled + size - offset if left > size - offset else num_clips
                source = self._chunks[chunk, offset : offset + upto - filled]
                target = window[filled:upto]
            if self._num_unchecked or again:
                self._check(chunk, chunk + whole, again=again)
            target[...] = source
            filled = upto

    def _check(self, start_chunk: int, stop_chunk: int, *, again: bool) -> None:
        for chunk in range(start_chunk, stop_chunk):
            if self._checked[chunk] and not again:
                continue
            start = chunk * (self._chunk_bytes + CRC_BYTES)
            end = start + self._chunk_bytes
            found = google_crc32c.value(self._data[start:end])
            if found != int.from_bytes(self._data[end : end + CRC_BYTES].tobytes(), "little"):
                raise DamagedStore(f"chunk {chunk} does not match its checksum")
            if self._expected is not None and recorded_checksum(self._expected, chunk) != found:
                raise DamagedStore(misplaced(chunk))
            if not self._checked[chunk]:
                self._checked[chunk] = 1
                self._num_unchecked -= 1


# lru_cache uses no Python lock, so a fork during another thread's lookup cannot leave one locked
@lru_cache(maxsize=_kept_mappings())
def _map_shard(
    path: str,
    identity: tuple[int, int, int],
    shape: ShardShape,
    dtype: np.dtype,
    clip_shape: tuple[int, ...],
    expected: bytes | None,
) -> _MappedShard | None:
    """A mapping that other readers of this process use, too."""
    return _open_shard(path, shape, dtype, clip_shape, expected)


def _open_shard(
    path: str,
    shape: ShardShape,
    dtype: np.dtype,
    clip_shape: tuple[int, ...],
    expected: bytes | None,
    *,
    ahead: bool = False,
) -> _MappedShard | None:
    """The mapping of a shard file of the right size, or None if its index is not the expected one.

    `ahead`: all of it will be read, so that the system maps it in one go instead of page by page.
    """
    descriptor = os.open(path, os.O_RDONLY | NO_LINK)
    try:
        if ahead and hasattr(mmap, "MAP_POPULATE"):
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            file = mmap.mmap(descriptor, 0, flags=flags, prot=mmap.PROT_READ)
        else:
            file = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    index = shape.index()
    if len(file) != shape.file_bytes or file[-len(index) :] != index:
        return None
    return _MappedShard(file, shape, dtype, clip_shape, expected)
