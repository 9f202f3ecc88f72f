"""Reading videos: what is in a file (`probe`), and its frames and clips by the second, in one forward pass."""

from longvid.video.metadata import HeaderMetadata, MeasuredTiming, VideoProbe
from longvid.video.probing import probe
from longvid.video.reader import iter_clips, iter_frames

__all__ = ["HeaderMetadata", "MeasuredTiming", "VideoProbe", "iter_clips", "iter_frames", "probe"]
