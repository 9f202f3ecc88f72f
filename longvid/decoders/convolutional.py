"""Residual dilated temporal convolutions, as in TCN and MS-TCN."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from longvid.decoders.base import Decoder, DecoderConfig, States, StateScale
from longvid.decoders.sequence import checked_tokens, mean_over_time
from longvid.errors import DecoderError
from longvid.layers.masks import zero_beyond
from longvid.validation import Count, Share, settings


@settings(DecoderError, kw_only=True)
class ConvolutionalConfig(DecoderConfig):
    """Settings of `Convolutional`."""

    width: Count = 64
    """Channels."""
    layers: Count = 10
    """Layer i has dilation 2^i: the receptive field of ten layers of three taps is 2,047 tokens."""
    dropout: Share = 0.1
    """Dropout in each layer."""


class Convolutional(Decoder):
    """Point-wise projection, dilated layers, then logits of the mean over time or of every step."""

    config: ConvolutionalConfig

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.dim, config.width)
        self.layers = nn.ModuleList(DilatedLayer(config, 2**layer) for layer in range(config.layers))
        self.linear = nn.Linear(config.width, config.outputs)

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item."""
        x = self.run(tokens, lengths)
        logits: Tensor = self.linear(x if self.config.head == "steps" else mean_over_time(x, lengths))
        return logits

    def run(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length width"]:
        """The tokens after the last layer."""
        x: Tensor = self.project(checked_tokens(tokens, lengths, dim=self.config.dim))
        for layer in self.layers:
            x = layer(x, lengths)
        return x

    def state_widths(self) -> tuple[int, ...]:
        """Width of the layers."""
        return (self.config.width,)

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The tokens after the last layer."""
        return States((StateScale(self.run(tokens, lengths), lengths, 1),))


class DilatedLayer(nn.Module):
    """Dilated convolution of three taps, ReLU, point-wise convolution, dropout, residual."""

    def __init__(self, config: ConvolutionalConfig, dilation: int) -> None:
        super().__init__()
        self.taps = nn.Conv1d(config.width, config.width, 3, padding=dilation, dilation=dilation)
        self.point = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """x plus the layer's output; padding counts as zero, as beyond the ends."""
        seen = self.taps(zero_beyond(x, lengths).transpose(1, 2)).transpose(1, 2)
        added: Tensor = self.dropout(self.point(functional.relu(seen)))
        return x + added
