"""A code of time, added to tokens for layers that ignore order."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

ABSOLUTE_FREQUENCIES = 16
SLOWEST_CYCLE, FASTEST_CYCLE = 8192, 4
"""Positions per cycle of the absolute code."""
NORMALISED_OCTAVES = 8


class TimeCode(nn.Module):
    """A learned linear map of sines and cosines of time, to be added once to the tokens.

    Absolute time counts tokens from the start, with log-spaced frequencies. Normalised time, t over the item's length,
    is used too where the whole item is known; a stream has absolute time only. The weights start small but not at zero:
    Read does not project its keys, so the code must be in them. Their scale is a compromise: the order of two events
    takes 350 steps to learn at 0.02, 200 at 0.1, and is never learned at 0.3; finding one event is easier with a
    smaller scale.
    """

    absolute: Tensor
    octaves: Tensor

    def __init__(self, dim: int, *, normalised: bool) -> None:
        super().__init__()
        cycles = torch.logspace(math.log10(SLOWEST_CYCLE), math.log10(FASTEST_CYCLE), ABSOLUTE_FREQUENCIES)
        self.register_buffer("absolute", 2 * math.pi / cycles.double(), persistent=False)
        self.register_buffer("octaves", math.pi * 2.0 ** torch.arange(NORMALISED_OCTAVES).double(), persistent=False)
        features = 2 * ABSOLUTE_FREQUENCIES + 1 + (2 * NORMALISED_OCTAVES + 1 if normalised else 0)
        self.normalised = normalised
        self.linear = nn.Linear(features, dim, bias=False)
        nn.init.normal_(self.linear.weight, std=0.05)

    def forward(
        self, length: int, lengths: Int[Tensor, " batch"] | None = None, *, first: int = 0
    ) -> Float[Tensor, "items length dim"]:
        """Codes of `length` tokens from index `first` on; one row for all items, or one each where lengths differ."""
        position = torch.arange(first, first + length, device=self.absolute.device, dtype=torch.float64)[None]
        parts = [*_waves(position, self.absolute), position[..., None] * (2 / SLOWEST_CYCLE)]
        if self.normalised:
            # in float64: an angle of 1e5 radians has no phase left in float32
            ends = torch.tensor([length], device=position.device) if lengths is None else lengths
            share = position / ends[:, None]
            parts = [part.expand(len(share), -1, -1) for part in parts]
            parts += [*_waves(share, self.octaves), share[..., None]]
        weight = self.linear.weight
        code: Tensor = self.linear(torch.cat(parts, dim=-1).to(weight.dtype))
        return code


def _waves(time: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    angle = time[..., None] * frequencies
    return angle.sin(), angle.cos()
