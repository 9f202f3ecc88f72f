"""Probing: measuring what a video file really holds."""

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from longvid.errors import UnreadableVideo, VideoNotFound
from longvid.printable import as_argument
from longvid.video.damage import find_damage
from longvid.video.demux import PacketPass, demux_pass
from longvid.video.extent import promised_bytes
from longvid.video.leaps import require_steady_clock
from longvid.video.metadata import HeaderMetadata, MeasuredTiming, VideoProbe
from longvid.video.opening import names_other_files, open_video
from longvid.video.source import Source, open_source, size_of, source_of
from longvid.video.storage import Storage

FINGERPRINT_BLOCK_BYTES = 256 * 1024
SHORT_BY_SECONDS = 0.5
SHORT_BY_SHARE = 0.01
"""A file is truncated if all its streams end earlier than its header says, by more than the larger of these two."""


def probe(path: str | Source, *, stream: int | None = None, storage: Storage | None = None) -> VideoProbe:
    """Measure a video file in one pass over its packets; only the first frame is decoded (for its rotation).

    `stream` is a position among all streams of the file. None prefers the video stream marked as default (in many files
    all are), then the one with most pixels, then the first; cover pictures are never taken.
    `path` is a local file, a URL or a member of a tar, see `longvid.video.source`; `storage` says how URLs are reached.
    Memory: 25 bytes per frame while it reads and 16 after, whatever the file's size.
    Raises VideoNotFound; VideoUnreachable for a place that does not give the file; UnreadableVideo for a file that is
    not a video, or whose video cannot be decoded.
    """
    source = source_of(path, storage)
    path = _without_protocol(source) if isinstance(source, Path) else source
    _require_file(path)
    try:
        with open_video(path) as container:
            chosen, num_candidates = _choose_stream(path, container, stream)
            packets = demux_pass(container, chosen)
            header = _header(container, chosen, packets, num_candidates)
            stream_index = chosen.index
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"{path}: not a readable video ({_why_unreadable(path, error)})") from error
    measured = _measured(path, packets, header)
    size_bytes = size_of(path)
    truncated, why = _truncation(path, size_bytes, header, packets)
    damage = find_damage(path, header.container, packets, truncated=truncated)
    return VideoProbe(
        path=path,
        stream_index=stream_index,
        size_bytes=size_bytes,
        fingerprint=fingerprint(path),
        header=header,
        measured=measured,
        problems=(*why, *map(str, damage), *_problems(header, measured, packets)),
        truncated=truncated,
        packets_crc32c=packets.packets_crc32c,
        damage=damage,
    )


