"""The attentive probe: a learned query reads all tokens.

The frozen-evaluation head of V-JEPA (Bardes et al., arXiv 2404.08471) and V-JEPA 2 (Assran et al., arXiv 2506.09985).
Pre-norm blocks without dropout, position code or final norm. The query is not normed before its projection, and the
cross-attention has no output projection. Permuting the tokens changes nothing.

The `steps` head is ours: every token takes the place of the learned query (which is added to it) in the same blocks,
so a step asks the whole window from where it stands.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from longvid.decoders.attentive.config import AttentiveConfig
from longvid.decoders.attentive.folded import FoldedQueries, fold, read
from longvid.decoders.base import Decoder, States, StateScale
from longvid.decoders.sequence import checked_tokens
from longvid.decoders.time_code import TimeCode
from longvid.errors import DecoderError
from longvid.layers.masks import beyond
from longvid.layers.transformer import MLP, Attention, Block, init_transformer_, join_heads, split_heads

START_STD = 0.02


class PaddedAttention(Attention):
    """Self-attention that leaves out padding."""

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """Each token's mixture of the item."""
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        output: Tensor = self.proj(attend_within(query, key, value, self.num_heads, lengths))
        return output


class CrossAttention(nn.Module):
    """Queries read tokens; no output projection."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)

    def forward(
        self,
        query: Float[Tensor, "batch queries dim"],
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, "batch queries dim"]:
        """What each item's own queries read; the tokens are normed already."""
        key, value = self.kv(tokens).chunk(2, dim=-1)
        return attend_within(self.q(query), key, value, self.num_heads, lengths)

    def folded(self, query: Float[Tensor, "queries dim"], norm: nn.LayerNorm | None) -> FoldedQueries:
        """The same for learned queries and tokens that were normed without `norm`'s weights."""
        scale, shift = (None, None) if norm is None else (norm.weight, norm.bias)
        return fold(self.q(query), self.kv.weight, self.kv.bias, self.num_heads, scale, shift)


