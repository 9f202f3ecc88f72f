"""ViS4mer: multi-scale S4 over the tokens of a long video (Islam and Bertasius, ECCV 2022, arXiv 2204.01692).

Every block halves the length and the width: 11820 x 1024 -> 5910 x 512 -> 2955 x 256 -> 1477 x 128 -> mean -> logits.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from longvid.decoders.base import Decoder, DecoderConfig, require_choice, require_positive
from longvid.decoders.heads import PyramidHead
from longvid.decoders.sequence import check_tokens, halve
from longvid.errors import DecoderError
from longvid.ssm import S4Config, S4Layer
from longvid.ssm.layer import ChannelDropout


@dataclass(frozen=True, kw_only=True)
class ViS4merConfig(DecoderConfig):
    """Settings of `ViS4mer`; the defaults are the paper's."""

    max_length: int = 0
    """Usual length of a window. The weights work at any length; training is cheapest at this one.
    0: no usual length (output maps are stored as themselves)."""
    width: int | None = None
    """Width of the first block, halved by each; another one than `dim` adds an input projection. None: `dim`."""
    layers: int = 3
    dropout: float = 0.2
    norm: str = "pre"
    """`pre`: before the S4 layer; `post`: after its residual."""
    mixer: str = "s4"
    """`s4` as in the paper, `s4d` diagonal, `s5` one system for all channels of a block."""
    state_size: int = 64
    step_range: tuple[float, float] = (0.001, 0.1)
    bidirectional: bool = False
    gated: bool = False
    backend: str = "auto"
    odd_length: str = "exact"
    """`official`: the released code's kernel where a block's length is odd, for its weights."""
    map_lengths: tuple[int, ...] = ()
    """Length each block's output map is truncated at; empty: `max_length` halved by every block."""
    dynamics_learning_rate: float = 1e-3
    """Highest learning rate of step sizes, eigenvalues and input columns. The paper's; toy tasks of a few hundred steps
    are learned sooner, and with every seed, at 1e-2."""
    checkpointing: bool = False
    """Recompute each block in the backward pass: memory of one block instead of all, a third more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("layers", self.layers)
        # plain lists come from JSON and YAML
        object.__setattr__(self, "step_range", tuple(self.step_range))
        object.__setattr__(self, "map_lengths", tuple(self.map_lengths))
        if self.map_lengths and len(self.map_lengths) != self.layers:
            raise DecoderError(f"map_lengths={self.map_lengths} must name one length for each of {self.layers} layers")
        require_choice("norm", self.norm, ("pre", "post"))
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

    def s4(self, block: int) -> S4Config:
        """Settings of the S4 layer of one block."""
        map_length = self.map_lengths[block] if self.map_lengths else self.max_length >> block
        return S4Config(
            channels=self.first_width >> block,
            mixer=self.mixer,
            state_size=self.state_size,
            max_length=map_length,
            step_range=self.step_range,
            bidirectional=self.bidirectional,
            gated=self.gated,
            dropout=self.dropout,
            backend=self.backend,
            odd_length=self.odd_length if map_length else "exact",
        )


class ViS4merBlock(nn.Module):
    """S4 with a residual, mean of token pairs, then a linear layer to half the width."""

    def __init__(self, s4: S4Config, *, norm: str, dropout: float) -> None:
        super().__init__()
        self.norm_place = norm
        self.norm = nn.LayerNorm(s4.channels)
        self.s4 = S4Layer(s4)
        self.dropout = ChannelDropout(dropout)
        self.narrow = nn.Linear(s4.channels, s4.channels // 2)
        self.activation = nn.GELU()

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch half narrow"]:
        """Tokens of half the length and half the width."""
        return self.shrink(self.add(x, self.s4(self.before(x), lengths)))

    def before(self, x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length dim"]:
        """What the S4 layer reads."""
        return self.norm(x) if self.norm_place == "pre" else x

    def add(
        self, x: Float[Tensor, "batch length dim"], z: Float[Tensor, "batch length dim"]
    ) -> Float[Tensor, "batch length dim"]:
        """The residual: x what came in, z what the S4 layer made of it."""
        x = x + self.dropout(z)
        return self.norm(x) if self.norm_place == "post" else x

    def shrink(self, x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch half narrow"]:
        """Pairs to their mean, then to half the width."""
        return self.activation(self.narrow(halve(x)))


class ViS4mer(Decoder):
    """Blocks of S4, pooling and narrowing; the mean of the last block's tokens, or all scales for the `steps` head."""

    config: ViS4merConfig

    def __init__(self, config: ViS4merConfig) -> None:
        super().__init__()
        self.config = config
        self.dynamics_learning_rate = config.dynamics_learning_rate
        width = config.first_width
        self.project = nn.Identity() if width == config.dim else nn.Linear(config.dim, width)
        self.blocks = nn.ModuleList(
            ViS4merBlock(config.s4(block), norm=config.norm, dropout=config.dropout) for block in range(config.layers)
        )
        self.head = PyramidHead([width >> scale for scale in range(config.layers + 1)], config.outputs, config.head)

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item. Raises DecoderError for an item with fewer than 2^layers tokens."""
        check_tokens(tokens, lengths, dim=self.config.dim, minimum=2**self.config.layers)
        x = self.project(tokens.to(self.head.dtype))
        scales = [(x, lengths)]
        for block in self.blocks:
            if self.config.checkpointing and self.training:
                x = checkpoint(block, x, lengths, use_reentrant=False)
            else:
                x = block(x, lengths)
            lengths = None if lengths is None else lengths // 2
            scales.append((x, lengths))
        return self.head(scales)
