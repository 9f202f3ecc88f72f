"""Whether a backend works on this machine, tested by decoding a clip."""

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
HEIGHT, WIDTH = 64, 80


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
    """Lets the backend decode a clip of known pictures; done once per process, then remembered."""
    backend, version = BACKENDS[name], None
    try:
        version = backend.version()
        reason = _wrong_frames(name)
    except (ImportError, OSError, RuntimeError, UnreadableVideo) as error:
        reason = short_reason(error)
    return BackendStatus(name, version, not reason, reason, backend.remedy if reason else "")


def _wrong_frames(name: str) -> str:
    """What is wrong with the frames that the backend gives for a newly made clip; empty if nothing is."""
    wanted = list(range(0, NUM_FRAMES, 2))
    with tempfile.TemporaryDirectory() as folder:
        # MPEG-4 part 2 is in every build of FFmpeg, of any licence
        pictures = (numbered_picture(number, HEIGHT, WIDTH) for number in range(NUM_FRAMES))
        path = write_video(Path(folder) / "check.mp4", pictures, codec="mpeg4", b_frames=0)
        frames = BACKENDS[name].read_frames(
            probe(path), np.array(wanted), height=HEIGHT, width=WIDTH, interpolation="bilinear", num_threads=1
        )
        got = [read_number(frame) for frame in frames]
    return "" if got == wanted else f"asked for frames {wanted} it gave {got}"
