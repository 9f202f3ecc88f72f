"""Which steps of a padded batch are padding."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def beyond(x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"]) -> Bool[Tensor, "batch length 1"]:
    """True at and after each item's length."""
    position = torch.arange(x.shape[1], device=x.device)
    return (position >= lengths[:, None])[..., None]


def zero_beyond(
    x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch length dim"]:
    """x with zeros (even for NaN) at and after each item's length; x itself where `lengths` is None."""
    return x if lengths is None else x.masked_fill(beyond(x, lengths), 0.0)
