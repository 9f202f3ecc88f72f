"""Clips of a video: which frames they hold, how frames are prepared.

Each name is imported when it is first used: a clip can be planned where no decoder is installed.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.clips.preprocessing import Preprocessing
    from longvid.clips.reading import damaged_clips, iter_clips, iter_clips_there
    from longvid.clips.sampling import ClipPlan, Sampling

__all__ = [
    "ClipPlan",
    "Preprocessing",
    "Sampling",
    "damaged_clips",
    "iter_clips",
    "iter_clips_there",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "preprocessing": ["Preprocessing"],
        "reading": ["damaged_clips", "iter_clips", "iter_clips_there"],
        "sampling": ["ClipPlan", "Sampling"],
    },
)
