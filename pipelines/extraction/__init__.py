"""Stage one: from video files to a feature store, on one process or on a cluster."""

from longvid.pipelines.extraction.inputs import VideoRequest, expand_inputs
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.run import extract
from longvid.pipelines.extraction.segment import extract_segment

__all__ = ["ExtractionJob", "VideoRequest", "expand_inputs", "extract", "extract_segment"]
