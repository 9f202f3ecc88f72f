"""What a state-space layer is made of."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from longvid.errors import DecoderError


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


CHOICES = {
    "mixer": ("s4", "s4d", "s5"),
    "state_matrix": ("stable", "free"),
    "eigenvalues": ("shared", "channel"),
    "start": ("legs", "lin", "inv"),
    "discretisation": ("zoh", "bilinear"),
    "odd_length": ("exact", "official"),
}
"""Settings that are one of a few words."""


@dataclass(frozen=True)
class S4Config:
    """Settings of one `S4Layer`; the defaults are ViS4mer's."""

    channels: int
    mixer: str = "s4"
    """`s4`: diagonal plus low rank; `s4d`: diagonal; `s5`: one diagonal system for all channels."""
    state_size: int = 64
    """Real states N of each system; even."""
    max_length: int = 0
    """Length the output map is stored truncated at (ViS4mer's way, and the cheapest to train at that length);
    0 stores the map itself. Either serves every length without touching a weight."""
    step_range: tuple[float, float] = (0.001, 0.1)
    """Δ starts log-uniform between these: about one over the longest and shortest time scale, in tokens."""
    state_matrix: str = "stable"
    """s4: `stable` is diag(w) - p p* with Re w < 0, which no training can make unstable (as in later S4, see SaShiMi,
    arXiv 2202.09729, section 4.1); `free` lets p and q part and w go anywhere, as the released ViS4mer does."""
    eigenvalues: str = "shared"
    """s4: one copy `shared` by all channels (ViS4mer), or one for each `channel`."""
    start: str = "legs"
    """s4d, s5: where the eigenvalues start, `legs`, `lin` or `inv`; see `longvid.ssm.hippo.diagonal_eigenvalues`."""
    discretisation: str = "zoh"
    """s4d, s5: rule from continuous to discrete time, `zoh` or `bilinear` (s4 is bilinear)."""
    bidirectional: bool = False
    gated: bool = False
    """Output linear with a gated linear unit (channels -> 2 x channels -> channels)."""
    dropout: float = 0.0
    """Whole channels, before the output linear."""
    backend: str = "auto"
    """How the kernel is computed; see `longvid.ssm.kernels.kernel.BACKENDS`."""
    odd_length: str = "exact"
    """`official` repeats the released ViS4mer's kernel at odd internal lengths, for its weights."""

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise DecoderError(f"channels={self.channels} must be at least 1")
        if self.max_length < 0:
            raise DecoderError(f"max_length={self.max_length} must be a length, or 0 for none")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise DecoderError(f"{name}={getattr(self, name)!r} is not a choice; take one of {', '.join(choices)}")
        low, high = self.step_range
        if not 0 < low <= high:
            raise DecoderError(f"step_range={self.step_range} must be two rising positive numbers")
        if not 0 <= self.dropout < 1:
            raise DecoderError(f"dropout={self.dropout} must lie in [0, 1)")
