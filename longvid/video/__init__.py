"""Reading videos: probing a file, then its frames by time.

Each name is imported when it is first used: a clip can be planned where no decoder is installed.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.video.metadata import Damage, HeaderMetadata, MeasuredTiming, VideoProbe
    from longvid.video.probing import probe
    from longvid.video.reader import iter_frames, require_sound

__all__ = [
    "Damage",
    "HeaderMetadata",
    "MeasuredTiming",
    "VideoProbe",
    "iter_frames",
    "probe",
    "require_sound",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "metadata": ["Damage", "HeaderMetadata", "MeasuredTiming", "VideoProbe"],
        "probing": ["probe"],
        "reader": ["iter_frames", "require_sound"],
    },
)
