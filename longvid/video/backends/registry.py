"""The definition of a backend, and the dict of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from longvid.video.backends import decord, pyav, torchcodec, torchcodec_cuda
from longvid.video.frames import Frame, FramesWanted, Interpolation
from longvid.video.metadata import VideoProbe


@runtime_checkable
class ReadFrames(Protocol):
    """The function of a backend: yields the frames at strictly increasing display positions."""

    def __call__(
        self,
        video: VideoProbe,
        indices: Int64[np.ndarray, "frames"],
        *,
        height: int,
        width: int,
        interpolation: Interpolation,
        num_threads: int,
    ) -> Iterator[Frame]:
        """Upright RGB frames of the given size. Raises UnreadableVideo rather than omit or replace a frame."""


@runtime_checkable
class ReadTogether(Protocol):
    """The function of a backend that serves several readers by decoding once."""

    def __call__(
        self, video: VideoProbe, wanted: Sequence[FramesWanted], *, num_threads: int
    ) -> Iterator[tuple[int, int, Frame]]:
        """Display position, number of the reader, and frame, in order of position. Frames are those of `ReadFrames`."""


@dataclass(frozen=True)
class Backend:
    """One backend: functions for reading and for its version, and what to do where it does not run."""

    read_frames: ReadFrames
    version: Callable[[], str]
    remedy: str
    decodes: Callable[[str], bool] = lambda codec: True
    """Whether it has a decoder for a codec, given by FFmpeg's name."""
    in_auto: bool = True
    """Whether `auto` may take it; if not, it is used only where it is named."""
    has_own_pixels: bool = False
    """Whether its frames differ so much from those of the others that a recipe names it."""
    check_sizes: tuple[tuple[int, int], ...] = ((64, 80), (80, 64))
    """Height and width of the videos by which it is checked."""
    read_together: ReadTogether | None = None
    """None: several readers decode once each."""


BACKENDS: dict[str, Backend] = {
    "pyav": Backend(
        pyav.read_frames,
        pyav.version,
        "pip install --force-reinstall av",
        pyav.decodes,
        read_together=pyav.read_together,
    ),
    "torchcodec": Backend(
        torchcodec.read_frames,
        torchcodec.version,
        "pip install torchcodec in a version made for your torch, and FFmpeg's shared libraries (apt install ffmpeg)",
    ),
    "torchcodec-cuda": Backend(
        torchcodec_cuda.read_frames,
        torchcodec_cuda.version,
        "a NVIDIA GPU, torch and torchcodec built for CUDA, and FFmpeg with NVDEC",
        in_auto=False,
        has_own_pixels=True,
        check_sizes=((360, 640), (720, 1280)),
    ),
    "decord": Backend(
        decord.read_frames,
        decord.version,
        "pip install decord (there are wheels for Linux on x86-64 only)",
        in_auto=False,  # unmaintained, and its old FFmpeg cannot decode what PyAV cannot
    ),
}
"""The backends by name, in the order in which `auto` tries them."""
