"""Settings of the global-token decoder, and its presets."""

from typing import Any, Literal, get_args

from longvid.decoders.base import DecoderConfig
from longvid.errors import DecoderError
from longvid.validation import Count, Share, settings

Part = Literal["tokens", "read", "write", "local", "gate", "dynamic-relu", "time-code"]
PARTS: tuple[Part, ...] = get_args(Part)
"""Parts that an ablation can leave out; without `tokens` nothing is read or written."""

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"width": 128, "token_dim": 128, "num_tokens": 8},
    "base": {"width": 256, "token_dim": 256, "num_tokens": 16},
    "large": {"width": 512, "token_dim": 256, "num_tokens": 16},
    "pyramid": {"width": 256, "token_dim": 256, "num_tokens": 16, "pool": 4},
}


@settings(DecoderError, kw_only=True)
class GlobalTokenConfig(DecoderConfig):
    """Settings of `GlobalTokenDecoder`; the defaults are the `base` preset."""

    width: Count = 256
    """Channels of the positions."""
    num_tokens: Count = 16
    """Global tokens."""
    token_dim: Count = 256
    """Width of a global token."""
    heads: Count = 4
    """Attention heads of the tokens."""
    dilations: tuple[Count, ...] = (1, 4, 16, 64)
    """Dilations of the local convolutions, one per block."""
    kernel_size: Count = 5
    """Taps of the local convolutions."""
    expansion: Count = 2
    """Width of the hidden layer of a block, as a multiple of `width`."""
    pool: Count = 1
    """Positions averaged into one after each block except the last, so that later blocks read coarser scales."""
    queries: Literal["fixed", "content"] = "fixed"
    """`fixed`: each block reads with learned queries of its own; `content`: with the incoming tokens (offline only)."""
    causal: bool = False
    """The streaming form: tokens read one segment of `segment` positions after the other, convolutions see the past."""
    segment: Count = 128
    """`causal`: positions that the tokens read at once."""
    read_chunk: Count = 4096
    """Positions whose attention scores are in memory at once."""
    dropout: Share = 0.1
    """Dropout before the last layer of the head."""
    without: tuple[Part, ...] = ()
    """Parts left out, for ablations; see `PARTS`."""
    checkpointing: bool = False
    """Recompute each block in the backward pass, to save memory."""

    def __post_init__(self) -> None:
        if not self.dilations:
            raise DecoderError("dilations=() names no block; give one number per block")
        for name in ("width", "token_dim"):
            if getattr(self, name) % self.heads:
                raise DecoderError(f"{name}={getattr(self, name)} cannot be cut into heads={self.heads}")
        if self.causal and self.queries == "content":
            raise DecoderError("queries='content' cannot stream: what was read under old queries cannot be reweighted")
        if self.causal and self.pool > 1:
            raise DecoderError(f"pool={self.pool} cannot stream: use pool=1 with causal=True")
        if "local" in self.without and "write" in self.without:
            raise DecoderError("without local and write nothing changes the positions; leave one in")

    def has(self, part: str) -> bool:
        """Whether a part of `PARTS` is present; read and write need tokens."""
        if part in ("read", "write", "gate") and "tokens" in self.without:
            return False
        return part not in self.without
