"""Where an encoder's weights come from: learned, drawn, or none at all.

The origin is held as fields; a recipe keeps one phrase of it:

| kind     | the weights                                  | in a recipe (`encoder_config["weights"]`)           |
|----------|----------------------------------------------|-----------------------------------------------------|
| `random` | drawn, not learned                           | `random (seed 3)`; `random` where no seed is known  |
| `loaded` | learned, from a file or a hub                | `loaded`: moved weights make the same features      |
| `none`   | there are none to learn                      | `none`                                              |

The phrase is part of a recipe's digest, so this file alone writes and reads it. Nothing else is read as it: a file
called `random-crops.safetensors` holds learned weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from longvid.encoders.base import NO_WEIGHTS, UNSEEDED, EncoderSpec

_SEEDED = re.compile(r"random \(seed (\d{1,20})\)")
"""A seed has 64 bits; a file may claim one of any length, which Python refuses to make a number of."""


@dataclass(frozen=True)
class WeightsOrigin:
    """Kind of the weights and, where they were drawn, the seed."""

    kind: Literal["random", "loaded", "none"]
    seed: int | None = None

    @classmethod
    def of_spec(cls, spec: EncoderSpec) -> "WeightsOrigin":
        """The origin that an encoder states."""
        if spec.weights == NO_WEIGHTS:
            return cls("none")
        if spec.weights_seed is not None or spec.weights == UNSEEDED:
            return cls("random", spec.weights_seed)
        return cls.of_phrase(spec.weights)  # encoders written for longvid 0.1.0 state no `weights_seed`

    @classmethod
    def of_recipe(cls, encoder_config: Mapping[str, Any]) -> "WeightsOrigin | None":
        """The origin that a recipe keeps; None where it keeps none, as for imported features."""
        return cls.of_phrase(str(encoder_config["weights"])) if "weights" in encoder_config else None

    @classmethod
    def of_phrase(cls, phrase: str) -> "WeightsOrigin":
        """The origin that `phrase` describes, to the letter; anything else is a place that weights were loaded from."""
        if phrase == NO_WEIGHTS:
            return cls("none")
        seeded = _SEEDED.fullmatch(phrase)
        if seeded or phrase == UNSEEDED:
            return cls("random", int(seeded[1]) if seeded else None)
        return cls("loaded")

    @property
    def phrase(self) -> str:
        """What a recipe keeps."""
        if self.kind == "random":
            return UNSEEDED if self.seed is None else f"{UNSEEDED} (seed {self.seed})"
        return self.kind
