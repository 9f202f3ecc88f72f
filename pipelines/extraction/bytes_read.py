"""Bytes that a thread reads: what a video cost its disk or file server.

Linux counts what each thread reads from files. FFmpeg reads in the thread that asks for packets or frames, so the
difference between two looks is what was read of a video, together with the little that Python reads meanwhile.
Elsewhere nothing is counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_COUNTS = "/proc/thread-self/io"


@dataclass
class BytesRead:
    """Bytes read by the thread in a block; 0 before the end of the block, and where the system does not count."""

    number: int = 0


@contextmanager
def counting_bytes() -> Iterator[BytesRead]:
    """Count what this thread reads in the block."""
    read = BytesRead()
    before = bytes_so_far()
    try:
        yield read
    finally:
        read.number = max(0, bytes_so_far() - before)


def bytes_so_far() -> int:
    """Bytes that this thread has read since it started; 0 where the system does not count."""
    try:
        with open(_COUNTS, "rb") as counts:
            return int(counts.readline().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
