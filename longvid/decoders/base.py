"""The base of long-range decoders: from a sequence of tokens to scores.

Axis order: sequences are `batch length dim`. `lengths` says how many leading tokens of each item are real; padding
after them, even NaN, affects no score and no gradient, so an item in a padded batch gets the same scores as alone (up
to rounding: sums over other shapes may be in another order).

Classification, multi-label classification and regression differ in their loss, not in the decoder: all use the logits
of the `video` head. The `steps` head gives logits for every token (dense prediction).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from longvid.errors import DecoderError
from longvid.ssm.config import HasCaches, HasDynamics, HasTimeScale
from longvid.validation import Count, settings


@settings(DecoderError, kw_only=True)
class DecoderConfig:
    """Settings that every decoder has."""

    dim: Count
    """Width of the input tokens."""
    outputs: Count
    """Classes, labels or regressed values."""
    head: Literal["video", "steps"] = "video"
    """`video`: logits (batch, outputs); `steps`: logits (batch, length, outputs)."""


class Decoder(nn.Module):
    """A module with a frozen `config`; `forward(tokens, lengths)` gives logits (batch, outputs)."""

    config: Any
    dynamics_learning_rate: float = 1e-3
    """Upper limit of the learning rate for a state-space layer's time scales (the S4 papers' choice)."""

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Scores of each item; raw logits, no softmax. Scores of padded steps are meaningless."""
        raise TypeError(f"{type(self).__name__} must define forward(tokens, lengths) -> logits")

    def stages(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "stages batch *steps outputs"]:
        """Logits of every stage that training supervises, the decoder's own last; most decoders have one."""
        return self(tokens, lengths)[None]

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups that hold every trainable parameter exactly once.

        Parameters that a state-space mixer names as its dynamics have no weight decay and a learning rate of at most
        `dynamics_learning_rate`; all others have the given rate and decay.
        """
        gentle = {
            id(parameter): parameter
            for module in self.modules()
            if isinstance(module, HasDynamics)
            for parameter in module.dynamics_parameters()
            if parameter.requires_grad
        }
        plain = [p for p in self.parameters() if p.requires_grad and id(p) not in gentle]
        groups: list[dict[str, Any]] = [{"params": plain, "lr": learning_rate, "weight_decay": weight_decay}]
        if gentle:
            rate = min(learning_rate, self.dynamics_learning_rate)
            groups.append({"params": list(gentle.values()), "lr": rate, "weight_decay": 0.0})
        return groups

    def drop_caches(self) -> None:
        """Drop kernels and tables that state-space layers keep in evaluation.

        Needed only after a write into a parameter through `.data`, which torch does not count as a change; `eval()`
        and `train()` do it too.
        """
        for module in self.modules():
            if isinstance(module, HasCaches) and not isinstance(module, Decoder):
                module.drop_caches()

    def rescale_time(self, factor: int | float) -> int:
        """Adapt trained weights to `factor` times as many tokens per second: step sizes are divided by that factor.

        A state-space layer is a system in continuous time, so on features taken twice as often it then sees what it
        was trained on (S4, arXiv 2111.00396, section 4.3). Returns the number of layers with step sizes: 0 for a
        decoder without any, which does not change. Raises DecoderError for a factor that is not positive.
        """
        if not 0 < factor < math.inf:
            raise DecoderError(
                f"factor={factor} must be a positive number: tokens per second now, divided by those in training"
            )
        scaled = [
            module for module in self.modules() if isinstance(module, HasTimeScale) and not isinstance(module, Decoder)
        ]
        for layer in scaled:
            layer.rescale_time(factor)
        return len(scaled)


@dataclass(frozen=True)
class DecoderEntry:
    """One row of `DECODERS`: the config class, the module class that takes it, and a one-line summary."""

    config: type
    module: Callable[[Any], Decoder]
    summary: str
