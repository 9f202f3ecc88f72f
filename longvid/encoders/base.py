"""The base of every encoder: a module from clips to tokens, and a spec.

Axis order: clips are `batch channel time height width`, tokens `batch time token dim`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import EncoderError
from longvid.validation import NonNegative, settings

UNSEEDED = "random"
NO_WEIGHTS = "none"


class EncoderOutput(NamedTuple):
    """The output of an encoder for each clip, before pooling.

    `tokens`: patch (spatial) tokens of each time step, raster order, after the final norm.
    `class_tokens`: one per time step, if the architecture has them.
    `clip`: one vector for the clip, if the architecture has one (a clip class token, a pooled head).
    `global_tokens`: a few learned tokens that each saw the whole clip, if the architecture has them.
    `embedding`: the clip's vector in the space that the model shares with text, if it was trained with text.
    """

    tokens: Float[Tensor, "batch time token dim"]
    class_tokens: Float[Tensor, "batch time dim"] | None = None
    clip: Float[Tensor, "batch clipdim"] | None = None
    global_tokens: Float[Tensor, "batch slot slotdim"] | None = None
    embedding: Float[Tensor, "batch embeddim"] | None = None


@settings(EncoderError)
class EncoderSpec:
    """Everything about an encoder that decides what its features are and what its input must be."""

    name: str
    sampling: Sampling
    """Default sampling: that of the paper, or of the processor configuration."""
    preprocessing: Preprocessing
    default_pooling: str = "mean"
    poolings: tuple[str, ...] = ("tokens", "spatial", "temporal", "mean")
    """Names `longvid.encoders.pooling.pool` can apply to this encoder's output."""
    config: dict[str, Any] = field(default_factory=dict)
    """Constructor settings, plain JSON values."""
    weights: str = UNSEEDED
    """Where the weights come from, for people: a hub id, a file, `random (seed 0)`, `none`."""
    weights_sha256: str = ""
    """Digest of the loaded weights' bytes (`longvid.weights.state_sha256`)."""
    licence: str = ""
    weights_seed: NonNegative | None = None
    """The seed that random weights were drawn with; None: the weights were learned, or there are none."""


@dataclass(frozen=True)
class PublishedFigures:
    """The figures that the authors report for a variant; a table shows our own counts beside them."""

    parameters: float | None
    """Number of parameters; None: not published."""
    gflops: float | None
    """As published, whatever the authors count; None: not published."""
    source: str
    """Where the figures were published."""
    note: str = ""
    """What the figures count: multiply-adds or operations, crops, parts left out."""
    flops_factor: float = 1.0
    """Operations (two per multiply-add) of one clip per published unit: 2 / 3 for multiply-adds of three crops."""


class Encoder(nn.Module):
    """A module with a `spec`; `forward(clips)` gives an `EncoderOutput`.

    clips: float32 or the autocast type, (batch, 3, time, height, width), normalised by `spec.preprocessing`.
    In evaluation mode a clip's output does not depend on the batch it is in.
    """

    spec: EncoderSpec

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """Tokens of each clip."""
        raise TypeError(f"{type(self).__name__} must define forward(clips) -> EncoderOutput")
