"""LV-MAE as a decoder: its encoder over a window's clips, and a probe.

The encoder has attention over one token per clip and no input projection, so its width is that of the embeddings. The
authors train it by masking (`longvid pretrain`), freeze it, and fit the probe to the labels.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from longvid.decoders.base import Decoder, DecoderConfig, States, StateScale
from longvid.decoders.lv_mae.parts import (
    ClipEncoder,
    MaskedAutoencoder,
    Reconstruction,
    blocks_of,
    padding,
    start_,
    unit_length,
)
from longvid.decoders.sequence import checked_tokens, mean_over_time
from longvid.errors import DecoderError
from longvid.layers.masks import zero_beyond
from longvid.validation import Count, Positive, settings

PROBE_EPS = 1e-5
"""Epsilon of the attentive probe's norms; the encoder's have 1e-6."""


@settings(DecoderError, kw_only=True)
class LVMAEConfig(DecoderConfig):
    """Settings of `LVMAE`; the defaults are the published model's."""

    depth: Count = 32
    """Blocks of the encoder."""
    heads: Count = 16
    """Heads of the encoder; fewer where the width cannot be cut into so many."""
    mlp_ratio: Positive = 4
    """Width inside each block's MLP, over the width of the tokens."""
    probe: Literal["attentive", "linear"] = "attentive"
    """`attentive`: one more block and a norm, then a linear layer on the class token; `linear`: on the clips' mean."""
    probe_heads: Count = 8
    """Heads of the attentive probe's block."""
    last_clip: Literal["attended", "ignored"] = "attended"
    """`ignored`: the released probing code's mask, which forgets the class token and so leaves out the last clip."""
    decoder_width: Count = 512
    """Width of the part that reconstructs masked clips, which only pretraining has."""
    decoder_depth: Count = 8
    """Blocks of that part."""
    decoder_heads: Count = 16
    """Heads of that part."""


class LVMAE(Decoder):
    """The encoder over every clip, then a probe on the class token, on the clips' mean, or on each clip (`steps`)."""

    config: LVMAEConfig
    head_names = ("probe",)
    last_names = ("encoder.norm",)

    def __init__(self, config: LVMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ClipEncoder(
            config.dim, depth=config.depth, heads=config.heads, mlp_ratio=float(config.mlp_ratio)
        )
        self.probe = Probe(config)

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item; tokens need not have length 1."""
        encoded, ignored = self.encode(tokens, lengths)
        logits: Tensor = self.probe(encoded, ignored, lengths)
        return logits

    def encode(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch all_tokens dim"], Bool[Tensor, "batch length"] | None]:
        """Class token and clips after the encoder, and which clips nothing attends."""
        tokens = checked_tokens(tokens, lengths, dim=self.config.dim)
        ignored = padding(tokens, lengths)
        if self.config.last_clip == "ignored":
            ends = torch.full((len(tokens),), tokens.shape[1], device=tokens.device) if lengths is None else lengths
            ignored = padding(tokens, ends - 1)
        clips = unit_length(tokens.to(self.encoder.class_token.dtype))
        places = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        return self.encoder(clips, places, ignored, tokens.shape[1]), ignored

    def autoencoder(self) -> MaskedAutoencoder:
        """This encoder with a new reconstruction."""
        return MaskedAutoencoder(self.encoder, self.reconstruction())

    def reconstruction(self) -> Reconstruction:
        """A new part that reconstructs masked clips, for pretraining."""
        config = self.config
        return Reconstruction(
            config.dim,
            config.decoder_width,
            depth=config.decoder_depth,
            heads=config.decoder_heads,
            mlp_ratio=float(config.mlp_ratio),
        )

    def state_widths(self) -> tuple[int, ...]:
        """Width of the encoder."""
        return (self.config.dim,)

    def states(self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None) -> States:
        """The clips after the encoder."""
        return States((StateScale(self.encode(tokens, lengths)[0][:, 1:], lengths, 1),))

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """No decay for vectors (biases and norms), as in the authors' code."""
        return undecayed_vectors(self, learning_rate, weight_decay)


class Probe(nn.Module):
    """From the encoder's output to logits."""

    def __init__(self, config: LVMAEConfig) -> None:
        super().__init__()
        attentive = config.probe == "attentive"
        self.by_step = config.head == "steps"
        self.blocks = blocks_of(
            config.dim, depth=int(attentive), heads=config.probe_heads, mlp_ratio=4.0, norm_eps=PROBE_EPS
        )
        self.norm = nn.LayerNorm(config.dim, eps=PROBE_EPS) if attentive else None
        self.linear = nn.Linear(config.dim, config.outputs)
        start_(self)

    def forward(
        self,
        encoded: Float[Tensor, "batch all_tokens dim"],
        ignored: Bool[Tensor, "batch length"] | None,
        lengths: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits; of every clip for `steps`."""
        if self.norm is not None:
            marked = None if ignored is None else nn.functional.pad(ignored, (1, 0), value=False)
            for block in self.blocks:
                encoded = block(encoded, marked)
            encoded = self.norm(encoded)
        clips = zero_beyond(encoded[:, 1:], lengths)
        if self.by_step:
            read = clips
        else:
            read = encoded[:, 0] if self.norm is not None else mean_over_time(clips, lengths)
        logits: Tensor = self.linear(read)
        return logits


def undecayed_vectors(module: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Two optimiser groups: matrices with decay, vectors without."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "lr": learning_rate, "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "lr": learning_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
