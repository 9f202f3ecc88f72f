"""The S4 layer: state-space mixing along time, then across channels."""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from longvid.layers.dropout import ChannelDropout
from longvid.layers.masks import zero_beyond
from longvid.ssm.config import S4Config
from longvid.ssm.mixer import Mixer
from longvid.ssm.s4 import LowRankMixer
from longvid.ssm.s4d import DiagonalMixer
from longvid.ssm.s5 import ManyInputsMixer

MIXERS: dict[str, Callable[[S4Config], Mixer]] = {
    "s4": LowRankMixer,
    "s4d": DiagonalMixer,
    "s5": ManyInputsMixer,
}


class S4Layer(nn.Module):
    """(batch, length, dim) -> the same: time mixing with skip, GELU, channel dropout, linear.

    Any length. Where `lengths` is given, padding beyond an item's length does not affect its outputs. `step` and
    `carry` give the same outputs token by token and chunk by chunk; they are for evaluation, where dropout is off.
    """

    def __init__(self, config: S4Config) -> None:
        super().__init__()
        self.config = config
        self.mixer = MIXERS[config.mixer](config)
        self.activation = nn.GELU()
        self.dropout = ChannelDropout(config.dropout)
        self.output = nn.Linear(config.channels, config.channels * (2 if config.gated else 1))

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """Outputs of the whole sequence from a zero state."""
        # for a causal layer too: its FFT spreads rounding errors and NaN over all steps
        x = zero_beyond(x, lengths)
        with torch.autocast(x.device.type, enabled=False):
            y = self.mixer(x.transpose(1, 2))
        return self._mix_channels(_time_first(y, x.dtype))

    def drop_caches(self) -> None:
        """Drop kernels and tables; needed after a write through `.data`, which torch does not count as a change."""
        self.mixer.drop_caches()

    def initial_state(self, batch: int) -> Complex[Tensor, "batch ..."]:
        """The state before the first token."""
        return self.mixer.initial_state(batch)

    def step(
        self, x: Float[Tensor, "batch dim"], state: Complex[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch dim"], Complex[Tensor, "batch ..."]]:
        """Output of one token, and the state after it. Raises DecoderError for a bidirectional layer."""
        with torch.autocast(x.device.type, enabled=False):
            y, state = self.mixer.step(x, state)
        return self._mix_channels(y.to(x.dtype)), state

    def carry(
        self, x: Float[Tensor, "batch length dim"], state: Complex[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch length dim"], Complex[Tensor, "batch ..."]]:
        """Outputs of the next tokens, and the state after them. Raises DecoderError for a bidirectional layer."""
        with torch.autocast(x.device.type, enabled=False):
            y, state = self.mixer.carry(x.transpose(1, 2), state)
        return self._mix_channels(_time_first(y, x.dtype)), state

    def _mix_channels(self, y: Float[Tensor, "batch *length dim"]) -> Float[Tensor, "batch *length dim"]:
        y = self.output(self.dropout(self.activation(y)))
        return nn.functional.glu(y, dim=-1) if self.config.gated else y


def _time_first(y: Float[Tensor, "batch channel length"], dtype: torch.dtype) -> Float[Tensor, "batch length channel"]:
    """A contiguous copy: with strides unlike its gradient's, GELU takes ten times as long in the backward pass."""
    return y.transpose(1, 2).to(dtype).contiguous()
