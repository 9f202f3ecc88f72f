"""Default widths in training: about as many parameters as ViS4mer.

ViS4mer and the other pyramids take their width from the tokens, 2.3 dim^2 parameters in all; a GRU of a fixed width of
128 would have a fifth of that at 1,024 features, and like would not be compared with like. So a training that names no
width gives these decoders one:

    GRU of width w       3 (dim w + w^2)          w = dim / 2        2.25 dim^2
    LSTM of width w      4 (dim w + w^2)          w = 2 dim / 5      2.24 dim^2
    10 dilated layers    dim w + 10 (4 w^2)       w = 2 dim / 9      2.20 dim^2
"""

from fractions import Fraction
from typing import Any

SHARES = {"gru": Fraction(1, 2), "lstm": Fraction(2, 5), "temporal-convolution": Fraction(2, 9)}
"""Width as a share of the tokens' width."""
NARROWEST = 32
"""Width below which none goes: with few features the pyramids are too narrow to compare with."""


def comparable_options(name: str, dim: int, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a training, with a width where the decoder's default is not comparable and none is given."""
    if name not in SHARES or "width" in options:
        return dict(options)
    return {**options, "width": max(NARROWEST, int(SHARES[name] * dim))}
