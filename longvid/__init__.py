"""Long videos to features once, long-range models over them many times.

Importing this package loads nothing heavy: each public name is imported when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "ClipPlan": "longvid.sampling",
    "Decoder": "longvid.decoders",
    "Encoder": "longvid.encoders",
    "Preprocessing": "longvid.preprocessing",
    "Sampling": "longvid.sampling",
    "WindowDataset": "longvid.data",
    "build_decoder": "longvid.decoders",
    "build_encoder": "longvid.encoders",
    "iter_clips": "longvid.video",
    "iter_frames": "longvid.video",
    "probe": "longvid.video",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'longvid' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
