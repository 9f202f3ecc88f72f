"""Nine named ways from an encoder's output to stored tokens.

| name           | stored tokens of a clip                                        |
|----------------|----------------------------------------------------------------|
| `tokens`       | every patch token, time-major: time x token                    |
| `class+tokens` | for each step its class token, then its patch tokens (ViS4mer) |
| `class`        | one class token per time step                                  |
| `spatial`      | mean over the patch tokens of each time step                   |
| `temporal`     | mean over time at each place                                   |
| `mean`         | one token: mean over time and place                            |
| `clip`         | one token: the architecture's own clip vector                  |
| `global`       | the few tokens that saw the whole clip (Mobile-Former)         |
| `embedding`    | one token: the clip in the space that the model shares with text |
"""

from collections.abc import Callable
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.encoders.base import EncoderOutput
from longvid.errors import EncoderError
from longvid.pooling_names import Pooling


def _need(part: Tensor | None, pooling: str, what: str) -> Tensor:
    if part is None:
        raise EncoderError(f"pooling={pooling!r}: this encoder has no {what}; choose another pooling")
    return part


def _class_and_tokens(output: EncoderOutput) -> Tensor:
    class_tokens = _need(output.class_tokens, "class+tokens", "class token per time step")
    return torch.cat([class_tokens.unsqueeze(2), output.tokens], dim=2).flatten(1, 2)


POOLINGS: dict[str, Callable[[EncoderOutput], Tensor]] = {
    "tokens": lambda output: output.tokens.flatten(1, 2),
    "class+tokens": _class_and_tokens,
    "class": lambda output: _need(output.class_tokens, "class", "class token per time step"),
    "spatial": lambda output: output.tokens.mean(dim=2),
    "temporal": lambda output: output.tokens.mean(dim=1),
    "mean": lambda output: output.tokens.mean(dim=(1, 2)).unsqueeze(1),
    "clip": lambda output: _need(output.clip, "clip", "clip vector").unsqueeze(1),
    "global": lambda output: _need(output.global_tokens, "global", "global tokens"),
    "embedding": lambda output: _need(output.embedding, "embedding", "vector in a space shared with text").unsqueeze(1),
}
assert tuple(POOLINGS) == get_args(Pooling)


def pool(output: EncoderOutput, pooling: str) -> Float[Tensor, "batch num_tokens dim"]:
    """Tokens to store for each clip, pooled in the named way.

    Raises `EncoderError` for an unknown name or for a part that this architecture does not have.
    """
    if pooling not in POOLINGS:
        raise EncoderError(f"pooling={pooling!r} is not one of {', '.join(POOLINGS)}")
    return POOLINGS[pooling](output)
