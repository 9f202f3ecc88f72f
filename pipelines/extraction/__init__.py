"""Stage one: from video files to a feature store, here or on a cluster.

Importing this package loads no torch: each public name is imported when it is first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.pipelines.extraction.inputs import VideoRequest, expand_inputs
    from longvid.pipelines.extraction.job import ExtractionJob
    from longvid.pipelines.extraction.piece import extract_piece
    from longvid.pipelines.extraction.run import extract

__all__ = ["ExtractionJob", "VideoRequest", "expand_inputs", "extract", "extract_piece"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "inputs": ["VideoRequest", "expand_inputs"],
        "job": ["ExtractionJob"],
        "run": ["extract"],
        "piece": ["extract_piece"],
    },
)
