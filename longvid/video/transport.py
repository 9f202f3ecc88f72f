"""Damage in an MPEG transport stream, found by its own counters.

Each packet of a stream carries a counter modulo 16. FFmpeg marks a picture inside which a number is missing, but
reports nothing where a whole picture is lost, or where a packet that should start one does not. (ISO/IEC 13818-1,
2.4.3.)
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from longvid.video.metadata import DamagedBytes
from longvid.video.source import Source, open_source

SYNC_BYTE = 0x47
PACKET_BYTES = (188, 192, 204)
"""Packet lengths: plain, with a time before each (Blu-ray, .m2ts), with a checksum after each (broadcast)."""
SYNCS = 5
"""Adjacent packets that cannot be an accident."""
TIME_BYTES = 4
"""Bytes of the time before each packet of a .m2ts file."""
UNCOUNTED_BYTES = 16 * PACKET_BYTES[0]
"""Lost bytes after which the counters may be the same as before."""
CHUNK_PACKETS = 1 << 15
CLOCK_TICKS = 1 << 33
"""Ticks after which a transport stream's clock starts again at 0."""
REASON = "packets of the transport stream are missing or broken"


def damaged_bytes(path: Source, pid: int, frame_pts: Int64[np.ndarray, "num_frames"]) -> list[DamagedBytes]:
    """Stretches of the file in which packets of the stream with this id are missing or broken.

    `frame_pts` are the times of the frames that were found, in ticks of 1/90,000 s: a picture that starts in the file
    and has no frame near its time is lost, too.
    """
    found: list[DamagedBytes] = []
    started: list[tuple[Int64[np.ndarray, "starts"], Int64[np.ndarray, "starts"]]] = []
    last_counter, last_position, is_torn = -1, 0, False
    with open_source(path) as file:
        # a recording may start in the middle of a packet; a file that starts with a whole one was aligned
        end_of_run = 0 if file.read(1) == bytes([SYNC_BYTE]) else -1
        for position, packet_bytes, packets in _runs(file):
            chosen = np.flatnonzero(_pid(packets) == pid)
            # unaligned bytes: before the stream's first packet anything may be lost, after it the counters show losses
            is_torn |= 0 <= end_of_run < position - TIME_BYTES and (
                last_counter < 0 or position - end_of_run > UNCOUNTED_BYTES
            )
            end_of_run = position + len(packets) * packet_bytes
            if not len(chosen):
                continue
            if is_torn:
                found.append(DamagedBytes(last_position, position + int(chosen[0] + 1) * packet_bytes, REASON))
                is_torn = False
            own = packets[chosen]
            positions = position + chosen * packet_bytes
            counters = np.concatenate([[last_counter], _counters(own)])
            bad = _is_broken(own) | _is_after_gap(counters, own)
            before = np.concatenate([[last_position], positions[:-1]])
            found += [
                DamagedBytes(int(start), int(at) + packet_bytes, REASON)
                for start, at in zip(before[bad], positions[bad], strict=True)
            ]
            started.append(_starts(own, positions))
            last_counter, last_position = int(counters[-1]), int(positions[-1])
    if started and len(frame_pts) > 1:
        pts, places = (np.concatenate(parts) for parts in zip(*started, strict=True))
        lost = places[_has_no_frame(pts, frame_pts)]
        found += [DamagedBytes(int(place), int(place) + PACKET_BYTES[0], "a picture is lost") for place in lost]
    return found


def _starts(
    packets: UInt8[np.ndarray, "packets 188"], positions: Int64[np.ndarray, "packets"]
) -> tuple[Int64[np.ndarray, "starts"], Int64[np.ndarray, "starts"]]:
    """Times of the pictures that start in these packets, and the packets' offsets."""
    at = np.where((packets[:, 3] & 0x20) > 0, 5 + packets[:, 4].astype(np.int64), 4)
    starts = np.flatnonzero(((packets[:, 1] & 0x40) > 0) & ((packets[:, 3] & 0x10) > 0) & (at + 14 <= PACKET_BYTES[0]))
    rows, at = packets[starts].astype(np.int64), at[starts]
    each = np.arange(len(starts))
    b = [rows[each, at + 9 + index] for index in range(5)]
    pts = (b[0] >> 1 & 7) << 30 | b[1] << 22 | b[2] >> 1 << 15 | b[3] << 7 | b[4] >> 1
    has_time = (rows[each, at + 7] & 0x80) > 0
    return pts[has_time], positions[starts][has_time]