class CrossBlock(nn.Module):
    """q + CrossAttention(q, LN1(x)), then q + MLP(LN2(q)); bare cross-attention where it is not complete."""

    def __init__(self, config: AttentiveConfig) -> None:
        super().__init__()
        dim, epsilon = config.dim, config.norm_epsilon
        self.attn = CrossAttention(dim, config.num_heads, qkv_bias=config.qkv_bias)
        self.norm1 = nn.LayerNorm(dim, eps=epsilon) if config.complete else None
        self.norm2 = nn.LayerNorm(dim, eps=epsilon) if config.complete else None
        self.mlp = MLP(dim, int(dim * config.mlp_ratio)) if config.complete else None

    def forward(
        self, query: Tensor, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch queries dim"]:
        """The queries after they have read the tokens: learned ones (queries, dim), or each item's own."""
        if query.ndim == 2:
            folded = self.folded(query)
            outside = None if lengths is None else beyond(tokens, lengths)
            return self.finish(query, folded.finish(read(self.normed(tokens), folded.directions, outside)))
        return self.finish(query, self.attn(query, tokens if self.norm1 is None else self.norm1(tokens), lengths))

    def folded(self, query: Float[Tensor, "queries dim"]) -> FoldedQueries:
        """Learned queries, with the projections folded into them."""
        return self.attn.folded(query, self.norm1)

    def normed(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length dim"]:
        """The tokens as `read` takes them: normed, but for the norm's weights."""
        return tokens if self.norm1 is None else functional.layer_norm(tokens, tokens.shape[-1:], eps=self.norm1.eps)

    def finish(self, query: Tensor, found: Float[Tensor, "batch queries dim"]) -> Float[Tensor, "batch queries dim"]:
        """The queries after the residual and the MLP."""
        if self.norm2 is None or self.mlp is None:
            return found
        query = query + found
        query = query + self.mlp(self.norm2(query))
        return query


class AttentiveProbe(Decoder):
    """Self-attention blocks, a cross-attention block from learned queries, a linear layer."""

    config: AttentiveConfig
    head_names = ("linear", "cross", "query")

    def __init__(self, config: AttentiveConfig) -> None:
        super().__init__()
        self.config = config
        self.time = TimeCode(config.dim, normalised=True) if config.time_code else None
        self.query = nn.Parameter(torch.empty(max(1, len(config.queries)), config.dim))
        self.blocks = nn.ModuleList(_self_block(config) for _ in range(config.layers - 1))
        self.cross = CrossBlock(config)
        self.linear = nn.Linear(config.dim, config.outputs)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The authors' start.

        query, linear layers of blocks    normal, standard deviation 0.02, biases zero
        last layer of each branch         then divided by sqrt(2 (index of the block + 1)); the cross-attention block
                                          has no output projection, and the index of the last self-attention block
        `linear`                          torch's own start
        """
        nn.init.trunc_normal_(self.query, std=START_STD)
        for part in (self.blocks, self.cross):
            init_transformer_(part, std=START_STD)
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            assert isinstance(block.attn, PaddedAttention)
            for layer in (block.attn.proj, block.mlp.fc2):
                layer.weight.div_(math.sqrt(2 * (index + 1)))
        if self.cross.mlp is not None:
            self.cross.mlp.fc2.weight.div_(math.sqrt(2 * max(1, self.config.layers - 1)))

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item."""
        return self.classify(self.pooled(self.embed(tokens, lengths), lengths))

    def embed(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """Tokens before the first block."""
        x = checked_tokens(tokens, lengths, dim=self.config.dim).to(self.linear.weight.dtype)
        return x if self.time is None else x + self.time(x.shape[1], lengths)

    def state_widths(self) -> tuple[int, ...]:
        """Width of the tokens. Raises DecoderError for a probe without self-attention, or that cannot tell time."""
        if self.config.layers == 1 or self.config.order == "query-first":
            raise DecoderError(
                "an attentive probe whose query alone reads the tokens has nothing to pretrain; use attentive-4, or "
                "decoder.options.layers=4"
            )
        if self.time is None:
            raise DecoderError(
                "an attentive probe cannot tell masked clips apart, as it has no order; give "
                "decoder.options.time_code=true"
            )
        return (self.config.dim,)

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The tokens after the self-attention blocks."""
        self.state_widths()
        return States((StateScale(self.run_blocks(self.embed(tokens, lengths), lengths), lengths, 1),))

    def pooled(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch queries dim"]:
        """What the linear layer reads: one row per learned query, or with the `steps` head one per token."""
        steps = self.config.head == "steps"
        query_last = self.config.order == "query-last"
        if query_last:
            x = self.run_blocks(x, lengths)
        found: Tensor = self.cross(x + self.query if steps else self.query, x, lengths)
        return found if query_last else self.run_blocks(found, lengths if steps else None)

    def run_blocks(self, x: Tensor, lengths: Int[Tensor, " batch"] | None) -> Tensor:
        """The self-attention blocks, recomputed in the backward pass if the config says so."""
        for block in self.blocks:
            if self.config.checkpointing and self.training:
                x = checkpoint(block, x, lengths, use_reentrant=False)
            else:
                x = block(x, lengths)
        return x

    def classify(self, pooled: Float[Tensor, "batch queries dim"]) -> Float[Tensor, "batch *steps outputs"]:
        """Logits from what `pooled` returns; with several queries each answers for its own outputs."""
        if self.config.head == "steps" or not self.config.queries:
            logits: Tensor = self.linear(pooled if self.config.head == "steps" else pooled[:, 0])
            return logits
        weights, biases = (part.split(list(self.config.queries)) for part in (self.linear.weight, self.linear.bias))
        parts = [functional.linear(pooled[:, i], w, b) for i, (w, b) in enumerate(zip(weights, biases, strict=True))]
        return torch.cat(parts, dim=-1)


def _self_block(config: AttentiveConfig) -> Block:
    attention = PaddedAttention(config.dim, config.num_heads, qkv_bias=config.qkv_bias)
    return Block(config.dim, attention, mlp_ratio=config.mlp_ratio, norm_eps=config.norm_epsilon)


def attend_within(
    query: Float[Tensor, "batch queries dim"],
    key: Float[Tensor, "batch length dim"],
    value: Float[Tensor, "batch length dim"],
    heads: int,
    lengths: Int[Tensor, " batch"] | None,
) -> Float[Tensor, "batch queries dim"]:
    """Fused attention over each item's own keys."""
    mask = None if lengths is None else ~beyond(key, lengths)[:, None, None, :, 0]
    q, k, v = (split_heads(part, heads) for part in (query, key, value))
    return join_heads(functional.scaled_dot_product_attention(q, k, v, attn_mask=mask))
