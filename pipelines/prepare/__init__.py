"""From official annotations and a folder of videos to a manifest."""

from longvid.pipelines.prepare.run import Preparation, VideoStatus, prepare

__all__ = ["Preparation", "VideoStatus", "prepare"]
