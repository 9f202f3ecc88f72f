"""Opening a file as a video, never one that names other files."""

from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from longvid.video.source import Source, open_source

CONTAINERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "gxf", "rm", "nut", "ivf", "wtv"),
    *("dv", "gif", "apng", "yuv4mpegpipe", "nsv", "nuv", "pva", "ty", "dhav", "live_flv", "cine"),
    # bare streams: most carry no times, and are refused with the remedy; motion JPEG and MPEG-2 are read
    *("h264", "hevc", "vvc", "m4v", "mpegvideo", "mjpeg", "obu", "av1", "cavsvideo", "dirac", "vc1", "h263", "h261"),
)
"""FFmpeg's names of the containers that are opened. Others hold no video themselves: playlists and scripts (ffconcat,
HLS, DASH, SDP) name other files or servers, numbered pictures are a pattern of names, a device is not a file."""

PLAYLISTS = {
    b"#EXTM3U": "an HLS playlist",
    b"ffconcat": "an ffconcat script",
    b"<?xml": "XML, perhaps a DASH manifest",
    b"<MPD": "a DASH manifest",
    b"v=0": "a session description (SDP)",
    b"[playlist]": "a playlist",
    b"[InternetShortcut]": "a link",
}
"""First bytes of files that name other files, and what kind they are."""

_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
_NO_PROTOCOL = "none"
"""What FFmpeg may open by itself where the bytes are handed to it."""
READ_BYTES = 256 << 10
"""Bytes that FFmpeg asks for at once from a file that is not local."""


def open_video(path: Source) -> InputContainer:
    """The container in a file. Raises FFmpegError for one that is not in `CONTAINERS`; tags may have any encoding.

    Only the file itself is opened, whatever its content or its name says: FFmpeg itself never opens a URL.
    """
    if not isinstance(path, Path):
        options = _OPTIONS | {"protocol_whitelist": _NO_PROTOCOL}
        return av.open(path.open(), "r", metadata_errors="replace", container_options=options, buffer_size=READ_BYTES)
    # absolute: FFmpeg takes the part before a colon in a relative path for a protocol
    return av.open(str(path.absolute()), metadata_errors="replace", container_options=_OPTIONS)


def packets_of(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of the streams (None given: all), in file order; then an empty one per stream, to flush decoders.

    A stream that first appears in the middle of a file is left out; PyAV 18 would raise an IndexError at the end.
    """
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):
            return
        yield packet


def names_other_files(path: Source) -> str | None:
    """The kind of playlist or script that the file is; None if it is neither."""
    with open_source(path) as file:
        start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for magic, kind in PLAYLISTS.items() if start.startswith(magic)), None)
