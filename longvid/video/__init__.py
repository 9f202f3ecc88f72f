"""Reading videos: what is in a file (`probe`), and its frames and clips by the second, in one forward pass."""

from longvid.video.metadata import Damage, HeaderMetadata, MeasuredTiming, VideoProbe
from longvid.video.probing import probe
from longvid.video.reader import iter_clips, iter_frames, require_sound

__all__ = [
    "Damage",
    "HeaderMetadata",
    "MeasuredTiming",
    "VideoProbe",
    "iter_clips",
    "iter_frames",
    "probe",
    "require_sound",
]
