"""ViS4mer: multi-scale S4 over the tokens of a long video.

By Islam and Bertasius, ECCV 2022, arXiv 2204.01692. Every block halves the length and the width:
11820 x 1024 -> 5910 x 512 -> 2955 x 256 -> 1477 x 128 -> mean -> logits.
"""

from longvid.decoders.pyramid import PyramidConfig, PyramidDecoder
from longvid.errors import DecoderError
from longvid.ssm import S4Config, S4Layer
from longvid.ssm.config import MixerName, OddLength, StateMatrix
from longvid.validation import Count, NonNegative, Positive, settings


@settings(DecoderError, kw_only=True)
class ViS4merConfig(PyramidConfig):
    """Settings of `ViS4mer`; the defaults are the paper's.

    `max_length`: the weights work at any length, training is cheapest at this one; 0 stores the output maps without
    truncation.
    """

    mixer: MixerName = "s4"
    """`s4`: as in the paper; `s4d`: diagonal; `s5`: one system for all channels of a block."""
    state_size: Count = 64
    """Numbers in the state of a state-space layer."""
    state_matrix: StateMatrix = "stable"
    """s4: `stable` throughout training, or `free` as in the released code, for its weights; see `S4Config`."""
    step_range: tuple[Positive, Positive] = (0.001, 0.1)
    """Range of the initial step sizes, in tokens."""
    bidirectional: bool = False
    """Mix time in both directions; not for streams."""
    gated: bool = False
    """Multiply each layer's output by a gate that the input computes."""
    backend: str = "auto"
    """The way to compute S4 kernels (`longvid.ssm.kernels`); auto: the fastest here."""
    odd_length: OddLength = "exact"
    """`official`: the released code's kernel where a block's length is odd, for its weights."""
    map_lengths: tuple[NonNegative, ...] = ()
    """Length at which each block's output map is truncated; empty: `max_length`, halved by every block."""
    dynamics_learning_rate: Positive = 1e-3
    """Upper limit of the learning rate for step sizes, eigenvalues and input columns; the default is the paper's. Toy
    tasks trained for a few hundred steps are learned sooner, and with every seed, at 1e-2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.map_lengths and len(self.map_lengths) != self.layers:
            raise DecoderError(f"map_lengths={self.map_lengths} must give one length for each of {self.layers} layers")

    def s4(self, block: int) -> S4Config:
        """Settings of the S4 layer of one block."""
        map_length = self.map_lengths[block] if self.map_lengths else self.max_length >> block
        return S4Config(
            channels=self.widths[block],
            mixer=self.mixer,
            state_size=self.state_size,
            state_matrix=self.state_matrix,
            max_length=map_length,
            step_range=self.step_range,
            bidirectional=self.bidirectional,
            gated=self.gated,
            dropout=self.dropout,
            backend=self.backend,
            odd_length=self.odd_length if map_length else "exact",
        )


class ViS4mer(PyramidDecoder):
    """The pyramid with S4 layers."""

    config: ViS4merConfig

    def __init__(self, config: ViS4merConfig) -> None:
        super().__init__(config, lambda block: S4Layer(config.s4(block)))
        self.dynamics_learning_rate = config.dynamics_learning_rate

    @property
    def causal(self) -> bool:
        """Whether S4 runs forwards only, and nothing needs the length of the whole sequence."""
        return not self.config.bidirectional and not self.config.time_code
