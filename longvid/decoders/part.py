"""A decoder that gives the outputs of one task of a multi-task decoder."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from longvid.decoders.base import Decoder


class PartOf(Decoder):
    """Outputs [first, stop) of `decoder`."""

    def __init__(self, decoder: Decoder, first: int, stop: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.config = decoder.config
        self.first, self.stop = first, stop

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits [first, stop) of each item."""
        return self.part(self.decoder(tokens, lengths))

    def stages(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "stages batch *steps outputs"]:
        """Logits [first, stop) of every stage."""
        return self.part(self.decoder.stages(tokens, lengths))

    def part(self, logits: Float[Tensor, "*batch all_outputs"]) -> Float[Tensor, "*batch outputs"]:
        """The outputs [first, stop) among those of the whole decoder."""
        return logits[..., self.first : self.stop]

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The decoder's own groups."""
        return self.decoder.param_groups(learning_rate, weight_decay)
