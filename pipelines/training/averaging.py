"""A moving average of a decoder's weights over the steps of its training."""

import copy

import torch
from torch import nn

from longvid.decoders import Decoder


def copy_of(decoder: Decoder) -> Decoder:
    """A decoder with the same weights that is never trained itself."""
    average = copy.deepcopy(decoder)
    return average.requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, decoder: nn.Module, *, steps: int, decay: float) -> None:
    """Move the average towards the weights after `steps` steps: average = d average + (1 - d) weights.

    d is the lower of `decay` and (1 + steps) / (10 + steps), so that the start soon weighs little.
    Buffers (statistics of features) are copied.
    """
    now = min(decay, (1 + steps) / (10 + steps))
    for mean, weight in zip(average.parameters(), decoder.parameters(), strict=True):
        mean.mul_(now).add_(weight, alpha=1 - now)
    for held, given in zip(average.buffers(), decoder.buffers(), strict=True):
        held.copy_(given)
