"""What every long-range decoder is: a module from a sequence of tokens to scores.

Axis order: sequences are `batch length dim`. `lengths` says how many leading tokens of each item are real; what stands
beyond them, NaN included, reaches no score and no gradient, so a padded batch gives each item what it gets alone (to
rounding: other shapes may be added up in another order).

Classification, multi-label classification and regression differ in their loss, not in the decoder: all read the logits
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
    """What every decoder has to be told."""

    dim: Count
    """Width of the tokens that come in."""
    outputs: Count
    """Classes, labels or regressed values."""
    head: Literal["video", "steps"] = "video"
    """`video`: logits (batch, outputs); `steps`: logits (batch, length, outputs)."""


class Decoder(nn.Module):
    """A module with a frozen `config`; `forward(tokens, lengths)` gives logits (batch, outputs)."""

    config: Any
    dynamics_learning_rate: float = 1e-3
    """Highest learning rate of parameters that set the time scales of a state-space layer (the S4 papers' choice)."""

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Scores of each item; raw logits, no softmax. Scores of padded steps mean nothing."""
        raise TypeError(f"{type(self).__name__} must define forward(tokens, lengths) -> logits")

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups that hold every trainable parameter exactly once.

        Parameters that a state-space mixer names as its dynamics are not decayed and learn at most at
        `dynamics_learning_rate`; everything else has the given rate and decay.
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
        """Forget kernels and tables that state-space layers keep in evaluation.

        Needed only after a write into a parameter through `.data`, which torch does not count as a change; `eval()`
        and `train()` do it too.
        """
        for module in self.modules():
            if isinstance(module, HasCaches) and not isinstance(module, Decoder):
                module.drop_caches()

    def rescale_time(self, factor: int | float) -> int:
        """Adapt trained weights to `factor` times as many tokens a second: every step size shrinks by that factor.

        A state-space layer is a system in continuous time, so on features taken twice as often it then sees what it
        was trained on (S4, arXiv 2111.00396, section 4.3). Gives the number of layers that have step sizes: 0 for a
        decoder without any, which stays as it was. Raises DecoderError for a factor that is not positive.
        """
        if not 0 < factor < math.inf:
            raise DecoderError(f"factor={factor} must be a positive number: tokens a second now, over tokens before")
        scaled = [
            module for module in self.modules() if isinstance(module, HasTimeScale) and not isinstance(module, Decoder)
        ]
        for layer in scaled:
            layer.rescale_time(factor)
        return len(scaled)


@dataclass(frozen=True)
class DecoderEntry:
    """One row of `DECODERS`: the config class, the module class that takes it, and one line about it."""

    config: type
    module: Callable[[Any], Decoder]
    summary: str
