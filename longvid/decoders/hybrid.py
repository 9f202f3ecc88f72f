"""Multi-scale S4 with global tokens between the scales.

S4's fixed dynamics give the long memory; the tokens' attention chooses by content. Every block of the pyramid mixes
time with S4; then the same few tokens read that scale, attend to each other, and write back, before it is pooled.
Either half can be switched off.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longvid.decoders.base import Decoder, States
from longvid.decoders.global_tokens.read import read_in_chunks
from longvid.decoders.heads import PyramidHead, Scale
from longvid.decoders.pyramid import PyramidBlock, strided
from longvid.decoders.vis4mer import ViS4mer, ViS4merConfig
from longvid.errors import DecoderError
from longvid.layers.masks import beyond
from longvid.layers.tokens import Former, Read, Write, rms
from longvid.validation import Count, settings

Part = Literal["s4", "tokens", "read", "write", "gate"]
PARTS: tuple[Part, ...] = get_args(Part)
"""Parts that an ablation can leave out; without `tokens` it is ViS4mer, without `s4` it ignores order."""


@settings(DecoderError, kw_only=True)
class HybridConfig(ViS4merConfig):
    """Settings of `Hybrid`: those of ViS4mer, and of the tokens."""

    num_tokens: Count = 8
    """Global tokens."""
    token_dim: Count = 128
    """Width of a global token."""
    heads: Count = 4
    """Number of heads; fewer where a scale is too narrow."""
    read_chunk: Count = 4096
    """Positions whose attention scores are in memory at once."""
    without: tuple[Part, ...] = ()
    """Parts left out, for ablations; see `PARTS`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if {"s4", "tokens"} <= set(self.without):
            raise DecoderError("without s4 and tokens nothing would mix time; leave one in")
        if self.token_dim % self.heads:
            raise DecoderError(f"token_dim={self.token_dim} cannot be cut into heads={self.heads}")

    def has(self, part: str) -> bool:
        """Whether a part of `PARTS` is present; read and write need tokens."""
        if part in ("read", "write", "gate") and "tokens" in self.without:
            return False
        return part not in self.without


class Hybrid(Decoder):
    """ViS4mer's pyramid, in which global tokens read and write every scale."""

    config: HybridConfig
    head_names = ("pyramid.head", "from_token")

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.dynamics_learning_rate = config.dynamics_learning_rate
        self.pyramid = ViS4mer(config)
        if not config.has("s4"):
            for block in self.pyramid.blocks:
                block.mix = Nothing()
                block.norm = nn.Identity() if config.norm == "pre" else block.norm
        self.tokens = nn.Parameter(torch.randn(config.num_tokens, config.token_dim) * 0.5)
        self.tokens.requires_grad_(config.has("tokens"))
        self.exchanges = nn.ModuleList(TokenExchange(config, width) for width in config.widths[:-1])
        reads_token = config.head == "video" and config.has("tokens")
        self.from_token = nn.Linear(config.token_dim, config.outputs, bias=False) if reads_token else None

    @property
    def head(self) -> PyramidHead:
        """The head, which reads the positions."""
        return self.pyramid.head

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item. Raises DecoderError for an item with fewer than 2^layers tokens."""
        scales, read = self.scales(tokens, lengths)
        logits: Tensor = self.head(scales)
        if self.from_token is not None:
            logits = logits + self.from_token(read[:, 0])
        return logits

    def scales(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> tuple[list[Scale], Float[Tensor, "batch num_tokens token_dim"]]:
        """The projected tokens, the tokens after each block, and the global tokens after the last."""
        x = self.pyramid.embed(tokens, lengths)
        read = self.tokens.expand(len(x), -1, -1)
        scales: list[Scale] = [(x, lengths)]
        for block, exchange in zip(self.pyramid.blocks, self.exchanges, strict=True):
            assert isinstance(block, PyramidBlock)
            x = self.pyramid.run_block(block.mixed, x, lengths)
            x, read = exchange(x, read, lengths)
            x = block.shrink(x)
            lengths = None if lengths is None else lengths // 2
            scales.append((x, lengths))
        return scales, read

    @property
    def min_tokens(self) -> int:
        """One token for the last scale."""
        tokens: int = 2**self.config.layers
        return tokens

    def state_widths(self) -> tuple[int, ...]:
        """Widths of the scales after each block."""
        return tuple(self.config.widths[1:])

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The tokens after each block, and the global tokens."""
        scales, read = self.scales(tokens, lengths)
        return States(strided(scales)[1:], read if self.config.has("tokens") else None)


class TokenExchange(nn.Module):
    """Tokens read a scale, attend to each other, and write back to it."""

    def __init__(self, config: HybridConfig, width: int) -> None:
        super().__init__()
        heads = math.gcd(config.heads, width)
        self.read_chunk = config.read_chunk
        self.read = (
            Read(
                width,
                config.token_dim,
                heads=heads,
                gated=config.has("gate"),
                own_queries=config.num_tokens,
                focused=True,
            )
            if config.has("read")
            else None
        )
        self.former = Former(config.token_dim, heads=config.heads) if config.has("tokens") else None
        self.write = Write(width, config.token_dim, heads=heads, normalised=True) if config.has("write") else None

    def forward(
        self,
        x: Float[Tensor, "batch length dim"],
        tokens: Float[Tensor, "batch num_tokens token_dim"],
        lengths: Int[Tensor, " batch"] | None,
    ) -> tuple[Float[Tensor, "batch length dim"], Float[Tensor, "batch num_tokens token_dim"]]:
        """Positions and tokens after the exchange."""
        if self.read is not None:
            valid = None if lengths is None else ~beyond(x, lengths)[..., 0]
            queries = self.read.queries(tokens)
            state = read_in_chunks(queries, rms(x), valid, self.read.heads, self.read_chunk)
            tokens = self.read.finish(tokens, state.seen())
        if self.former is not None:
            tokens = self.former(tokens)
        if self.write is not None:
            x = self.write(x, tokens)
        return x, tokens


class Nothing(nn.Module):
    """Takes the place of a mixing layer that is left out: adds zero to the residual."""

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """Zeros."""
        return torch.zeros_like(x)
