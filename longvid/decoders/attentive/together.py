"""Several attentive probes of one layer on the same tokens.

Before a probe's first weight there is only a norm without weights, so the normed tokens are computed once, and the
queries of all probes read them in one matrix product: little more than the cost of one probe. Without self-attention
nothing else touches every token.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longvid.decoders.attentive.folded import read
from longvid.decoders.attentive.model import AttentiveProbe
from longvid.decoders.base import Decoder
from longvid.layers.masks import beyond


def share_tokens(decoders: Sequence[Decoder]) -> bool:
    """Whether the decoders are attentive probes of the same settings that can read the tokens together."""
    first = decoders[0]
    return (
        all(isinstance(decoder, AttentiveProbe) and decoder.config == first.config for decoder in decoders)
        and first.config.layers == 1
        and first.config.head == "video"
        and not first.config.time_code
    )


def logits_together(
    probes: Sequence[AttentiveProbe],
    tokens: Float[Tensor, "batch length dim"],
    lengths: Int[Tensor, " batch"] | None,
) -> Float[Tensor, "probes batch outputs"]:
    """What each probe says to the tokens; equal to asking one after the other, but for rounding."""
    x = probes[0].embed(tokens, lengths)
    normed = probes[0].cross.normed(x)
    outside = None if lengths is None else beyond(x, lengths)
    folded = [probe.cross.folded(probe.query) for probe in probes]
    rows = [len(one.directions) for one in folded]
    mixtures = read(normed, torch.cat([one.directions for one in folded]), outside).split(rows, dim=1)
    found = [one.finish(mixture) for one, mixture in zip(folded, mixtures, strict=True)]
    pooled = [probe.cross.finish(probe.query, own) for probe, own in zip(probes, found, strict=True)]
    return torch.stack([probe.classify(own) for probe, own in zip(probes, pooled, strict=True)])
