"""From features to logits: one row per item, or one row per step."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.decoders.sequence import mean_over_time, repeat_to_length

Scale = tuple[Tensor, Tensor | None]
"""Tokens (batch, length, dim) of one scale, and the lengths (batch,) of the items in it; sizes differ by scale."""


class PyramidHead(nn.Module):
    """Logits from a pyramid, each scale of which is `factor` times shorter than the one before.

    `video`: a linear layer on the mean of the last scale. `steps`: one linear layer per scale, each repeated to the
    full length, summed; so a step sees its own token as well as the long range.
    """

    def __init__(self, widths: list[int], outputs: int, head: str, *, factor: int = 2) -> None:
        super().__init__()
        read = widths if head == "steps" else widths[-1:]
        self.linears = nn.ModuleList(nn.Linear(width, outputs) for width in read)
        self.head = head
        self.factor = factor

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.parameters()).dtype

    def forward(self, scales: list[Scale]) -> Float[Tensor, "batch *steps outputs"]:
        """Logits from (tokens, lengths) of every scale, finest first."""
        if self.head == "video":
            scores: Tensor = self.linears[0](mean_over_time(*scales[-1]))
            return scores
        finest = scales[0][0]
        logits: Tensor = self.linears[0](finest)
        for level, linear in enumerate(self.linears[1:], start=1):
            coarse, lengths = scales[level]
            logits = logits + repeat_to_length(linear(coarse), self.factor**level, finest.shape[1], lengths)
        return logits
