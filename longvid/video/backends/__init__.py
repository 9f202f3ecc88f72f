"""The decoders longvid can read with, behind one function each."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from jaxtyping import Int64

from longvid.preprocessing import Interpolation
from longvid.video.backends import pyav
from longvid.video.metadata import VideoProbe
from longvid.video.scaling import Frame


class ReadFrames(Protocol):
    """What a backend does: the frames at strictly increasing display positions, one by one."""

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
        """Upright RGB frames of the asked size. Raises UnreadableVideo rather than leave one out or take another."""


BACKENDS: dict[str, ReadFrames] = {"pyav": pyav.read_frames}
