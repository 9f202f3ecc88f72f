"""The settings of one of several encoders that share one decoding."""

from dataclasses import field, fields
from typing import Any, Literal

from longvid.errors import ConfigError
from longvid.pooling_names import Pooling
from longvid.validation import Count, Whole, settings


@settings(ConfigError, kw_only=True)
class EncoderSettings:
    """One of several encoders that share one decoding, and its store."""

    encoder: str
    out: str
    option: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    seed: Whole = 0
    sampling: str | None = None
    pooling: Pooling | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    dtype: Literal["float16", "float32", "int8"] | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_clips: Count = 8
    clips_per_shard: Count = 64
    compression: str | None = None


PER_ENCODER = tuple(one.name for one in fields(EncoderSettings))
"""Names of the settings that each encoder has for itself."""