def _has_no_frame(
    pts: Int64[np.ndarray, "starts"], frame_pts: Int64[np.ndarray, "num_frames"]
) -> Bool[np.ndarray, "starts"]:
    """Whether no frame is within three quarters of the usual step: a frame's second field is half a step away."""
    frames = np.unique(frame_pts % CLOCK_TICKS)
    right = np.clip(np.searchsorted(frames, pts), 1, len(frames) - 1)
    distance = np.minimum(np.abs(frames[right] - pts), np.abs(pts - frames[right - 1]))
    missing: np.ndarray = (distance > 0.75 * np.median(np.diff(frames))) & (pts > frames[0]) & (pts < frames[-1])
    return missing


def _runs(file: BinaryIO) -> Iterator[tuple[int, int, UInt8[np.ndarray, "packets 188"]]]:
    """Runs of adjacent packets, each with the offset of the first and the bytes from one to the next."""
    position = 0
    while True:
        file.seek(position)
        data = np.frombuffer(file.read(CHUNK_PACKETS * max(PACKET_BYTES)), np.uint8)
        if len(data) < PACKET_BYTES[0]:
            return
        at, packet_bytes = _first_in_step(data)
        count = (len(data) - at - PACKET_BYTES[0]) // packet_bytes + 1 if at < len(data) else 0
        if count <= 0:
            position += max(1, len(data) - PACKET_BYTES[-1] * SYNCS) if at >= len(data) else len(data)
            if len(data) <= PACKET_BYTES[-1] * SYNCS:
                return
            continue
        in_step = data[at : at + (count - 1) * packet_bytes + 1 : packet_bytes] == SYNC_BYTE
        count = count if in_step.all() else int(np.argmin(in_step))
        padded = np.lib.stride_tricks.as_strided(data[at:], (count, PACKET_BYTES[0]), (packet_bytes, 1))
        yield position + at, packet_bytes, padded
        position += at + count * packet_bytes


def _first_in_step(data: UInt8[np.ndarray, "bytes"]) -> tuple[int, int]:
    """Offset of the first packet that others follow (or the data's length), and the bytes from one to the next."""
    for packet_bytes in PACKET_BYTES:
        first = data[: packet_bytes * SYNCS : packet_bytes]
        if len(first) == SYNCS and (first == SYNC_BYTE).all():
            return 0, packet_bytes
    is_sync = data == SYNC_BYTE
    best = len(data), PACKET_BYTES[0]
    for packet_bytes in PACKET_BYTES:
        followed = is_sync.copy()
        for ahead in range(1, SYNCS):
            shift = ahead * packet_bytes
            # positions after the end of the data count as aligned
            followed[: max(0, len(data) - shift)] &= is_sync[shift:]
        followed[max(0, len(data) - PACKET_BYTES[0] + 1) :] = False
        at = int(np.argmax(followed)) if followed.any() else len(data)
        if at < best[0]:
            best = at, packet_bytes
    return best


def _pid(packets: UInt8[np.ndarray, "packets 188"]) -> Int64[np.ndarray, "packets"]:
    pids: np.ndarray = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
    return pids


def _counters(packets: UInt8[np.ndarray, "packets 188"]) -> Int64[np.ndarray, "packets"]:
    return packets[:, 3].astype(np.int64) & 0xF


def _is_after_gap(
    counters: Int64[np.ndarray, "counters"], packets: UInt8[np.ndarray, "packets 188"]
) -> Bool[np.ndarray, "packets"]:
    """Which packets have a missing one before them: packets with content increase the counter, others keep it; a packet
    may be sent twice, and a discontinuity may be announced."""
    has_content = (packets[:, 3] & 0x10) > 0
    has_adaptation = ((packets[:, 3] & 0x20) > 0) & (packets[:, 4] > 0)
    announced = has_adaptation & ((packets[:, 5] & 0x80) > 0)
    step = (counters[1:] - counters[:-1]) % 16
    fits = np.where(has_content, step <= 1, step == 0)
    gaps: np.ndarray = ~(fits | announced | (counters[:-1] < 0))
    return gaps


def _is_broken(packets: UInt8[np.ndarray, "packets 188"]) -> Bool[np.ndarray, "packets"]:
    """Which packets are marked as broken, or should start a picture's data and do not."""
    has_adaptation = (packets[:, 3] & 0x20) > 0
    content = np.where(has_adaptation, 5 + packets[:, 4].astype(np.int64), 4)
    starts = ((packets[:, 1] & 0x40) > 0) & ((packets[:, 3] & 0x10) > 0)
    at = np.minimum(content, PACKET_BYTES[0] - 4)
    rows = np.arange(len(packets))
    prefix = (packets[rows, at] == 0) & (packets[rows, at + 1] == 0) & (packets[rows, at + 2] == 1)
    broken: np.ndarray = ((packets[:, 1] & 0x80) > 0) | (content > PACKET_BYTES[0]) | (starts & ~prefix)
    return broken
