"""Long segments in chunks, each with a halo of neighbouring frames.

A frame sees one frame further to each side with every mixing block, so with a halo of as many frames as there are
mixing blocks every kept frame sees what it sees in one long pass. Numbers are the same but for rounding: a processor
may add up a batch of another size in another order.

    frames      0 1 2 3 4 5 6 7 8 9          chunks of 4, halo of 2
    chunk 0     [k k k k h h]
    chunk 1         [h h k k k k h h]        k kept, h halo
    chunk 2                 [h h k k]

At the two ends of the segment there is no halo to read, and the model's own zero fill applies.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Chunk(NamedTuple):
    """The frames of a segment to read, and which of those to keep."""

    read: slice
    keep: slice


def halo_chunks(num_frames: int, chunk_frames: int, halo_frames: int) -> Iterator[Chunk]:
    """Chunks whose kept frames tile a segment of `num_frames` frames in order."""
    for start in range(0, num_frames, chunk_frames):
        stop = min(start + chunk_frames, num_frames)
        read_start = max(0, start - halo_frames)
        read_stop = min(num_frames, stop + halo_frames)
        yield Chunk(slice(read_start, read_stop), slice(start - read_start, stop - read_start))
