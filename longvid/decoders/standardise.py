"""Standardised features: a step before any decoder.

Mean and deviation come from the features of the training videos. Encoders without a final norm give features whose
constant part is far larger than what changes from clip to clip; a decoder that starts with a layer norm over channels
then sees little but the constants.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from longvid.decoders.base import Decoder, States

SMALLEST_DEVIATION = 1e-6
"""A feature with a smaller deviation keeps its scale: dividing by almost zero would amplify noise."""


Standard = tuple[np.ndarray, np.ndarray]
"""Mean of each feature, and one over its deviation, in float64."""


def standard_of(blocks: Iterable[Sequence[Float[np.ndarray, "..."]]]) -> list[Standard]:
    """The standard of each of several kinds of features, from blocks that hold some of every kind, in one pass."""
    from sklearn.preprocessing import StandardScaler  # takes a second to import, and is needed only here

    scalers: list[Any] = []
    for block in blocks:
        scalers = scalers or [StandardScaler() for _ in block]
        for scaler, features in zip(scalers, block, strict=True):
            scaler.partial_fit(features.reshape(-1, features.shape[-1]).astype(np.float64))
    found = []
    for scaler in scalers:
        deviation = np.sqrt(scaler.var_)
        deviation[deviation < SMALLEST_DEVIATION] = 1
        found.append((scaler.mean_, 1 / deviation))
    return found


class Standardised(Decoder):
    """`decoder` on features minus their mean, divided by their deviation. Before `fit` it changes nothing.

    `columns`: half-open ranges of the features that are standardised; None: all.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, decoder: Decoder, dim: int, *, columns: Sequence[tuple[int, int]] | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        self.config = decoder.config
        self.last_names = tuple(f"decoder.{name}" for name in decoder.last_names)
        self.head_names = tuple(f"decoder.{name}" for name in decoder.head_names)
        self.columns = [(0, dim)] if columns is None else list(columns)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, blocks: Iterable[Float[np.ndarray, "_ _ dim"]]) -> None:
        """Compute mean and deviation from blocks of features, in one pass and in float64."""
        [(mean, scale)] = standard_of([block] for block in blocks)
        for first, stop in self.columns:
            self.mean[first:stop] = torch.from_numpy(mean[first:stop])
            self.scale[first:stop] = torch.from_numpy(scale[first:stop])

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """What the decoder says to the standardised tokens."""
        logits: Tensor = self.decoder(self.standardised(tokens), lengths)
        return logits

    @property
    def min_tokens(self) -> int:
        """The decoder's own."""
        return self.decoder.min_tokens

    def state_widths(self) -> tuple[int, ...]:
        """The decoder's own."""
        return self.decoder.state_widths()

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The decoder's states for the standardised tokens."""
        return self.decoder.states(self.standardised(tokens), lengths)

    def past_widths(self) -> tuple[int, ...]:
        """The decoder's own."""
        return self.decoder.past_widths()

    def past_states(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> States:
        """The decoder's states for the standardised tokens."""
        return self.decoder.past_states(self.standardised(tokens), lengths)

    def stages(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "stages batch *steps outputs"]:
        """The decoder's stages on the standardised tokens."""
        return self.decoder.stages(self.standardised(tokens), lengths)

    def standardised(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length dim"]:
        """The tokens less the mean, over the deviation."""
        return (tokens.to(self.mean.dtype) - self.mean) * self.scale

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The decoder's own groups; mean and scale are not trained."""
        return self.decoder.param_groups(learning_rate, weight_decay)
