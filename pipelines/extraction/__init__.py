"""Stage one: from video files to a feature store, here or on a cluster.

Importing this package loads no torch: each public name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvid.pipelines.extraction.inputs import VideoRequest, expand_inputs
    from longvid.pipelines.extraction.job import ExtractionJob
    from longvid.pipelines.extraction.run import extract
    from longvid.pipelines.extraction.segment import extract_segment

__all__ = ["ExtractionJob", "VideoRequest", "expand_inputs", "extract", "extract_segment"]

_HOMES = {
    "ExtractionJob": "job",
    "VideoRequest": "inputs",
    "expand_inputs": "inputs",
    "extract": "run",
    "extract_segment": "segment",
}
"""The module of this package that defines each public name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
