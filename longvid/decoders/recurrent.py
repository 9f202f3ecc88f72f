"""LSTM and GRU decoders."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from longvid.decoders.base import Decoder, DecoderConfig, States, StateScale
from longvid.decoders.sequence import checked_tokens
from longvid.errors import DecoderError
from longvid.validation import Count, Share, settings

Cell = Literal["lstm", "gru"]


@settings(DecoderError, kw_only=True)
class RecurrentConfig(DecoderConfig):
    """Settings of `Recurrent`."""

    cell: Cell = "lstm"
    """The recurrent cell."""
    width: Count = 128
    """Numbers in the state."""
    layers: Count = 1
    """Recurrent layers, one on top of the other."""
    bidirectional: bool = False
    """Read the sequence in both directions."""
    dropout: Share = 0.0
    """Dropout between layers and before the head."""


@settings(DecoderError, kw_only=True)
class GRUConfig(RecurrentConfig):
    """`RecurrentConfig` with the GRU as its default."""

    cell: Cell = "gru"


class Recurrent(Decoder):
    """The last state of each direction, through a linear layer; the `steps` head reads every step's output."""

    config: RecurrentConfig

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        make = nn.LSTM if config.cell == "lstm" else nn.GRU
        between = config.dropout if config.layers > 1 else 0.0
        self.cells = make(
            config.dim,
            config.width,
            config.layers,
            batch_first=True,
            dropout=between,
            bidirectional=config.bidirectional,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(config.width * (1 + config.bidirectional), config.outputs)

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item."""
        outputs, last = self.run(tokens, lengths)
        if self.config.head == "steps":
            read = outputs
        else:
            state = last[0] if self.config.cell == "lstm" else last
            directions = state[-(1 + self.config.bidirectional) :]
            read = torch.cat(directions.unbind(0), dim=-1)
        logits: Tensor = self.linear(self.dropout(read))
        return logits

    def run(self, tokens: Tensor, lengths: Int[Tensor, " batch"] | None) -> tuple[Tensor, Any]:
        """The last layer's output at every step, and the last states."""
        tokens = checked_tokens(tokens, lengths, dim=self.config.dim)
        if lengths is None:
            outputs, last = self.cells(tokens)
            return outputs, last
        packed = pack_padded_sequence(tokens, lengths.cpu(), batch_first=True, enforce_sorted=False)
        packed_outputs, last = self.cells(packed)
        outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=tokens.shape[1])
        return outputs, last

    def state_widths(self) -> tuple[int, ...]:
        """Width of the cells' output, both directions."""
        return (self.linear.in_features,)

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The last layer's output at every step."""
        return States((StateScale(self.run(tokens, lengths)[0], lengths, 1),))

    def past_widths(self) -> tuple[int, ...]:
        """The same; raises DecoderError for a bidirectional decoder."""
        return super().past_widths() if self.config.bidirectional else self.state_widths()

    def past_states(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> States:
        """The last layer's output at every step, of a decoder that runs forwards only."""
        self.past_widths()
        return self.states(tokens, lengths)
