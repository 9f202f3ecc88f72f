"""The number of bytes that a media file says it should have.

It is the one sure sign of an interrupted download or copy. Only the outermost layer of three container families is read
(ISO base media: mp4, mov; EBML: mkv, webm; RIFF: avi). Other files, and live recordings without sizes, do not say.
"""

from typing import BinaryIO

from longvid.video.source import Source, open_source, size_of

EBML_MAGIC = b"\x1a\x45\xdf\xa3"
SEGMENT_ID = b"\x18\x53\x80\x67"
ISO_BOXES = frozenset(
    b"ftyp styp moov moof mdat mfra meta uuid sidx ssix emsg prft pdin udta free skip wide pnot".split()
)


def promised_bytes(path: Source) -> int | None:
    """Length in bytes by the file's own outermost structure; None where that does not say."""
    with open_source(path) as file:
        magic = file.read(12)
        if magic[4:8] in ISO_BOXES:
            return _iso_media_bytes(file, size_of(path))
        if magic[:4] == EBML_MAGIC:
            return _matroska_bytes(file)
        if magic[:4] == b"RIFF":
            return _riff_bytes(file, size_of(path))
    return None


def _iso_media_bytes(file: BinaryIO, size_bytes: int) -> int:
    """End of the last top-level box: 4 bytes of length, 4 of type, 8 more of length if the first length is 1."""
    position = 0
    while position < size_bytes:
        file.seek(position)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if (
            name not in ISO_BOXES or length < 8
        ):  # not a box, or one that extends to the end of the file, wherever that is
            return min(position, size_bytes)
        position += length
    return position


def _matroska_bytes(file: BinaryIO) -> int | None:
    """End of the Segment element; None where it was written live, with a size of all ones."""
    file.seek(4)
    header_bytes = _ebml_size(file)
    if header_bytes is None:
        return None
    file.seek(header_bytes, 1)
    if file.read(4) != SEGMENT_ID:
        return None
    segment_bytes = _ebml_size(file)
    return None if segment_bytes is None else file.tell() + segment_bytes


def _ebml_size(file: BinaryIO) -> int | None:
    """An EBML size: the number of leading zero bits is that of further bytes; None for all ones (unknown)."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    num_bytes = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(num_bytes - 1), "big") & ((1 << 7 * num_bytes) - 1)
    return None if value == (1 << 7 * num_bytes) - 1 else value


def _riff_bytes(file: BinaryIO, size_bytes: int) -> int:
    """End of the last RIFF chunk: long AVI files are a sequence of chunks of at most 2 GB."""
    position = 0
    while position + 8 <= size_bytes:
        file.seek(position)
        name, length = file.read(4), int.from_bytes(file.read(4), "little")
        if name != b"RIFF":  # what follows the last chunk is not checked
            return position
        position += 8 + length + length % 2
    return position
