"""Refinement stages behind any decoder that answers every step.

The decoder's probabilities go through MS-TCN's stages, which see nothing else: they learn which orders and lengths of
actions are plausible, and so mend answers that flicker. Most of MS-TCN's F1 comes from them.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longvid.decoders.base import Decoder
from longvid.decoders.segmentation.ms_tcn import Stage
from longvid.decoders.segmentation.staged import chances
from longvid.errors import DecoderError
from longvid.layers.masks import beyond
from longvid.validation import Count, Share, settings


@settings(DecoderError, kw_only=True)
class RefinementSettings:
    """Stages after a decoder; the defaults are MS-TCN's and MS-TCN++'s."""

    stages: Count = 3
    layers: Count = 10
    """Layer i has dilation 2^i: ten layers see 2,047 steps; at 2 steps per second 6 to 8 are enough."""
    width: Count = 64
    dropout: Share = 0.5
    shared: bool = False
    """One set of weights for all stages, as in a variant of the MS-TCN++ paper (not in its code)."""


class Refined(Decoder):
    """`decoder`, then stages that refine its answers; every stage is supervised.

    tokens_per_clip: where a clip has several tokens, the stages refine the clip's mean logits, and all its tokens get
    the clip's answer.
    """

    def __init__(self, decoder: Decoder, settings: RefinementSettings, *, tokens_per_clip: int = 1) -> None:
        super().__init__()
        config = decoder.config
        if config.head != "steps":
            raise DecoderError(
                "refinement needs a decoder that answers every step: a dense task, or head='steps'; this one "
                "answers whole windows"
            )
        self.decoder = decoder
        self.config = config
        self.last_names = tuple(f"decoder.{name}" for name in decoder.last_names)
        self.head_names = (*(f"decoder.{name}" for name in decoder.head_names), "refine")
        self.settings = settings
        self.tokens_per_clip = tokens_per_clip
        made = 1 if settings.shared else settings.stages
        self.refine = nn.ModuleList(
            Stage(config.outputs, settings.width, config.outputs, layers=settings.layers, dropout=settings.dropout)
            for _ in range(made)
        )

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch length outputs"]:
        """Logits of the last stage."""
        return self.stages(tokens, lengths)[-1]

    @property
    def min_tokens(self) -> int:
        """The decoder's own."""
        return self.decoder.min_tokens

    def stages(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "stages batch length outputs"]:
        """Logits of the decoder's own stages, then of each refinement."""
        own = self.decoder.stages(tokens, lengths)
        clips = own[-1].unflatten(1, (-1, self.tokens_per_clip)).mean(dim=2)
        valid = None
        if lengths is not None:
            ends = lengths // self.tokens_per_clip
            valid = (~beyond(clips, ends)).transpose(1, 2).to(clips)
            clips = clips.masked_fill(beyond(clips, ends), 0.0)
        logits, made = clips.transpose(1, 2), []
        for index in range(self.settings.stages):
            stage = self.refine[0 if self.settings.shared else index]
            logits = stage(chances(logits, valid), valid)
            made.append(logits.transpose(1, 2).repeat_interleave(self.tokens_per_clip, dim=1))
        return torch.cat([own, torch.stack(made)])

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The decoder's own groups, and one of the refinement's weights."""
        own = list(self.refine.parameters())
        groups = self.decoder.param_groups(learning_rate, weight_decay)
        return [*groups, {"params": own, "lr": learning_rate, "weight_decay": weight_decay}]
