"""The backend torchcodec-cuda: frames decoded by the GPU's own decoder.

Its pixels differ from those of every other backend, by more where chroma changes, so a recipe names it, and `auto`
never takes it. It is admitted on a machine only after numbered pictures of two sizes, in one process, and a seek
backwards came out right (`check_backend`). A codec that the GPU does not decode is refused: torchcodec would decode
it on a CPU without a word, with other pixels.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from longvid.video.backends import torchcodec
from longvid.video.frames import Frame, Interpolation
from longvid.video.metadata import VideoProbe

DEVICE = "cuda"


def version() -> str:
    """torchcodec's own version. Raises RuntimeError where torch sees no GPU."""
    import torch

    found = torchcodec.version()
    if not torch.cuda.is_available():
        raise RuntimeError("torch sees no CUDA device")
    return found


def read_frames(
    video: VideoProbe,
    indices: Int64[np.ndarray, "frames"],
    *,
    height: int,
    width: int,
    interpolation: Interpolation,
    num_threads: int,
) -> Iterator[Frame]:
    """Yields the frames at strictly increasing display positions, see `backends.ReadFrames`."""
    return torchcodec.frames_on(
        DEVICE, video, indices, height=height, width=width, interpolation=interpolation, num_threads=num_threads
    )
