"""Maps as rows for Read and Write, and rows as maps again.

A clip's positions are one set of time x height x width; the tokens belong to the whole clip. Read, Former and Write are
those of `longvid.layers.tokens`.
"""

from jaxtyping import Float
from torch import Size, Tensor


def to_rows(
    features: Float[Tensor, "batch dim time height width"],
) -> Float[Tensor, "batch positions dim"]:
    """Each position's channels as a row, time-major; a view of a channels-last map."""
    return features.permute(0, 2, 3, 4, 1).flatten(1, 3)


def to_map(rows: Float[Tensor, "batch positions dim"], size: Size) -> Float[Tensor, "batch dim time height width"]:
    """The inverse, a channels-last map; size: (time, height, width)."""
    places: Tensor = rows.unflatten(1, size)
    return places.permute(0, 4, 1, 2, 3)
