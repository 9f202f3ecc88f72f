"""Stage one: from video files to a feature store, on one process or on a cluster."""

from pipelines.extract.inputs import VideoRequest, expand_inputs
from pipelines.extract.job import ExtractionJob
from pipelines.extract.run import extract
from pipelines.extract.segment import extract_segment

__all__ = ["ExtractionJob", "VideoRequest", "expand_inputs", "extract", "extract_segment"]
