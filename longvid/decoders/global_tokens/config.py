"""Settings of the global-token decoder, and its presets."""

from dataclasses import dataclass
from typing import Any

from longvid.decoders.base import DecoderConfig, require_choice, require_positive
from longvid.errors import DecoderError

PARTS = ("tokens", "read", "write", "local", "gate", "dynamic-relu", "time-code")
"""What an ablation can leave out; without `tokens` nothing is read or written."""

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"width": 128, "token_dim": 128, "num_tokens": 8},
    "base": {"width": 256, "token_dim": 256, "num_tokens": 16},
    "large": {"width": 512, "token_dim": 256, "num_tokens": 16},
    "pyramid": {"width": 256, "token_dim": 256, "num_tokens": 16, "pool": 4},
}


@dataclass(frozen=True, kw_only=True)
class GlobalTokenConfig(DecoderConfig):
    """Settings of `GlobalTokenDecoder`; the defaults are the `base` preset."""

    width: int = 256
    """Channels of the positions."""
    num_tokens: int = 16
    token_dim: int = 256
    heads: int = 4
    dilations: tuple[int, ...] = (1, 4, 16, 64)
    """Of the local convolution, one a block."""
    kernel_size: int = 5
    expansion: int = 2
    pool: int = 1
    """Positions averaged into one after each block but the last: tokens of later blocks then read coarser scales."""
    queries: str = "fixed"
    """`fixed`: each block reads with queries of its own; `content`: with the incoming tokens (offline only)."""
    causal: bool = False
    """The streaming form: tokens see segments of `segment` positions one after the other, convolutions the past."""
    segment: int = 128
    read_chunk: int = 4096
    """Positions whose scores are in memory at once."""
    dropout: float = 0.1
    """Before the last layer of the head."""
    without: tuple[str, ...] = ()
    """Parts left out, for ablations; see `PARTS`."""
    checkpointing: bool = False
    """Recompute each block in the backward pass."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # plain lists come from JSON and YAML
        object.__setattr__(self, "dilations", tuple(self.dilations))
        object.__setattr__(self, "without", tuple(self.without))
        for name in ("width", "num_tokens", "token_dim", "heads", "kernel_size", "expansion", "pool", "segment"):
            require_positive(name, getattr(self, name))
        require_choice("queries", self.queries, ("fixed", "content"))
        for part in self.without:
            require_choice("without", part, PARTS)
        if not self.dilations:
            raise DecoderError("dilations=() names no block; give one number a block")
        for name in ("width", "token_dim"):
            if getattr(self, name) % self.heads:
                raise DecoderError(f"{name}={getattr(self, name)} cannot be cut into heads={self.heads}")
        if self.causal and self.queries == "content":
            raise DecoderError("queries='content' cannot stream: what was read under old queries cannot be reweighted")
        if self.causal and self.pool > 1:
            raise DecoderError(f"pool={self.pool} cannot stream: use pool=1 with causal=True")
        if "local" in self.without and "write" in self.without:
            raise DecoderError("without local and write nothing would ever change the positions")

    def has(self, part: str) -> bool:
        """Whether a part of `PARTS` is in; read and write need tokens."""
        if part in ("read", "write", "gate") and "tokens" in self.without:
            return False
        return part not in self.without
