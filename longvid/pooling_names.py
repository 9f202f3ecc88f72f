"""Names of the ways to pool an encoder's output; `longvid.encoders.pooling` says what each stores."""

from typing import Literal

Pooling = Literal["tokens", "class+tokens", "class", "spatial", "temporal", "mean", "clip", "global"]
"""Here, and not beside the functions, because a command line must know them before torch is loaded."""
