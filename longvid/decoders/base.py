"""What every long-range decoder is: a module from a sequence of tokens to scores.

Axis order: sequences are `batch length dim`. `lengths` says how many leading tokens of each item are real; a padded
batch gives each item exactly what it gets alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn


class Decoder(nn.Module):
    """A module with a frozen `config`; `forward(tokens, lengths)` gives logits (batch, outputs)."""

    config: Any

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Scores of each item; raw logits, no softmax."""
        raise TypeError(f"{type(self).__name__} must define forward(tokens, lengths) -> logits")

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups that hold every trainable parameter exactly once."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [{"params": parameters, "lr": learning_rate, "weight_decay": weight_decay}]


@dataclass(frozen=True)
class DecoderEntry:
    """One row of `DECODERS`: the config class, the module class that takes it, and one line about it."""

    config: type
    module: Callable[[Any], Decoder]
    summary: str
