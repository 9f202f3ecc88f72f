"""One block of the global-token decoder: Read -> Former -> Local -> Write.

A sequence is cut into segments: (batch, segments, length, dim) with tokens (batch, segments, num_tokens, token_dim).
Offline there is one segment, and its tokens have read everything. In the causal form a segment's tokens have read it
and the segments before it, so the same weights run segment by segment on a stream; `BlockState` is carried along.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from longvid.decoders.global_tokens.config import GlobalTokenConfig
from longvid.decoders.global_tokens.read import ReadState, prefixes, read_in_chunks
from longvid.layers.tokens import Former, Read, SlopeGenerator, Write, rms


class BlockState(NamedTuple):
    """State of a block of the causal form: what was read so far, and the last inputs of its convolution."""

    read: ReadState | None
    recent: Tensor


class GlobalTokenBlock(nn.Module):
    """Lets positions and tokens exchange information; any part can be left out (`config.without`)."""

    def __init__(self, config: GlobalTokenConfig, dilation: int) -> None:
        super().__init__()
        self.causal = config.causal
        self.read_chunk = config.read_chunk
        dim, token_dim = config.width, config.token_dim
        self.read = (
            Read(
                dim,
                token_dim,
                heads=config.heads,
                gated=config.has("gate"),
                own_queries=config.num_tokens if config.queries == "fixed" else 0,
                focused=True,
            )
            if config.has("read")
            else None
        )
        self.former = Former(token_dim, heads=config.heads) if config.has("tokens") else None
        self.local = Local(config, dilation) if config.has("local") else None
        self.write = Write(dim, token_dim, heads=config.heads, normalised=True) if config.has("write") else None

    def forward(
        self,
        x: Float[Tensor, "batch segments length dim"],
        tokens: Float[Tensor, "batch segments num_tokens token_dim"],
        valid: Bool[Tensor, "batch segments length"] | None,
        state: BlockState | None = None,
    ) -> tuple[
        Float[Tensor, "batch segments length dim"], Float[Tensor, "batch segments num_tokens token_dim"], BlockState
    ]:
        """Updated positions and tokens, and the state for the next segment."""
        read_state = None if state is None else state.read
        if self.read is not None:
            seen = read_in_chunks(self.read.queries(tokens), rms(x), valid, self.read.heads, self.read_chunk)
            if self.causal:
                seen = prefixes(seen, read_state)
                read_state = ReadState(*(part[:, -1] for part in seen))
            tokens = self.read.finish(tokens, seen.seen())
        if self.former is not None:
            tokens = self.former(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        recent = x.new_zeros(0) if state is None else state.recent
        if self.local is not None:
            first = tokens[:, :, 0] if self.former is not None else None
            x, recent = self.local(x, first, valid, None if state is None else recent)
        if self.write is not None:
            x = self.write(x.flatten(0, 1), tokens.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x, tokens, BlockState(read_state, recent)


class Local(nn.Module):
    """Inverted bottleneck along time: widen, dilated depth-wise convolution, narrow; token 0 sets the activations."""

    def __init__(self, config: GlobalTokenConfig, dilation: int) -> None:
        super().__init__()
        wide = config.expansion * config.width
        self.causal = config.causal
        self.dilation = dilation
        self.reach = (config.kernel_size - 1) * dilation
        self.up = nn.Linear(config.width, wide)
        self.taps = nn.Conv1d(wide, wide, config.kernel_size, dilation=dilation, groups=wide)
        self.down = nn.Linear(wide, config.width)
        dynamic = config.has("dynamic-relu") and config.has("tokens")
        self.before, self.after = (SlopeGenerator(config.token_dim, wide) if dynamic else None for _ in range(2))

    def forward(
        self,
        x: Float[Tensor, "batch segments length dim"],
        token: Float[Tensor, "batch segments token_dim"] | None,
        valid: Bool[Tensor, "batch segments length"] | None,
        recent: Tensor | None,
    ) -> tuple[Float[Tensor, "batch segments length dim"], Tensor]:
        """x plus the block's output, and the convolution's last inputs (causal form)."""
        h = activate(self.up(rms(x)), self.before, token)
        if valid is not None:
            h = h.masked_fill(~valid[..., None], 0.0)
        line = h.flatten(1, 2).transpose(1, 2)  # batch wide time
        if self.causal:
            past = line.new_zeros(*line.shape[:2], self.reach) if recent is None else recent
            line = torch.cat([past, line], dim=-1)
        else:
            line = functional.pad(line, (self.reach // 2, self.reach - self.reach // 2))
        convolved = self.taps(line).transpose(1, 2).unflatten(1, x.shape[1:3])
        kept = line[..., line.shape[-1] - self.reach :].clone() if self.causal else line.new_zeros(0)
        return x + self.down(activate(convolved, self.after, token)), kept


def activate(
    x: Float[Tensor, "batch segments length dim"],
    generator: SlopeGenerator | None,
    token: Float[Tensor, "batch segments token_dim"] | None,
) -> Float[Tensor, "batch segments length dim"]:
    """max(2 θa x, (2 θb - 1) x) with slopes from the segment's first token; plain ReLU without a generator."""
    if generator is None or token is None:
        return functional.relu(x)
    theta = generator(token.flatten(0, 1)).unflatten(0, token.shape[:2])[:, :, None]
    first, second = theta.chunk(2, dim=-1)
    return torch.maximum(x * (2 * first), x * (2 * second - 1))
