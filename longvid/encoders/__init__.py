"""Short-range encoders, which turn a clip into tokens."""

from longvid.encoders.base import Encoder, EncoderOutput, EncoderSpec
from longvid.encoders.pooling import POOLINGS, pool
from longvid.encoders.registry import ENCODERS, EncoderEntry, build_encoder, encoder_table
from longvid.encoders.wrapping import wrap

__all__ = [
    "ENCODERS",
    "POOLINGS",
    "Encoder",
    "EncoderEntry",
    "EncoderOutput",
    "EncoderSpec",
    "build_encoder",
    "encoder_table",
    "pool",
    "wrap",
]
