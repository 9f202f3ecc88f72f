"""Opening a file as a video: containers that hold one, on this machine's disk, and nothing that names other files."""

from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

CONTAINERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "gxf", "rm", "nut", "ivf", "wtv"),
    *("dv", "gif", "apng", "yuv4mpegpipe", "nsv", "nuv", "pva", "ty", "dhav", "live_flv", "cine"),
    # bare streams: most carry no times, and are refused with the remedy; motion JPEG and MPEG-2 are read
    *("h264", "hevc", "vvc", "m4v", "mpegvideo", "mjpeg", "obu", "av1", "cavsvideo", "dirac", "vc1", "h263", "h261"),
)
"""FFmpeg's names of the containers that are opened. Left out is what is no video of its own: playlists and scripts
(ffconcat, HLS, DASH, SDP) name other files or servers, numbered pictures are a pattern, a device is no file."""

PLAYLISTS = {
    b"#EXTM3U": "an HLS playlist",
    b"ffconcat": "an ffconcat script",
    b"<?xml": "XML, perhaps a DASH manifest",
    b"<MPD": "a DASH manifest",
    b"v=0": "a session description (SDP)",
    b"[playlist]": "a playlist",
    b"[InternetShortcut]": "a link",
}
"""First bytes of what names other files, and what it is."""

_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}


def open_video(path: Path) -> InputContainer:
    """The container in a file. Raises FFmpegError for what is none of `CONTAINERS`; tags in any encoding are let be.

    Nothing but the file itself is opened, whatever stands in it or in its name.
    """
    # absolute: FFmpeg takes what stands before a colon in a relative path for a protocol
    return av.open(str(path.absolute()), metadata_errors="replace", container_options=_OPTIONS)


def packets_of(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of the streams, of all if none is named, in the order of the file; then one without bytes for each.

    A stream that first appears in the midst of a file is left out, where PyAV 18 raises an IndexError at the end.
    """
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):
            return
        yield packet


def names_other_files(path: Path) -> str | None:
    """What kind of playlist or script the file is; None if it is none."""
    with path.open("rb") as file:
        start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for magic, kind in PLAYLISTS.items() if start.startswith(magic)), None)
