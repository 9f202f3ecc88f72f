"""The truncated smoothing loss, for neighbouring steps to answer alike.

    mean over classes and steps of min( (log p_t - log p_(t-1))^2, 16 )

It is added to the cross-entropy of every stage. Its three published readings differ where nobody looks: in whether
padding counts, and in whether step t - 1 is pulled towards step t as well.

    reading        padding                         earlier step    usual weight
    valid          left out of sum and divisor     held            0.15
    ms-tcn         left out of the sum only        held            0.15 (DiffAct 0.025 on Breakfast)
    ltcontext      counts                          held            0.17
    fact           counts                          pulled too      5.0

`valid` is ours: a batch of any lengths gives what its videos give one by one. The published weights belong to 15 steps
per second; where steps are rarer, neighbours differ more often, and the same weight smooths short actions away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longvid.layers.masks import beyond

Reading = Literal["valid", "ms-tcn", "ltcontext", "fact"]


@dataclass(frozen=True)
class SmoothingReading:
    """One published form of the loss."""

    weight: float
    """The authors' factor beside the cross-entropy."""
    padding: Literal["left out", "zero", "counts"]
    """`zero`: padded steps add nothing, and are still divided by."""
    earlier_held: bool
    """Whether the gradient flows into the later of two steps only."""


SMOOTHING: Mapping[str, SmoothingReading] = MappingProxyType(
    {
        "valid": SmoothingReading(0.15, "left out", True),
        "ms-tcn": SmoothingReading(0.15, "zero", True),
        "ltcontext": SmoothingReading(0.17, "counts", True),
        "fact": SmoothingReading(5.0, "counts", False),
    }
)
LARGEST_SQUARE = 16.0
"""Squares above this are cut off: at a true border a jump costs no more."""


def smoothing_loss(
    logits: Float[Tensor, "batch length outputs"],
    lengths: Int[Tensor, " batch"] | None = None,
    *,
    reading: Reading = "valid",
) -> Float[Tensor, ""]:
    """The loss of one stage, without its weight; 0 for sequences of a single step.

    lengths: steps of each item that are not padding; None: all.
    """
    rule = SMOOTHING[reading]
    chances = logits.log_softmax(dim=-1)
    earlier = chances[:, :-1].detach() if rule.earlier_held else chances[:, :-1]
    squares = (chances[:, 1:] - earlier).square().clamp(max=LARGEST_SQUARE)
    if squares.shape[1] == 0:
        return logits.sum() * 0.0
    if rule.padding == "counts" or lengths is None:
        return squares.mean()
    inside = ~beyond(logits, lengths)[:, 1:]
    total = torch.where(inside, squares, 0.0).sum()
    count = inside.sum().clamp(min=1) * squares.shape[-1] if rule.padding == "left out" else squares.numel()
    return total / count
