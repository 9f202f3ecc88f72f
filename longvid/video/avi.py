"""Where the chain of an AVI file's chunks breaks.

Each chunk says how long it is, so the next one starts at its end. Where bytes are lost or overwritten, none does, and
FFmpeg searches for the next chunk and goes on: the frames between are lost, and as AVI counts frames, all that follow
come too early. An index shows the same (`damage`); this is for files without one, and for those that end early, whose
index is not found any more.
"""

import re
from typing import BinaryIO

from longvid.video.source import Source, open_source, size_of

HEAD_BYTES, LIST_HEAD_BYTES = 8, 12
_ENTERED = frozenset({b"AVI ", b"AVIX", b"movi", b"rec "})
"""Lists whose chunks are followed; others are passed over whole."""
_NAME = re.compile(rb"[0-9A-Za-z]{2}[0-9A-Za-z ]{2}")


def has_index(path: Source) -> bool:
    """Whether the list of frames is followed by an index (`idx1`), where the file says that the list ends."""
    size_bytes = size_of(path)
    with open_source(path) as file:
        at = LIST_HEAD_BYTES
        while (chunk := _head(file, at, size_bytes)) is not None:
            name, _, stop = chunk
            if name == b"idx1":
                return True
            at = stop
    return False


def chain_stop(path: Source) -> int:
    """Offset of the first chunk that is not whole, or not a chunk; the file's length where the chain is unbroken."""
    size_bytes = size_of(path)
    with open_source(path) as file:
        at = 0
        while (chunk := _head(file, at, size_bytes)) is not None:
            name, kind, stop = chunk
            if name in (b"RIFF", b"LIST") and kind in _ENTERED:
                at += LIST_HEAD_BYTES
            elif stop > size_bytes:
                return at
            elif stop % 2 and _head(file, stop, size_bytes) is None:  # chunks of odd length are padded, by most writers
                at = stop + 1
            else:
                at = stop
    return min(at, size_bytes)


def _head(file: BinaryIO, at: int, size_bytes: int) -> tuple[bytes, bytes, int] | None:
    """Name of the chunk that starts here, kind where it is a list, and end without padding; None if none can start."""
    if at + HEAD_BYTES > size_bytes:
        return None
    file.seek(at)
    head = file.read(LIST_HEAD_BYTES)
    if not _NAME.fullmatch(head[:4]):
        return None
    return head[:4], head[HEAD_BYTES:], at + HEAD_BYTES + int.from_bytes(head[4:HEAD_BYTES], "little")
