"""Damage in the structure of a Matroska or WebM file.

FFmpeg does not report it: it searches for the next readable place and goes on, so the frames between are silently lost.
Here the elements of the file are walked by their sizes, without reading their contents. Where an element has a checksum
(EBML's CRC-32; FFmpeg writes one into every cluster), its contents are read and compared, which shows damage that no
codec shows. An element that is not allowed at its place, or that ends after its parent, is damage, and so is everything
up to the next cluster. (RFC 9559 and RFC 8794.)
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from longvid.video.metadata import DamagedBytes
from longvid.video.source import Source, open_source, size_of

EBML_HEADER, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
INFO, TRACKS, CRC_32, VOID = 0x1549A966, 0x1654AE6B, 0xBF, 0xEC
SEEK_HEAD, CUES, TAGS, ATTACHMENTS, CHAPTERS = 0x114D9B74, 0x1C53BB6B, 0x1254C367, 0x1941A469, 0x1043A770
IN_SEGMENT = frozenset({SEEK_HEAD, INFO, TRACKS, CLUSTER, CUES, TAGS, ATTACHMENTS, CHAPTERS, VOID, CRC_32})
SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = 0xA3, 0xA0, 0xA1
IN_CLUSTER = frozenset({0xE7, 0xA7, 0xAB, 0x5854, 0xAF, SIMPLE_BLOCK, BLOCK_GROUP, VOID, CRC_32})
"""Ids in a cluster: timestamp, position, previous size, silent tracks, encrypted block, blocks, void, checksum."""
IN_BLOCK_GROUP = frozenset(
    {BLOCK, 0xA2, 0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA4, 0x75A2, 0x8E, 0xC8, 0x7446, VOID, CRC_32}
)
TRACK_ENTRY, TRACK_NUMBER, TRACK_TYPE = 0xAE, 0xD7, 0x83
VIDEO_TRACK = 1
LACED = 0x06
"""Bits of a block's flags that say it holds several frames, which no writer uses for video."""
TELLS_ALL = frozenset({INFO, TRACKS})
"""Elements on which every frame depends: the clock, and how the tracks are decoded."""

ANYWHERE = 1 << 62
"""End of a parent that puts no limit on its elements."""
LONGEST_HEAD = 12
"""Bytes of the longest id (4) and size (8) together."""
SEARCHED_BYTES = 1 << 20
CRC_BYTES = 1 << 22


def damaged_bytes(path: Source) -> list[DamagedBytes]:
    """The stretches of a Matroska file that are visibly damaged, in order; empty if there are none."""
    size_bytes = size_of(path)
    with open_source(path) as file:
        walk = _Walk(file, size_bytes)
        head = walk.head(0, size_bytes)
        # a segment may end after the file: then the file is truncated, which `extent` reports
        segment = walk.head(head.stop, ANYWHERE) if head and head.id == EBML_HEADER and head.stop else None
        if segment is None or segment.id != SEGMENT:
            return [DamagedBytes(0, size_bytes, "its first bytes are not those of Matroska")]
        stop = size_bytes if segment.stop is None else min(segment.stop, size_bytes)
        is_cut_off = segment.stop is None or segment.stop > size_bytes
        return list(walk.segment(segment.content, stop, is_cut_off=is_cut_off))


@dataclass(frozen=True)
class _Head:
    """An element's id, start, start of content, and end; the end is None where the element does not state it."""

    id: int
    start: int
    content: int
    stop: int | None


