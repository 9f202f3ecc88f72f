"""Settings of a state-space layer, and the protocols it follows."""

from typing import Literal, Protocol, runtime_checkable

from torch import nn

from longvid.errors import DecoderError
from longvid.validation import Count, NonNegative, Positive, Share, settings


@runtime_checkable
class HasDynamics(Protocol):
    """A module with parameters that set time scales and need a low learning rate and no weight decay."""

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """The parameters that set time scales."""
        ...


@runtime_checkable
class HasTimeScale(Protocol):
    """A module with step sizes that can adapt to another number of tokens per second."""

    def rescale_time(self, factor: int | float) -> None:
        """Adapt to `factor` times as many tokens per second."""
        ...


@runtime_checkable
class HasCaches(Protocol):
    """A module that caches what it computed from its weights."""

    def drop_caches(self) -> None:
        """Drop what is cached."""
        ...


MixerName = Literal["s4", "s4d", "s5"]
StateMatrix = Literal["stable", "free"]
OddLength = Literal["exact", "official"]


@settings(DecoderError)
class S4Config:
    """Settings of one `S4Layer`; the defaults are ViS4mer's."""

    channels: Count
    mixer: MixerName = "s4"
    """`s4`: diagonal plus low rank; `s4d`: diagonal; `s5`: one diagonal system for all channels."""
    state_size: Count = 64
    """Number N of real states per system; even."""
    max_length: NonNegative = 0
    """Length at which the stored output map is truncated (as in ViS4mer, and cheapest to train at that length);
    0 stores the map itself. Both work at every length without a change of weights."""
    step_range: tuple[Positive, Positive] = (0.001, 0.1)
    """Range of the log-uniform initial Δ: about one over the longest and the shortest time scale, in tokens."""
    state_matrix: StateMatrix = "stable"
    """s4: `stable` is diag(w) - p p* with Re w < 0, which no training can make unstable (as in later S4, see SaShiMi,
    arXiv 2202.09729, section 4.1); `free` trains p and q separately and w without limits, as the released ViS4mer."""
    eigenvalues: Literal["shared", "channel"] = "shared"
    """s4: one copy `shared` by all channels (ViS4mer), or one for each `channel`."""
    start: Literal["legs", "lin", "inv"] = "legs"
    """s4d, s5: initial eigenvalues, see `longvid.ssm.hippo.diagonal_eigenvalues`."""
    discretisation: Literal["zoh", "bilinear"] = "zoh"
    """s4d, s5: rule from continuous to discrete time, `zoh` or `bilinear` (s4 is bilinear)."""
    bidirectional: bool = False
    gated: bool = False
    """Use a gated linear unit as the output layer (channels -> 2 x channels -> channels)."""
    dropout: Share = 0.0
    """Dropout of whole channels, before the output linear layer."""
    backend: str = "auto"
    """How the kernel is computed; see `longvid.ssm.kernels.kernel.BACKENDS`."""
    odd_length: OddLength = "exact"
    """`official` reproduces the released ViS4mer's kernel at odd internal lengths, for its weights."""

    def __post_init__(self) -> None:
        low, high = self.step_range
        if low > high:
            raise DecoderError(f"step_range={self.step_range} must be two rising positive numbers")
