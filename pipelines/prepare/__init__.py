"""Official annotations and a folder of videos to a manifest: what is there, what is not, and what that does."""

from longvid.pipelines.prepare.run import Preparation, VideoStatus, prepare

__all__ = ["Preparation", "VideoStatus", "prepare"]
