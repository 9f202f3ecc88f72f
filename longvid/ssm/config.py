"""What a state-space layer is made of."""

from typing import Literal, Protocol, runtime_checkable

from torch import nn

from longvid.errors import DecoderError
from longvid.validation import Count, NonNegative, Positive, Share, settings


@runtime_checkable
class HasDynamics(Protocol):
    """A module some of whose parameters set time scales, and want a gentle learning rate and no weight decay."""

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """Those parameters."""
        ...


@runtime_checkable
class HasTimeScale(Protocol):
    """A module with step sizes, which can be told that its tokens come more or less densely than they did."""

    def rescale_time(self, factor: int | float) -> None:
        """`factor` 2: a second has twice as many tokens."""
        ...


@runtime_checkable
class HasCaches(Protocol):
    """A module that keeps what it computed from its weights."""

    def drop_caches(self) -> None:
        """Forget it."""
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
    """Real states N of each system; even."""
    max_length: NonNegative = 0
    """Length the output map is stored truncated at (ViS4mer's way, and the cheapest to train at that length);
    0 stores the map itself. Either serves every length without touching a weight."""
    step_range: tuple[Positive, Positive] = (0.001, 0.1)
    """Δ starts log-uniform between these: about one over the longest and shortest time scale, in tokens."""
    state_matrix: StateMatrix = "stable"
    """s4: `stable` is diag(w) - p p* with Re w < 0, which no training can make unstable (as in later S4, see SaShiMi,
    arXiv 2202.09729, section 4.1); `free` lets p and q part and w go anywhere, as the released ViS4mer does."""
    eigenvalues: Literal["shared", "channel"] = "shared"
    """s4: one copy `shared` by all channels (ViS4mer), or one for each `channel`."""
    start: Literal["legs", "lin", "inv"] = "legs"
    """s4d, s5: where the eigenvalues start, `legs`, `lin` or `inv`; see `longvid.ssm.hippo.diagonal_eigenvalues`."""
    discretisation: Literal["zoh", "bilinear"] = "zoh"
    """s4d, s5: rule from continuous to discrete time, `zoh` or `bilinear` (s4 is bilinear)."""
    bidirectional: bool = False
    gated: bool = False
    """Output linear with a gated linear unit (channels -> 2 x channels -> channels)."""
    dropout: Share = 0.0
    """Whole channels, before the output linear."""
    backend: str = "auto"
    """How the kernel is computed; see `longvid.ssm.kernels.kernel.BACKENDS`."""
    odd_length: OddLength = "exact"
    """`official` repeats the released ViS4mer's kernel at odd internal lengths, for its weights."""

    def __post_init__(self) -> None:
        low, high = self.step_range
        if low > high:
            raise DecoderError(f"step_range={self.step_range} must be two rising positive numbers")
