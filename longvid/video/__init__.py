"""Reading videos: probing a file, then its frames and clips by time."""

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
