"""Features of long videos, extracted once, and long-range models on them.

Importing this package loads nothing heavy: each public name is imported when it is first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.checkpoints import load_official, load_weights, save_weights
    from longvid.clips import ClipPlan, Preprocessing, Sampling, iter_clips
    from longvid.decoders import DECODERS, Decoder, build_decoder
    from longvid.decoders.exporting import export_decoder, export_onnx
    from longvid.encoders import ENCODERS, Encoder, EncoderOutput, EncoderSpec, build_encoder, wrap
    from longvid.errors import LongvidError
    from longvid.trained import load_decoder
    from longvid.video import VideoProbe, iter_frames, probe
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
    "export_decoder",
    "export_onnx",
    "iter_clips",
    "iter_frames",
    "load_decoder",
    "load_official",
    "load_weights",
    "probe",
    "save_weights",
    "wrap",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpoints": ["load_official", "load_weights", "save_weights"],
        "clips": ["ClipPlan", "Preprocessing", "Sampling", "iter_clips"],
        "decoders": ["DECODERS", "Decoder", "build_decoder"],
        "decoders.exporting": ["export_decoder", "export_onnx"],
        "encoders": ["ENCODERS", "Encoder", "EncoderOutput", "EncoderSpec", "build_encoder", "wrap"],
        "errors": ["LongvidError"],
        "trained": ["load_decoder"],
        "video": ["VideoProbe", "iter_frames", "probe"],
        "windows": ["WindowDataset"],
    },
)