class _Walk:
    """Reads the heads of elements, and the contents of a few."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file, self._size_bytes = file, size_bytes
        self._track_types: dict[int, int] = {}

    def head(self, start: int, parent_stop: int) -> _Head | None:
        """The element that starts here; None where none can start, or where it ends after its parent."""
        self._file.seek(start)
        head = self._file.read(min(LONGEST_HEAD, parent_stop - start))
        if len(head) < 2 or head[0] < 0x10:
            return None
        id_bytes = 9 - head[0].bit_length()
        if len(head) <= id_bytes or head[id_bytes] == 0:
            return None
        size_bytes = 9 - head[id_bytes].bit_length()
        if len(head) < id_bytes + size_bytes:
            return None
        unknown = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & unknown
        content = start + id_bytes + size_bytes
        stop = None if size == unknown else content + size
        if stop is not None and stop > parent_stop:
            return None
        return _Head(int.from_bytes(head[:id_bytes], "big"), start, content, stop)

    def segment(self, start: int, stop: int, *, is_cut_off: bool) -> Iterator[DamagedBytes]:
        """Damage between two offsets of the segment; if it is cut off, its last element may extend beyond its end."""
        at = start
        while at < stop:
            element = self.head(at, stop)
            if element is None or element.id not in IN_SEGMENT or (element.stop is None and element.id != CLUSTER):
                found = self._next_cluster(at + 1, stop)
                torn = self.head(at, ANYWHERE) if is_cut_off and found == stop else None
                if torn is None or torn.id not in IN_SEGMENT:
                    yield DamagedBytes(at, found, "its structure is broken")
                at = found
                continue
            if element.stop is None:
                damage, at = self._unsized_cluster(element, stop)
                yield from damage
                continue
            yield from self._checked(element)
            at = element.stop

    def _checked(self, element: _Head) -> Iterator[DamagedBytes]:
        """Damage in one element of the segment whose end is known."""
        assert element.stop is not None
        sound = self._matches_checksum(element)
        if sound is False and (element.id == CLUSTER or element.id in TELLS_ALL):
            whole = element.id in TELLS_ALL
            start, stop = (0, self._size_bytes) if whole else (element.start, element.stop)
            yield DamagedBytes(start, stop, "its bytes do not match their checksum")
        elif element.id == TRACKS:
            self._track_types |= self._types(element)
        elif element.id == CLUSTER and sound is None:
            at = element.content
            while at < element.stop:
                child = self.head(at, element.stop)
                if not self._fits_cluster(child) or child is None or child.stop is None:
                    yield DamagedBytes(at, element.stop, "its structure is broken")
                    return
                at = child.stop

    def _unsized_cluster(self, cluster: _Head, stop: int) -> tuple[list[DamagedBytes], int]:
        """Damage in a cluster written live, without a size, and its end: the first element that is not part of it."""
        at = cluster.content
        while at < stop:
            child = self.head(at, stop)
            if child is not None and child.id in IN_SEGMENT - {VOID, CRC_32}:
                return [], at
            if not self._fits_cluster(child) or child is None or child.stop is None:
                found = self._next_cluster(at + 1, stop)
                torn = self.head(at, ANYWHERE) if found == stop else None
                if torn is not None and torn.id in IN_CLUSTER:
                    return [], found
                return [DamagedBytes(at, found, "its structure is broken")], found
            at = child.stop
        return [], at

    def _fits_cluster(self, child: _Head | None) -> bool:
        """Whether the element may be in a cluster, and belongs, if it is a block, to an existing track."""
        if child is None or child.stop is None or child.id not in IN_CLUSTER:
            return False
        if child.id == SIMPLE_BLOCK:
            return self._is_block_of_a_track(child)
        if child.id != BLOCK_GROUP:
            return True
        at, has_block = child.content, False
        while at < child.stop:
            part = self.head(at, child.stop)
            if part is None or part.stop is None or part.id not in IN_BLOCK_GROUP:
                return False
            if part.id == BLOCK:
                has_block = self._is_block_of_a_track(part)
            at = part.stop
        return has_block

    def _is_block_of_a_track(self, block: _Head) -> bool:
        """Whether the block's track exists in the file, and the block, if it is of video, holds one frame."""
        self._file.seek(block.content)
        head = self._file.read(LONGEST_HEAD)
        if not head or not head[0]:
            return False
        length = 9 - head[0].bit_length()
        number = int.from_bytes(head[:length], "big") & ((1 << 7 * length) - 1)
        if len(head) < length + 3 or (self._track_types and number not in self._track_types):
            return False
        return self._track_types.get(number) != VIDEO_TRACK or not head[length + 2] & LACED

    def _types(self, tracks: _Head) -> dict[int, int]:
        """Type of each track that the file lists, by the track's number."""
        types: dict[int, int] = {}
        for entry in self._children(tracks):
            parts = {
                part.id: self._number(part) for part in self._children(entry) if part.id in (TRACK_NUMBER, TRACK_TYPE)
            }
            if entry.id == TRACK_ENTRY and TRACK_NUMBER in parts:
                types[parts[TRACK_NUMBER]] = parts.get(TRACK_TYPE, 0)
        return types

    def _number(self, element: _Head) -> int:
        assert element.stop is not None
        self._file.seek(element.content)
        return int.from_bytes(self._file.read(min(8, element.stop - element.content)), "big")

    def _children(self, element: _Head) -> Iterator[_Head]:
        at = element.content
        while element.stop is not None and at < element.stop:
            child = self.head(at, element.stop)
            if child is None or child.stop is None:
                return
            yield child
            at = child.stop

    def _matches_checksum(self, element: _Head) -> bool | None:
        """Whether the content matches the CRC-32 at its start; None where there is none."""
        assert element.stop is not None
        first = self.head(element.content, element.stop) if element.id not in (VOID, CRC_32) else None
        if first is None or first.id != CRC_32 or first.stop is None or first.stop - first.content != 4:
            return None
        self._file.seek(first.content)
        expected, left, found = int.from_bytes(self._file.read(4), "little"), element.stop - first.stop, 0
        while left and (data := self._file.read(min(CRC_BYTES, left))):
            found, left = zlib.crc32(data, found), left - len(data)
        return found == expected

    def _next_cluster(self, start: int, stop: int) -> int:
        """Start of the next valid cluster; `stop` if there is none."""
        mark, at = CLUSTER.to_bytes(4, "big"), start
        while at < stop:
            self._file.seek(at)
            data = self._file.read(min(SEARCHED_BYTES, stop - at))
            if not data:
                break
            found = data.find(mark)
            while found >= 0:
                if self.head(at + found, stop) is not None:
                    return at + found
                found = data.find(mark, found + 1)
            if len(data) < SEARCHED_BYTES:
                break
            at += len(data) - len(mark) + 1
        return stop
