"""The base of long-range decoders: from a sequence of tokens to scores.

Axis order: sequences are `batch length dim`. `lengths` says how many leading tokens of each item are real; padding
after them, even NaN, affects no score and no gradient, so an item in a padded batch gets the same scores as alone (up
to rounding: sums over other shapes may be in another order).

Classification, multi-label classification and regression differ in their loss, not in the decoder: all use the logits
of the `video` head. The `steps` head gives logits for every token (dense prediction).

Pretraining reads a decoder below its head: `states` are what its layers made of the tokens, at every scale, and
`past_states` the same for decoders in which a state depends on no later token (`longvid.pretraining`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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


class StateScale(NamedTuple):
    """States of one scale: state i was made of the tokens `i * stride` up to `(i + 1) * stride`, and of their past or
    surroundings."""

    states: Float[Tensor, "batch steps width"]
    lengths: Int[Tensor, " batch"] | None
    """How many states of each item are real; none: all."""
    stride: int


class States(NamedTuple):
    """What a decoder's layers made of a sequence, before any head."""

    scales: tuple[StateScale, ...]
    tokens: Float[Tensor, "batch num_tokens token_dim"] | None = None
    """The global tokens after the last block, where there are any."""


class Decoder(nn.Module):
    """A module with a frozen `config`; `forward(tokens, lengths)` gives logits (batch, outputs)."""

    config: Any
    head_names: tuple[str, ...] = ("head", "linear")
    """Submodules that turn states into logits: what a decoder does not take over from a pretraining."""
    last_names: tuple[str, ...] = ()
    """Submodules between the last layer and the head."""
    dynamics_learning_rate: float = 1e-3
    """Upper limit of the learning rate for a state-space layer's time scales (the S4 papers' choice)."""

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Scores of each item; raw logits, no softmax. Scores of padded steps are meaningless."""
        raise TypeError(f"{type(self).__name__} must define forward(tokens, lengths) -> logits")

    @property
    def min_tokens(self) -> int:
        """The shortest sequence that it accepts."""
        return 1

    def state_widths(self) -> tuple[int, ...]:
        """Width of each scale of `states`. Raises DecoderError for a decoder that has none."""
        raise DecoderError(
            f"{type(self).__name__} cannot be pretrained: it shows no states of layers that mix time; "
            "use another decoder, or give it state_widths() and states()"
        )

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """States of scales that have mixed time; the tokens themselves, which show nothing new, are left out."""
        self.state_widths()
        raise TypeError(f"{type(self).__name__} must define states(tokens, lengths) beside state_widths()")

    def past_widths(self) -> tuple[int, ...]:
        """Width of each scale of `past_states`. Raises DecoderError where a state depends on later tokens."""
        raise DecoderError(
            f"{type(self).__name__} sees the future, so that predicting it teaches nothing: use objective.name=masked, "
            "or a causal decoder (vis4mer, selective-scan, lstm, gru, global-tokens with causal=true)"
        )

    def past_states(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> States:
        """States that depend on no token after their own last one; a state may be read once that token is there."""
        self.past_widths()
        raise TypeError(f"{type(self).__name__} must define past_states(tokens, lengths) beside past_widths()")

    def stages(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "stages batch *steps outputs"]:
        """Logits of every stage that training supervises, the decoder's own last; most decoders have one."""
        logits: Tensor = self(tokens, lengths)
        return logits[None]

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
