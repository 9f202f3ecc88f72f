"""ViS4mer's pyramid: every block halves the length and the width.

One block: norm, a layer that mixes time, channel dropout, residual, mean of token pairs, linear to half the width,
GELU. With S4 as the mixing layer it is ViS4mer, with self-attention the paper's long sequence transformer; the
comparison is fair because nothing else differs.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from longvid.decoders.base import Decoder, DecoderConfig, States, StateScale
from longvid.decoders.heads import PyramidHead, Scale
from longvid.decoders.sequence import checked_tokens, halve
from longvid.decoders.time_code import TimeCode
from longvid.errors import DecoderError
from longvid.layers.dropout import ChannelDropout
from longvid.validation import Count, NonNegative, Share, settings


@settings(DecoderError, kw_only=True)
class PyramidConfig(DecoderConfig):
    """Settings that every pyramid decoder has; the defaults are ViS4mer's."""

    max_length: NonNegative = 0
    """Usual length of a window in tokens, for the layers that use it. 0: no usual length."""
    width: Count | None = None
    """Width of the first block, halved by each; a width other than `dim` adds an input projection. None: `dim`."""
    layers: Count = 3
    """Blocks, each of which halves the length and the width."""
    dropout: Share = 0.2
    """Dropout of whole channels, after each mixing layer."""
    norm: Literal["pre", "post"] = "pre"
    """`pre`: before the mixing layer; `post`: after its residual."""
    time_code: bool = False
    """Add a learned code of time to the tokens; for layers that ignore order."""
    checkpointing: bool = False
    """Recompute each block in the backward pass: memory for one block instead of all, a third more time."""

    def __post_init__(self) -> None:
        if self.first_width >> self.layers < 1:
            raise DecoderError(
                f"width={self.first_width} cannot be halved {self.layers} times; widen it or use fewer layers"
            )
        if self.max_length and self.max_length >> (self.layers - 1) < 1:
            raise DecoderError(f"max_length={self.max_length} cannot be halved {self.layers - 1} times")

    @property
    def first_width(self) -> int:
        """Width of the first block."""
        return self.dim if self.width is None else self.width

    @property
    def widths(self) -> list[int]:
        """Width of each scale, the projected tokens first."""
        return [self.first_width >> scale for scale in range(self.layers + 1)]


class PyramidBlock(nn.Module):
    """A mixing layer with a residual, mean of token pairs, then a linear layer to half the width."""

    def __init__(self, mix: nn.Module, width: int, *, norm: str, dropout: float) -> None:
        super().__init__()
        self.norm_place = norm
        self.norm = nn.LayerNorm(width)
        self.mix = mix
        self.dropout = ChannelDropout(dropout)
        self.narrow = nn.Linear(width, width // 2)
        self.activation = nn.GELU()

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch half narrow"]:
        """Tokens of half the length and half the width."""
        return self.shrink(self.mixed(x, lengths))

    def mixed(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """x after the mixing layer and its residual."""
        return self.add(x, self.mix(self.before(x), lengths))

    def before(self, x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length dim"]:
        """Input of the mixing layer."""
        return self.norm(x) if self.norm_place == "pre" else x

    def add(
        self, x: Float[Tensor, "batch length dim"], z: Float[Tensor, "batch length dim"]
    ) -> Float[Tensor, "batch length dim"]:
        """x plus z, the output of the mixing layer."""
        x = x + self.dropout(z)
        return self.norm(x) if self.norm_place == "post" else x

    def shrink(self, x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch half narrow"]:
        """Mean of token pairs, then half the width."""
        shrunk: Tensor = self.activation(self.narrow(halve(x)))
        return shrunk


class PyramidDecoder(Decoder):
    """Blocks, then a head on the mean of the last scale's tokens (`video`) or on all scales (`steps`).

    make_mixer(block) returns the layer that mixes time in that block: from (batch, length, width) and lengths to
    (batch, length, width).
    """

    config: PyramidConfig

    def __init__(self, config: PyramidConfig, make_mixer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Identity() if config.first_width == config.dim else nn.Linear(config.dim, config.first_width)
        self.time = TimeCode(config.first_width, normalised=True) if config.time_code else None
        self.blocks = nn.ModuleList(
            PyramidBlock(make_mixer(block), config.widths[block], norm=config.norm, dropout=config.dropout)
            for block in range(config.layers)
        )
        self.head = PyramidHead(config.widths, config.outputs, config.head)

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item. Raises DecoderError for an item with fewer than 2^layers tokens."""
        logits: Tensor = self.head(self.scales(tokens, lengths))
        return logits

    def scales(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> list[Scale]:
        """The projected tokens, then the tokens after each block."""
        x = self.embed(tokens, lengths)
        scales: list[Scale] = [(x, lengths)]
        for block in self.blocks:
            x = self.run_block(block, x, lengths)
            lengths = None if lengths is None else lengths // 2
            scales.append((x, lengths))
        return scales

    @property
    def causal(self) -> bool:
        """Whether no token after a state's block changes it."""
        return False

    @property
    def min_tokens(self) -> int:
        """One token for the last scale."""
        tokens: int = 2**self.config.layers
        return tokens

    def state_widths(self) -> tuple[int, ...]:
        """Widths of the scales after each block."""
        return tuple(self.config.widths[1:])

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The tokens after each block."""
        return States(strided(self.scales(tokens, lengths))[1:])

    def past_widths(self) -> tuple[int, ...]:
        """Widths of all scales. Raises DecoderError for a pyramid that is not causal."""
        return tuple(self.config.widths) if self.causal else super().past_widths()

    def past_states(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> States:
        """The projected tokens, then the tokens after each block."""
        self.past_widths()
        return States(strided(self.scales(tokens, lengths)))

    def embed(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length width"]:
        """Tokens before the first block."""
        tokens = checked_tokens(tokens, lengths, dim=self.config.dim, minimum=2**self.config.layers)
        x: Tensor = self.project(tokens.to(self.head.dtype))
        return x if self.time is None else x + self.time(x.shape[1], lengths)

    def run_block(self, block: Callable[..., Tensor], *arguments: Tensor | None) -> Tensor:
        """block(*arguments), recomputed in the backward pass if the config says so."""
        if self.config.checkpointing and self.training:
            recomputed: Tensor = checkpoint(block, *arguments, use_reentrant=False)
            return recomputed
        return block(*arguments)


def strided(scales: list[Scale]) -> tuple[StateScale, ...]:
    """The scales of a pyramid, each with half as many states as the one before."""
    return tuple(StateScale(x, lengths, 2**level) for level, (x, lengths) in enumerate(scales))
