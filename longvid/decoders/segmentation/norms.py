"""Instance norm without parameters, over an item's own steps.

Each channel of an item gets mean 0 and variance 1 over time.
"""

from jaxtyping import Float
from torch import Tensor, nn


class InstanceNorm(nn.Module):
    """Statistics over an item's own steps; `over_padding`: over all steps of the batch, as in the authors' code."""

    def __init__(self, *, over_padding: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.over_padding = over_padding
        self.eps = eps

    def forward(
        self, x: Float[Tensor, "batch channels length"], valid: Float[Tensor, "batch 1 length"] | None
    ) -> Float[Tensor, "batch channels length"]:
        """The normed steps; what is behind an item's end is zero, or normed too."""
        if valid is None or self.over_padding:
            mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
            return (x - mean) * (variance + self.eps).rsqrt()
        count = valid.sum(-1, keepdim=True)
        mean = (x * valid).sum(-1, keepdim=True) / count
        centred = (x - mean) * valid
        variance = centred.square().sum(-1, keepdim=True) / count
        return centred * (variance + self.eps).rsqrt()
