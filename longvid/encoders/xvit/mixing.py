"""Space-time mixing attention: keys and values from other frames.

Some channels of every key and value come from the neighbouring frames.

Glossary: t frame, S tokens per frame (class token first), C channels over all heads (channel = head * head_dim + j),
f = floor(C / shift_div) channels moved from each side. Bulat et al., "Space-time Mixing Attention for Video
Transformer", NeurIPS 2021, arXiv 2106.05968; the rule below is the one of the published weights.

    channels [0, f)    of frame t  <-  frame t + 1   (zero if t is the last frame of its segment)
    channels [f, 2f)   of frame t  <-  frame t - 1   (zero if t is the first)
    channels [2f, C)   of frame t  <-  frame t itself

The paper splits the channels inside each head; the weights were trained with this split of the joined heads. So with
C = 768, 12 heads, shift_div = 8, one and a half heads look ahead, as many look back, and nine see their own frame.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.layers.transformer import Attention, attend


def mix_neighbours_(
    keys_values: Float[Tensor, "segments frames *tokens dim"], shift: int
) -> Float[Tensor, "segments frames *tokens dim"]:
    """The rule above applied in place to keys, values, or both stacked in `tokens`; returns its argument.

    In place: only the 2 * `shift` moved channels are copied, the rest of the buffer is untouched.
    """
    ahead = keys_values[:, 1:, ..., :shift].clone()
    behind = keys_values[:, :-1, ..., shift : 2 * shift].clone()
    keys_values[:, :-1, ..., :shift] = ahead
    keys_values[:, -1:, ..., :shift] = 0
    keys_values[:, 1:, ..., shift : 2 * shift] = behind
    keys_values[:, :1, ..., shift : 2 * shift] = 0
    return keys_values


def frame_summaries(
    keys_values: Float[Tensor, "segments frames tokens two dim"],
) -> Float[Tensor, "segments frames summaries two dim"]:
    """One summary key and value for every frame of the segment, which every frame attends to.

    A reconstruction: the paper describes the summary tokens in words and the authors' code has none. Decided here:
    a summary is the mean over the patch tokens, without the class token, which is a summary already; it is taken
    after the key and value projection, which equals projecting the mean; it is never mixed, so that a summary stands
    for its own frame; a segment border stops it like everything else in the backbone.
    """
    frames = keys_values.shape[1]
    return keys_values[:, :, 1:].mean(dim=2).unsqueeze(1).expand(-1, frames, -1, -1, -1)


class MixingAttention(Attention):
    """Attention inside each frame over keys and values mixed with the neighbouring frames'."""

    def __init__(
        self, dim: int, num_heads: int, *, qkv_bias: bool = True, shift_div: int = 8, summary_tokens: bool = False
    ) -> None:
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        if shift_div < 2:
            raise ValueError(f"shift_div={shift_div}: must be at least 2 (half of the channels from each side)")
        self.shift = dim // shift_div
        self.summary_tokens = summary_tokens

    def forward(
        self, tokens: Float[Tensor, "frames length dim"], segment_frames: int | None = None
    ) -> Float[Tensor, "frames length dim"]:
        """Every token's mixture; frames are clip-major and exchange channels inside groups of `segment_frames`."""
        query_key_value = self.qkv(tokens).unflatten(-1, (3, -1))
        keys_values = query_key_value[:, :, 1:].unflatten(0, (-1, segment_frames or len(tokens)))
        summaries = [frame_summaries(keys_values)] if self.summary_tokens else []
        keys_values = mix_neighbours_(keys_values, self.shift)
        if summaries:
            keys_values = torch.cat([keys_values, *summaries], dim=2)
        key, value = keys_values.flatten(0, 1).unbind(dim=2)
        output: Tensor = self.proj(attend(query_key_value[:, :, 0], key, value, self.num_heads))
        return output
