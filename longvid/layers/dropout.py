"""Dropout of whole channels."""

from jaxtyping import Float
from torch import Tensor, nn


class ChannelDropout(nn.Module):
    """Drops whole channels of (batch, length, dim), for all time steps of an item at once."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Float[Tensor, "batch *length dim"]) -> Float[Tensor, "batch *length dim"]:
        """x times a mask (batch, 1, dim) in training; x itself in evaluation."""
        if not self.training or self.probability == 0:
            return x
        mask = x.new_ones(len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        return x * nn.functional.dropout(mask, self.probability)
