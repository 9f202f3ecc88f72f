"""Mixup and CutMix of a batch of clips, with soft targets.

One share per batch: X-ViT draws it ~ Beta(0.4, 0.4) and mixes with a random permutation; the VideoMAE family mixes with
the batch in reverse order, mixup or CutMix with equal chances. A CutMix box is the same in all frames of a clip.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from longvid.errors import ConfigError
from longvid.validation import AtLeastZero, Probability, settings


@settings(ConfigError)
class Mixing:
    """How clips of a batch are mixed; the default mixes nothing."""

    mixup: AtLeastZero = 0.0
    """Alpha of the Beta distribution of the share; 0: no mixup."""
    cutmix: AtLeastZero = 0.0
    """Alpha of the share of the box; 0: no CutMix."""
    switch: Probability = 0.5
    """Probability of CutMix where both are given."""
    probability: Probability = 1
    """Probability that a batch is mixed at all."""
    partner: Literal["reverse", "permutation"] = "reverse"


def mixed(
    clips: Float[Tensor, "batch 3 time height width"],
    labels: Int[Tensor, "batch"],
    num_classes: int,
    mixing: Mixing,
    *,
    smoothing: float = 0.0,
    random: np.random.Generator,
) -> tuple[Float[Tensor, "batch 3 time height width"], Float[Tensor, "batch classes"]]:
    """Clips and soft targets (each row adds up to 1); the clips given are not changed."""
    targets = soft_targets(labels, num_classes, smoothing)
    if not (mixing.mixup or mixing.cutmix) or len(clips) < 2 or random.random() >= mixing.probability:
        return clips, targets
    cut = bool(mixing.cutmix) and (not mixing.mixup or random.random() < mixing.switch)
    alpha = float(mixing.cutmix if cut else mixing.mixup)
    share = float(random.beta(alpha, alpha))
    reverse = np.arange(len(clips))[::-1].copy()
    order = reverse if mixing.partner == "reverse" else random.permutation(len(clips))
    partner = torch.from_numpy(order).to(clips.device)
    if not cut:
        return share * clips + (1 - share) * clips[partner], share * targets + (1 - share) * targets[partner]
    rows, columns = clips.shape[-2:]
    (top, bottom), (left, right) = (_span(length, 1 - share, random) for length in (rows, columns))
    clips = clips.clone()
    clips[..., top:bottom, left:right] = clips[partner][..., top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (rows * columns)  # what the picture's edge left of the box
    return clips, kept * targets + (1 - kept) * targets[partner]


def soft_targets(labels: Int[Tensor, "batch"], num_classes: int, smoothing: float) -> Float[Tensor, "batch classes"]:
    """1 - smoothing on the class, and smoothing spread evenly over all classes, itself included."""
    return one_hot(labels.long(), num_classes).float() * (1 - smoothing) + smoothing / num_classes


def _span(length: int, area: float, random: np.random.Generator) -> tuple[int, int]:
    half = int(length * np.sqrt(area)) // 2
    centre = int(random.integers(length))
    return max(centre - half, 0), min(centre + half, length)
