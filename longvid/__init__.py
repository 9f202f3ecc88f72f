"""Features of long videos, extracted once, and long-range models on them.

Importing this package loads nothing heavy: each public name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvid.checkpoints import load_official, load_weights, save_weights
    from longvid.clips.preprocessing import Preprocessing
    from longvid.clips.sampling import ClipPlan, Sampling
    from longvid.decoders import DECODERS, Decoder, build_decoder
    from longvid.encoders import ENCODERS, Encoder, EncoderOutput, EncoderSpec, build_encoder, wrap
    from longvid.errors import LongvidError
    from longvid.trained import load_decoder
    from longvid.video import VideoProbe, iter_clips, iter_frames, probe
    from longvid.windows import WindowDataset

__version__ = "0.1.0"

__all__ = [
    "DECODERS",
    "ENCODERS",
    "ClipPlan",
    "Decoder",
    "Encoder",
    "EncoderOutput",
    "EncoderSpec",
    "LongvidError",
    "Preprocessing",
    "Sampling",
    "VideoProbe",
    "WindowDataset",
    "build_decoder",
    "build_encoder",
    "iter_clips",
    "iter_frames",
    "load_decoder",
    "load_official",
    "load_weights",
    "probe",
    "save_weights",
    "wrap",
]

_HOMES = {
    "longvid.windows": ("WindowDataset",),
    "longvid.decoders": ("DECODERS", "Decoder", "build_decoder"),
    "longvid.encoders": ("ENCODERS", "Encoder", "EncoderOutput", "EncoderSpec", "build_encoder", "wrap"),
    "longvid.errors": ("LongvidError",),
    "longvid.clips.preprocessing": ("Preprocessing",),
    "longvid.clips.sampling": ("ClipPlan", "Sampling"),
    "longvid.trained": ("load_decoder",),
    "longvid.video": ("VideoProbe", "iter_clips", "iter_frames", "probe"),
    "longvid.checkpoints": ("load_official", "load_weights", "save_weights"),
}
"""Where each public name is defined."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'longvid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
