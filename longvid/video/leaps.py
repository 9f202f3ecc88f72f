"""Impossible jumps of a video's clock.

One broken number in a file can make it last for days. But a frame may stay on screen for long, in a slide show or a
recording of a still screen, so a jump counts as wrong only where nothing else in the file lasts as long.
"""

import numpy as np
from jaxtyping import Float64

from longvid.errors import UnreadableVideo
from longvid.printable import as_argument
from longvid.video.demux import COVER_SECONDS, PacketPass

MOST_REORDERED = 64
"""Most frames between a frame's place in the file and its place on screen; codecs reorder 16 at most."""
LONGEST_FRAME_SECONDS = 3600.0
"""Longest time that a frame may stay on screen, unless another stream goes on meanwhile."""
LONG_FRAME_SECONDS = 60.0
"""The same where the header says that the whole file is shorter."""
LONGEST_MEAN_SECONDS = 1000.0
"""Longest mean time that frames may stay on screen."""


def require_steady_clock(name: str, packets: PacketPass, claimed_seconds: float | None) -> None:
    """Raise UnreadableVideo, which names the jump, where frames have times that cannot be true.

    `claimed_seconds` is the duration that the header states. Frames that stay on screen for hours while the sound goes
    on are accepted.
    """
    tick_seconds = float(packets.time_base)
    seconds = packets.pts * tick_seconds
    if packets.has_presentation_times:
        _require_order(name, seconds)
    last = int(np.argmax(seconds))
    in_order = np.unique(np.append(seconds, seconds[last] + max(int(packets.durations[last]), 0) * tick_seconds))
    if len(in_order) < 2:
        return
    gaps = np.diff(in_order)
    longest = int(np.argmax(gaps))
    gap, before = float(gaps[longest]), float(in_order[longest])
    contradicted = claimed_seconds is not None and in_order[-1] - in_order[0] > claimed_seconds + gap / 2
    is_leap = gap > LONGEST_FRAME_SECONDS or (gap > LONG_FRAME_SECONDS and contradicted)
    if is_leap and not _is_covered(packets, before, gap):
        cut_seconds = before - float(in_order[0])  # as FFmpeg counts
        cut = f", or cut it there: ffmpeg -i {as_argument(name)} -to {cut_seconds:.3f} -c copy cut.mkv"
        raise UnreadableVideo(
            f"{name}: its clock leaps from {before:.3f} s to {before + gap:.3f} s within one frame; "
            f"get a sound copy{cut if longest else ''}"
        )
    mean = float(gaps.mean())
    if mean > LONGEST_MEAN_SECONDS and not _is_covered(packets, float(in_order[0]), mean * len(gaps)):
        raise UnreadableVideo(
            f"{name}: its {len(seconds)} frames are said to last {mean * len(gaps) / 3600:.1f} hours, "
            f"{mean:.0f} s each; get a sound copy, or write its rate anew: "
            f"ffmpeg -r 25 -i {as_argument(name)} fixed.mkv"
        )


def _require_order(name: str, seconds: Float64[np.ndarray, "num_frames"]) -> None:
    """Raise UnreadableVideo for a frame that is stored among frames of a very different time."""
    order = np.argsort(seconds, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    displaced = np.abs(rank - np.arange(len(order)))
    if displaced.max(initial=0) <= MOST_REORDERED:
        return
    worst = int(np.argmax(displaced))
    neighbour = float(seconds[worst - 1] if worst else seconds[worst + 1])
    raise UnreadableVideo(
        f"{name}: its clock leaps from {neighbour:.3f} s to {float(seconds[worst]):.3f} s and back; get a sound copy"
    )


def _is_covered(packets: PacketPass, start_seconds: float, gap_seconds: float) -> bool:
    """Whether other streams have packets for at least half of the gap."""
    first, stop = start_seconds // COVER_SECONDS, (start_seconds + gap_seconds) // COVER_SECONDS
    covered = sum(first <= part <= stop for part in packets.covered_by_others)
    return covered >= (stop - first) / 2
