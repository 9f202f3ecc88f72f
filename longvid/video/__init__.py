"""Reading videos: probing a file, then its frames and clips by time."""

from longvid.video.metadata import Damage, HeaderMetadata, MeasuredTiming, VideoProbe
from longvid.video.probing import probe
from longvid.video.reader import iter_clips, iter_frames, require_sound
from longvid.video.salvage import damaged_clips, iter_clips_there

__all__ = [
    "Damage",
    "HeaderMetadata",
    "MeasuredTiming",
    "VideoProbe",
    "damaged_clips",
    "iter_clips",
    "iter_clips_there",
    "iter_frames",
    "probe",
    "require_sound",
]
