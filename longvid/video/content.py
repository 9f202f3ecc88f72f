"""Checks that a file is still the one that was read.

The fingerprint covers only 768 KiB: a file can be replaced by one of the same size, start, middle and end, for example
after an edit of some seconds. Three things reveal that, and none of them alone causes a video to be extracted again:

* the crc32c of the video stream's packets, which the demux pass of planning reads anyway (3 GB/s, no byte is read
  twice). Another version of FFmpeg may split or clean packets differently, so it is compared within one version only;
* the sha256 of the whole file (`longvid extract --full-hash`), which reads the file once more;
* when the place says that the file was last written (`modified`). It is told, but never compared by itself: a file
  that was copied or touched has another time and is the same video. Where time, size and fingerprint are the same, a
  rerun over complete videos spares itself the comparison (`longvid.pipelines.extraction.unchanged`); `--full-hash`
  compares in any case.
"""

import hashlib
from typing import Any

import av
import google_crc32c
from av.packet import Packet

from longvid.video.remote import RemoteFile
from longvid.video.source import Source, open_source, source_of
from longvid.video.storage import Storage


class PacketsDigest:
    """The crc32c of the bytes of a stream's packets, in order."""

    def __init__(self) -> None:
        self._crc = 0

    def add(self, packet: Packet) -> None:
        """Include the stream's next packet."""
        self._crc = google_crc32c.extend(self._crc, bytes(packet))

    @property
    def text(self) -> str:
        """The digest as 8 hexadecimal digits."""
        return f"{self._crc:08x}"


def checks(packets: str, *, path: Source | None = None) -> dict[str, str]:
    """Digests of a file's content, each of which is compared where both sides know it.

    They are the packets' crc32c, named after the library that split them, and with `path` the sha256 of that file.
    """
    version = ".".join(map(str, av.library_versions["libavformat"][:2]))
    known = {f"packets_crc32c_libavformat_{version}": packets}
    if path is not None:
        with open_source(path) as file:
            known["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return known


def modified(path: str | Source, storage: Storage | None = None) -> dict[str, Any]:
    """When the file was last written, by its file system: `mtime_ns` of a local file, `etag` or `mtime` elsewhere.

    Always asks again. Empty if the place does not say. Raises OSError if the file does not exist.
    """
    source = source_of(path, storage)
    return source.look().modified if isinstance(source, RemoteFile) else {"mtime_ns": source.stat().st_mtime_ns}
