"""Names of the ways to pool an encoder's output."""

from typing import Literal

Pooling = Literal["tokens", "class+tokens", "class", "spatial", "temporal", "mean", "clip", "global", "embedding"]
"""`longvid.encoders.pooling` says what each stores; the names are here so that a command line needs no torch."""
