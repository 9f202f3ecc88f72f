"""Baseline: pooling over time and one linear layer, blind to order."""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from longvid.decoders.base import Decoder, DecoderConfig
from longvid.decoders.sequence import checked_tokens, max_over_time, mean_over_time
from longvid.errors import DecoderError
from longvid.validation import settings

Pooling = Literal["mean", "max"]


@settings(DecoderError, kw_only=True)
class PooledConfig(DecoderConfig):
    """Settings of `PooledLinear`."""

    pooling: Pooling = "mean"
    """What is taken over the tokens of an item."""


@settings(DecoderError, kw_only=True)
class MaxPooledConfig(PooledConfig):
    """`PooledConfig` with the maximum as its default."""

    pooling: Pooling = "max"


class PooledLinear(Decoder):
    """Mean or maximum over an item's tokens, then a linear layer; the `steps` head is the linear layer alone."""

    def __init__(self, config: PooledConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.dim, config.outputs)

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item."""
        tokens = checked_tokens(tokens, lengths, dim=self.config.dim)
        if self.config.head != "steps":
            pool = mean_over_time if self.config.pooling == "mean" else max_over_time
            tokens = pool(tokens, lengths)
        logits: Tensor = self.linear(tokens)
        return logits
