"""The base of decoders made of stages that refine each other.

Each stage reads the probabilities of the one before.

Axis order inside: `batch channels length`, as in the authors' convolutions; the interface is `batch length dim`, as
everywhere. `valid` is (batch, 1, length), 1 on an item's own steps and 0 behind its end; None: nothing is padded.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longvid.decoders.base import Decoder, DecoderConfig
from longvid.decoders.sequence import checked_tokens, mean_over_time
from longvid.errors import DecoderError
from longvid.layers.masks import beyond
from longvid.validation import settings


@settings(DecoderError, kw_only=True)
class StagedConfig(DecoderConfig):
    """Settings that every decoder of stages has."""

    padding: Literal["masked", "official"] = "masked"
    """`masked`: an item of a padded batch gets what it gets alone. `official`: as in the authors' code, which is right
    for one video at a time: biases of the first layer (and statistics of norms) leak in from behind the end."""


class StagedDecoder(Decoder):
    """`run(x, valid)` gives the logits of every stage; the last stage's are the decoder's.

    `video` head: the mean of each stage's logits over an item's steps, which is a linear layer on mean features.
    """

    config: StagedConfig

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of the last stage."""
        return self.stages(tokens, lengths)[-1]

    def stages(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "stages batch *steps outputs"]:
        """Logits of every stage, the last one's last."""
        x = checked_tokens(tokens, lengths, dim=self.config.dim)
        x = tokens if self.config.padding == "official" else x
        valid = None if lengths is None else (~beyond(x, lengths)).transpose(1, 2).to(self.dtype)
        made = [logits.transpose(1, 2) for logits in self.run(x.to(self.dtype).transpose(1, 2), valid)]
        if self.config.head == "video":
            return torch.stack([mean_over_time(logits, lengths) for logits in made])
        return torch.stack(made)

    def run(
        self, x: Float[Tensor, "batch dim length"], valid: Float[Tensor, "batch 1 length"] | None
    ) -> list[Float[Tensor, "batch outputs length"]]:
        """Logits of every stage."""
        raise TypeError(f"{type(self).__name__} must define run(x, valid) -> logits of every stage")

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype


def cut(
    x: Float[Tensor, "batch channels length"], valid: Float[Tensor, "batch 1 length"] | None
) -> Float[Tensor, "batch channels length"]:
    """x with zeros behind each item's end."""
    return x if valid is None else x * valid


def chances(
    logits: Float[Tensor, "batch outputs length"], valid: Float[Tensor, "batch 1 length"] | None
) -> Float[Tensor, "batch outputs length"]:
    """Probabilities of the classes at each step, what the next stage reads."""
    return cut(logits.softmax(dim=1), valid)
