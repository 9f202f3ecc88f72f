"""The global-token decoder: learned tokens read and write a sequence.

The sequence can have any length; the cost is linear in it. The design is Mobile-Former's two bridged streams with time
as the only axis: positions (local, convolutions) and tokens (global, attention among themselves), which exchange
information both ways in every block. A code of time is added once, because Read ignores order.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from longvid.decoders.base import Decoder, States, StateScale
from longvid.decoders.global_tokens.blocks import BlockState, GlobalTokenBlock
from longvid.decoders.global_tokens.config import GlobalTokenConfig
from longvid.decoders.heads import PyramidHead, Scale
from longvid.decoders.sequence import checked_tokens, mean_over_time, pool_time
from longvid.decoders.time_code import TimeCode
from longvid.layers.masks import beyond
from longvid.layers.tokens import rms


class GlobalTokenDecoder(Decoder):
    """Input projection and time code, blocks, and a head on the positions' mean and the first token."""

    config: GlobalTokenConfig

    def __init__(self, config: GlobalTokenConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.dim)
        self.project = nn.Linear(config.dim, config.width)
        self.time = TimeCode(config.width, normalised=not config.causal) if config.has("time-code") else None
        self.tokens = nn.Parameter(torch.randn(config.num_tokens, config.token_dim) * 0.5)
        self.tokens.requires_grad_(config.has("tokens"))
        self.blocks = nn.ModuleList(GlobalTokenBlock(config, dilation) for dilation in config.dilations)
        if config.head == "steps":
            scales = len(config.dilations) if config.pool > 1 else 1
            self.head: nn.Module = PyramidHead([config.width] * scales, config.outputs, "steps", factor=config.pool)
        else:
            self.head = VideoHead(config)

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item."""
        run = self.run(tokens, lengths)
        if self.config.head == "steps":
            by_step: Tensor = self.head([(rms(x), at) for x, at in run.scales()])
            return by_step[:, : tokens.shape[1]]
        logits: Tensor = self.head(rms(run.positions()), run.lengths, run.last_tokens(self.config.segment))
        return logits

    def run(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None) -> "Run":
        """Positions and tokens after the last block."""
        tokens = checked_tokens(tokens, lengths, dim=self.config.dim)
        run = self.cut(self.embed(tokens, lengths), lengths)
        for index, block in enumerate(self.blocks):
            if index and self.config.pool > 1:
                run = run.pooled(self.config.pool)
            x, read, _ = self._run_block(block, run)
            run = run.after(x, read)
        return run

    def state_widths(self) -> tuple[int, ...]:
        """Width of the positions at each scale."""
        return (self.config.width,) * (len(self.config.dilations) if self.config.pool > 1 else 1)

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The positions of every scale after their block, and the tokens."""
        run = self.run(tokens, lengths)
        scales = enumerate(run.scales())
        positions = tuple(StateScale(rms(x), at, self.config.pool**level) for level, (x, at) in scales)
        return States(positions, run.last_tokens(self.config.segment) if self.config.has("tokens") else None)

    def past_widths(self) -> tuple[int, ...]:
        """The projected positions, and a segment's last position beside its first token."""
        return (self.config.width, self._segment_width()) if self.config.causal else super().past_widths()

    def past_states(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> States:
        """The projected positions, and one state per segment, the end of which every position of it has seen."""
        self.past_widths()
        run = self.run(tokens, lengths)
        projected = self.embed(checked_tokens(tokens, lengths, dim=self.config.dim), lengths)
        segments = StateScale(self.ends(run.x, run.tokens), None, self.config.segment)
        return States((StateScale(projected, lengths, 1), segments))

    def ends(
        self,
        x: Float[Tensor, "batch segments size width"],
        tokens: Float[Tensor, "batch segments num_tokens token_dim"],
    ) -> Float[Tensor, "batch segments width_and_token"]:
        """The last position of each segment, and its first token where there are tokens."""
        last = rms(x[:, :, -1])
        return torch.cat([last, tokens[:, :, 0]], dim=-1) if self.config.has("tokens") else last

    def _segment_width(self) -> int:
        return self.config.width + (self.config.token_dim if self.config.has("tokens") else 0)

    def embed(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None, *, first: int = 0
    ) -> Float[Tensor, "batch length width"]:
        """Positions before the first block; `first` is the index of the first token in its stream."""
        x: Tensor = self.project(self.norm(tokens.to(self.project.weight.dtype)))
        if self.time is not None:
            x = x + self.time(tokens.shape[1], lengths, first=first)
        return x

    def cut(self, x: Float[Tensor, "batch length width"], lengths: Int[Tensor, " batch"] | None) -> "Run":
        """The positions cut into segments, each with the learned tokens."""
        size = self.config.segment if self.config.causal else x.shape[1]
        spare = -x.shape[1] % size
        if spare and lengths is None:
            lengths = torch.full((len(x),), x.shape[1], device=x.device)
        segments = functional.pad(x, (0, 0, 0, spare)).unflatten(1, (-1, size))
        tokens = self.tokens.expand(*segments.shape[:2], -1, -1)
        return Run(segments, tokens, lengths, ())

    def _run_block(self, block: nn.Module, run: "Run") -> tuple[Tensor, Tensor, BlockState]:
        if self.config.checkpointing and self.training:
            outputs: tuple[Tensor, Tensor, BlockState] = checkpoint(
                block, run.x, run.tokens, run.valid(), use_reentrant=False
            )
            return outputs
        result: tuple[Tensor, Tensor, BlockState] = block(run.x, run.tokens, run.valid())
        return result


class Run(NamedTuple):
    """Intermediate state of a pass through the blocks."""

    x: Float[Tensor, "batch segments size width"]
    tokens: Float[Tensor, "batch segments num_tokens token_dim"]
    lengths: Int[Tensor, " batch"] | None
    """Real positions of each item at this scale."""
    finer: tuple[Scale, ...]
    """Scales that are finished, before this one."""

    def positions(self) -> Float[Tensor, "batch length width"]:
        """The positions with their segments joined."""
        return self.x.flatten(1, 2)

    def valid(self) -> Bool[Tensor, "batch segments size"] | None:
        """Which positions are real."""
        if self.lengths is None:
            return None
        inside: Tensor = ~beyond(self.positions(), self.lengths)[..., 0].unflatten(1, self.x.shape[1:3])
        return inside

    def after(self, x: Tensor, tokens: Tensor) -> "Run":
        """The state after a block."""
        return self._replace(x=x, tokens=tokens)

    def pooled(self, factor: int) -> "Run":
        """The state one scale coarser (for one segment)."""
        x, lengths = pool_time(self.positions(), self.lengths, factor)
        return Run(x[:, None], self.tokens, lengths, (*self.finer, (self.positions(), self.lengths)))

    def scales(self) -> list[Scale]:
        """Every scale, finest first."""
        return [*self.finer, (self.positions(), self.lengths)]

    def last_tokens(self, segment: int) -> Float[Tensor, "batch num_tokens token_dim"]:
        """Tokens of the segment that holds an item's last real position."""
        if self.tokens.shape[1] == 1 or self.lengths is None:
            return self.tokens[:, -1]
        last = (self.lengths - 1).div(segment, rounding_mode="floor")
        return self.tokens[torch.arange(len(last), device=last.device), last]


class VideoHead(nn.Module):
    """Logits from the mean of the positions and the first token, through one hidden layer."""

    def __init__(self, config: GlobalTokenConfig) -> None:
        super().__init__()
        self.reads_token = config.has("tokens")
        features = config.width + (config.token_dim if self.reads_token else 0)
        self.hidden = nn.Linear(features, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.width, config.outputs)

    def forward(
        self,
        positions: Float[Tensor, "batch length width"],
        lengths: Int[Tensor, " batch"] | None,
        tokens: Float[Tensor, "batch num_tokens token_dim"],
    ) -> Float[Tensor, "batch outputs"]:
        """Logits."""
        return self.classify(mean_over_time(positions, lengths), tokens)

    def classify(
        self, mean: Float[Tensor, "batch width"], tokens: Float[Tensor, "batch num_tokens token_dim"]
    ) -> Float[Tensor, "batch outputs"]:
        """Logits from the mean of the normalised positions and the tokens."""
        features = torch.cat([mean, tokens[:, 0]], dim=-1) if self.reads_token else mean
        logits: Tensor = self.out(self.dropout(functional.hardswish(self.hidden(features))))
        return logits