def fingerprint(path: Source) -> str:
    """Sha256 (hex) of the size and the first, middle and last 256 KiB, which identifies the file."""
    size_bytes = size_of(path)
    digest = hashlib.sha256(f"{size_bytes}\n".encode())
    with open_source(path) as file:
        for begin in (0, (size_bytes - FINGERPRINT_BLOCK_BYTES) // 2, size_bytes - FINGERPRINT_BLOCK_BYTES):
            file.seek(max(0, begin))
            digest.update(file.read(FINGERPRINT_BLOCK_BYTES))
    return digest.hexdigest()


def _without_protocol(path: Path) -> Path:
    """The path, absolute where FFmpeg would take the part before its first colon for a protocol (`col:on.mov`)."""
    return path.absolute() if ":" in str(path).partition("/")[0] else path


def _require_file(path: Source) -> None:
    if isinstance(path, Path) and not path.exists():
        raise VideoNotFound(f"{path}: no such file")
    if isinstance(path, Path) and not path.is_file():
        raise UnreadableVideo(f"{path}: not a file; give the video file itself")
    if size_of(path) == 0:
        raise UnreadableVideo(f"{path}: the file is empty (0 bytes); copy or download it again")


def _why_unreadable(path: Source, error: av.error.FFmpegError) -> str:
    playlist = names_other_files(path)
    if playlist is not None:
        return f"{playlist}, which names other files; give those files themselves"
    size_bytes, promised = size_of(path), promised_bytes(path)
    if promised is not None and promised > size_bytes:  # an mp4's index, for example, may be at its end
        return f"only {size_bytes} of {promised} bytes are there; copy or download it again"
    if isinstance(error, av.error.ArgumentError):  # FFmpeg's error for a container off the list, and for wild headers
        return (
            "its container is not one that longvid opens, or its header makes no sense; "
            f"try: ffmpeg -i {as_argument(str(path))} -c copy {as_argument(path.stem)}.mkv"
        )
    return f"{(error.strerror or type(error).__name__).lower()}; get a sound copy"


def _choose_stream(path: Source, container: InputContainer, stream: int | None) -> tuple[VideoStream, int]:
    """The stream to read, and the number of video streams to choose from."""
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    candidates = [s for s in videos if s.codec_context is not None]
    if videos and not candidates:
        raise UnreadableVideo(f"{path}: PyAV {av.__version__} has no decoder for the codec of its video stream")
    if not candidates:
        kinds = ", ".join(sorted({s.type for s in container.streams}))
        held = f"{kinds} only" if kinds else "no stream at all"
        raise UnreadableVideo(f"{path}: no video stream, the file holds {held}")
    if stream is not None:
        for candidate in candidates:
            if candidate.index == stream:
                return candidate, len(candidates)
        choices = ", ".join(str(s.index) for s in candidates)
        raise UnreadableVideo(f"{path}: stream {stream} is not a video stream; its video streams: {choices}")

    def merit(s: VideoStream) -> tuple[bool, int, int]:
        return bool(s.disposition & Disposition.default), s.codec_context.width * s.codec_context.height, -s.index

    return max(candidates, key=merit), len(candidates)


def _header(container: InputContainer, stream: VideoStream, packets: PacketPass, num_candidates: int) -> HeaderMetadata:
    context, scale = stream.codec_context, stream.time_base or Fraction(1)
    return HeaderMetadata(
        container=container.format.name,
        codec=context.codec.canonical_name,
        pixel_format=context.pix_fmt,
        coded_height=packets.frame_height,
        coded_width=packets.frame_width,
        rotation_degrees=round(packets.rotation_degrees / 90) * 90 % 360,
        sample_aspect_ratio=stream.sample_aspect_ratio or None,
        num_frames=stream.frames or None,
        average_fps=float(stream.average_rate) if stream.average_rate else None,
        begin_seconds=None if stream.start_time is None else float(stream.start_time * scale),
        stream_duration_seconds=None if stream.duration is None else float(stream.duration * scale),
        container_duration_seconds=None if container.duration is None else container.duration / av.time_base,
        num_video_streams=num_candidates,
    )


def _measured(path: Source, packets: PacketPass, header: HeaderMetadata) -> MeasuredTiming:
    """The pass's result in display order. Raises UnreadableVideo if there is no frame to show."""
    if len(packets.pts) == 0 and packets.num_timeless:
        raise UnreadableVideo(
            f"{path}: a bare stream, its packets carry no times; "
            f"put it into a container first: mkvmerge -o {as_argument(path.stem)}.mkv {as_argument(str(path))}"
        )
    if len(packets.pts) == 0 or not packets.frame_height:
        raise UnreadableVideo(f"{path}: the video stream holds no frame that can be decoded; get a sound copy")
    if packets.jump_seconds:
        raise UnreadableVideo(
            f"{path}: its clock jumps back by {packets.jump_seconds:.3f} s midway; "
            f"make it continuous first: ffmpeg -i {as_argument(str(path))} -c copy fixed.mkv"
        )
    require_steady_clock(str(path), packets, header.container_duration_seconds)
    pts, first = np.unique(packets.pts, return_index=True)
    keyframes = np.flatnonzero(packets.is_keyframe[first])
    gaps = np.diff(pts)
    last_duration = int(packets.durations[first[-1]]) or (int(np.median(gaps)) if len(gaps) else 1)
    return MeasuredTiming(
        frame_pts=pts,
        time_base=packets.time_base,
        end_pts=int(pts[-1]) + last_duration,
        keyframe_indices=keyframes.astype(np.int64),
        has_presentation_times=packets.has_presentation_times,
    )


def _truncation(path: Source, size_bytes: int, header: HeaderMetadata, packets: PacketPass) -> tuple[bool, list[str]]:
    """Whether the file ends early, and sentences that say why."""
    why = []
    promised = promised_bytes(path)
    if promised is not None and promised > size_bytes:
        why.append(f"file ends early: {size_bytes} of {promised} bytes are there")
    claimed = header.container_duration_seconds
    if claimed is not None and packets.file_seconds < claimed - max(SHORT_BY_SECONDS, SHORT_BY_SHARE * claimed):
        why.append(f"file ends early: its header says {claimed:.2f} s, its packets last {packets.file_seconds:.2f} s")
    if packets.error is not None:
        why.append(f"file ends early: reading stops at {packets.file_seconds:.2f} s ({packets.error})")
    return bool(why), why


def _problems(header: HeaderMetadata, measured: MeasuredTiming, packets: PacketPass) -> list[str]:
    """Contradictions and oddities, as sentences; the reader handles all of them."""
    problems = []
    if header.num_frames not in (None, measured.num_frames):
        problems.append(f"header says {header.num_frames} frames, {measured.num_frames} are displayable")
    if packets.num_undecodable:
        problems.append(f"{packets.num_undecodable} packets before the first keyframe cannot be decoded")
    if packets.num_damaged:
        problems.append(f"{packets.num_damaged} packets are marked as damaged")
    if len(packets.pts) > measured.num_frames:
        problems.append(f"{len(packets.pts) - measured.num_frames} packets share another's presentation time")
    if measured.is_variable_rate:
        problems.append("variable frame rate")
    if abs(measured.begin_seconds) > 0.001:
        problems.append(f"first frame at {measured.begin_seconds:.3f} s, not 0")
    if not measured.has_presentation_times:
        problems.append("container stores no presentation times: frames are counted in the decoder's order")
    if header.sample_aspect_ratio not in (None, 1):
        problems.append(f"pixels are {header.sample_aspect_ratio} times as wide as high, they are read as square")
    if packets.rotation_degrees % 90:
        problems.append(f"rotation of {packets.rotation_degrees} degrees, turned by {header.rotation_degrees}")
    return problems
