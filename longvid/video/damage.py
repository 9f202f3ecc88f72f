"""Damage that a file's container shows: the seconds of doubtful frames.

Checked are the counters, picture starts and error marks of transport streams, the index of AVI files against the
packets that were found (without an index, the chain of their chunks), and the structure and checksums of Matroska
files. One lost or broken packet invalidates every frame between its keyframe and the next; where times are counted
(AVI), it shifts all that follow.

Damage inside a packet is seen only by the decoder (`backends/pyav.py`), which sees less of it in newer codecs. Of 100
small files damaged in one place each (a bit, some bytes, a sector of zeros, a cut), this many silently give wrong
frames:

    in MP4     H.264 10, HEVC 25, VP9 50, AV1 0 (its headers are checked, its pictures mostly not), MPEG-4 7
    in AVI     H.264 8, MPEG-4 2, motion JPEG 3
    in TS      H.264 3, HEVC 12, MPEG-2 0
    in WebM    VP9 48
    in MKV     none with any codec where the writer adds checksums to clusters, as FFmpeg does; else as in WebM

HEVC files can carry a hash of every picture (x265's `hash=1`), which is checked. For other files the only sure check is
a manifest with a `sha256` column. (`longvid bench damage` repeats the numbers.)
"""

import numpy as np
from jaxtyping import Bool

from longvid.video import avi, matroska, transport
from longvid.video.demux import PacketPass
from longvid.video.metadata import Damage, DamagedBytes
from longvid.video.source import Source

END_SECONDS = 0.1
"""Damage at the end of a video is taken to reach this far past its last frame; stretches this close are merged."""


def find_damage(path: Source, container: str, packets: PacketPass, *, truncated: bool) -> tuple[Damage, ...]:
    """Damage that the container of a file shows, in order of time; empty for an intact file.

    `container` is FFmpeg's name for it. What a truncated file lost at its end does not count as damage.
    """
    found = _marked(packets)
    if container == "avi":
        found += _missing_in_index(packets, truncated=truncated) or _lost_from_chain(path, packets, truncated=truncated)
    elif container == "mpegts":
        found += _in_bytes(transport.damaged_bytes(path, packets.stream_id, packets.pts), packets)
    elif container == "matroska,webm":
        found += _in_bytes(matroska.damaged_bytes(path), packets)
    if packets.starts_listed:
        found.append(_first_frame(packets, "its first keyframe is broken, and what follows it cannot be decoded"))
    return _merged(found)


def _marked(packets: PacketPass) -> list[Damage]:
    """Damage that the demuxer marks, as whole stretches from keyframe to keyframe."""
    reason = transport.REASON
    found = _stretches(packets, packets.is_damaged, reason)
    if packets.num_undecodable_damaged:
        found.append(_first_frame(packets, reason))
    return found


def _missing_in_index(packets: PacketPass, *, truncated: bool) -> list[Damage]:
    """Damage of AVI files, which count frames: a lost one shifts all that follow."""
    missing, positions = packets.missing_positions, packets.byte_positions
    if truncated:
        missing = missing[missing < positions[-1]]
    if not len(missing):
        return []
    where = "1 frame of its index is not where it should be"
    if len(missing) > 1:
        where = f"{len(missing)} frames of its index are not where they should be"
    return _too_early_from(packets, int(missing[0]), where)


def _lost_from_chain(path: Source, packets: PacketPass, *, truncated: bool) -> list[Damage]:
    """Damage of AVI files that have no index, or whose index is not found because bytes before it are lost."""
    if not truncated and avi.has_index(path):
        return []
    stop = avi.chain_stop(path)
    if packets.byte_positions.max() <= stop + avi.HEAD_BYTES:  # what is torn at the end of a file that ends early
        return []
    return _too_early_from(packets, stop, "its chain of frames is broken")


def _too_early_from(packets: PacketPass, offset: int, where: str) -> list[Damage]:
    """Damage from the frame before an offset to the end, as a lost frame shifts all that follow."""
    positions, reason = packets.byte_positions, f"{where}, and all that follow come too early"
    is_last_before = np.zeros(len(positions), bool)
    is_last_before[max(0, int(np.searchsorted(positions, offset)) - 1)] = True
    first = _stretches(packets, is_last_before, reason)[0]
    return [Damage(first.start_seconds, _end_seconds(packets), reason)]


def _in_bytes(stretches: list[DamagedBytes], packets: PacketPass) -> list[Damage]:
    """Damage to frames that lie in damaged bytes, or to the last one before them where none is left in them."""
    found = []
    positions = packets.byte_positions
    for damaged in stretches:
        is_damaged = (positions >= damaged.start) & (positions < damaged.stop)
        if not is_damaged.any():
            is_damaged[max(0, int(np.searchsorted(positions, damaged.start)) - 1)] = True
        found += _stretches(packets, is_damaged, damaged.reason)
    return found


def _stretches(packets: PacketPass, is_damaged: Bool[np.ndarray, "num_frames"], reason: str) -> list[Damage]:
    """Damage from after the last frame before a damaged one's keyframe to the next keyframe in the file."""
    if not is_damaged.any():
        return []
    pts, group = packets.pts, np.cumsum(packets.is_keyframe)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    before = np.maximum.accumulate(pts)
    tick_seconds = float(packets.time_base)
    share = int(np.median(np.diff(np.unique(pts)))) if len(pts) > 1 else 0
    found = []
    for value in np.unique(group[is_damaged]):
        at = int(np.searchsorted(group[starts], value))
        first = starts[at]
        start = int(pts[first:].min()) if first == 0 else min(int(before[first - 1]) + share, int(pts[first]))
        end = int(pts[starts[at + 1]]) * tick_seconds if at + 1 < len(starts) else _end_seconds(packets)
        found.append(Damage(start * tick_seconds, end, reason))
    return found


def _first_frame(packets: PacketPass, reason: str) -> Damage:
    """Damage at the first frame that is left, which stands for those lost before it."""
    first, tick_seconds = int(packets.pts.min()), float(packets.time_base)
    second = np.partition(packets.pts, 1)[1] if len(packets.pts) > 1 else first + 1
    return Damage(first * tick_seconds, int(second) * tick_seconds, reason)


def _end_seconds(packets: PacketPass) -> float:
    """A time after the last frame, with a margin for rounded instants."""
    last = int(np.argmax(packets.pts))
    return int(packets.pts[last] + max(int(packets.durations[last]), 1)) * float(packets.time_base) + END_SECONDS


def _merged(found: list[Damage]) -> tuple[Damage, ...]:
    """The damage in order of time, with overlapping and touching stretches of one reason merged."""
    merged: list[Damage] = []
    for damage in sorted(found, key=lambda damage: (damage.start_seconds, damage.end_seconds)):
        last = merged[-1] if merged else None
        if last is not None and last.reason == damage.reason and damage.start_seconds <= last.end_seconds + END_SECONDS:
            end_seconds = max(last.end_seconds, damage.end_seconds)
            merged[-1] = Damage(last.start_seconds, end_seconds, last.reason)
        else:
            merged.append(damage)
    return tuple(merged)
