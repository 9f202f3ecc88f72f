"""Whether a backend works on this machine, tested by decoding clips."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from longvid.errors import UnreadableVideo, short_reason
from longvid.video.backends.registry import BACKENDS
from longvid.video.numbered import numbered_picture, read_number
from longvid.video.probing import probe
from longvid.video.writing import write_video

NUM_FRAMES = 8


@dataclass(frozen=True)
class BackendStatus:
    """One row of what `longvid doctor` prints about backends."""

    name: str
    version: str | None
    """None where it cannot be imported."""
    works: bool
    reason: str
    """Why it does not work; empty if it does."""
    remedy: str
    """What to do about it; empty if it works."""


def check_all() -> list[BackendStatus]:
    """The status of every backend, in the order of `BACKENDS`."""
    return [check_backend(name) for name in BACKENDS]


@cache
def check_backend(name: str) -> BackendStatus:
    """Lets the backend decode clips of known pictures; done once per process, then remembered."""
    backend, version = BACKENDS[name], None
    try:
        version = backend.version()
        reason = _wrong_frames(name)
    except (ImportError, OSError, RuntimeError, UnreadableVideo) as error:
        reason = short_reason(error)
    return BackendStatus(name, version, not reason, reason, backend.remedy if reason else "")


def _wrong_frames(name: str) -> str:
    """What is wrong with the frames that the backend gives for newly made clips; empty if nothing is.

    Clips of two sizes are read in turns, and in the first one a later part before an earlier one.
    """
    (first, second), every = BACKENDS[name].check_sizes, list(range(0, NUM_FRAMES, 2))
    half = len(every) // 2
    with tempfile.TemporaryDirectory() as folder:
        clips = {size: probe(_write(Path(folder), *size)) for size in (first, second)}
        for size, wanted in (
            (first, every),
            (first, every[half:]),
            (first, every[:half]),
            (second, every),
            (first, every),
        ):
            height, width = size
            frames = BACKENDS[name].read_frames(
                clips[size], np.array(wanted), height=height, width=width, interpolation="bilinear", num_threads=1
            )
            got = [read_number(frame) for frame in frames]
            if got != wanted:
                return f"asked for frames {wanted} it gave {got}"
    return ""


def _write(folder: Path, height: int, width: int) -> Path:
    # MPEG-4 part 2 is in every build of FFmpeg, of any licence
    pictures = (numbered_picture(number, height, width) for number in range(NUM_FRAMES))
    return write_video(folder / f"{height}x{width}.mp4", pictures, codec="mpeg4", b_frames=0)
