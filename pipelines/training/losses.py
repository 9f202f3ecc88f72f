"""Cross-entropy with smoothed labels and with class weights."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from longvid.tasks.frame_labels import UNLABELLED


def balanced_weights(targets: Int[np.ndarray, " items"], classes: int) -> Float[Tensor, " classes"]:
    """items / (classes x items of the class) for each class that has any; 1 for the others."""
    labelled = targets[targets != UNLABELLED]
    counts = np.bincount(labelled, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.where(counts > 0, len(labelled) / (present * np.maximum(counts, 1)), 1.0)
    return torch.from_numpy(weights).float()


def class_loss(
    logits: Float[Tensor, "batch *clips outputs"],
    targets: Int[Tensor, "batch *clips"],
    *,
    smoothing: float,
    weights: Float[Tensor, " outputs"] | None,
) -> Float[Tensor, ""]:
    """Mean over labelled items, weighted by class, of (1 - s) CE(target) + s mean over all classes of -log p.

    Each item counts with its own class's weight in both parts, so a balanced loss stays balanced when smoothed.
    """
    scores = logits.float()
    if logits.ndim == 3:
        scores, targets = scores[:, : targets.shape[1]].flatten(0, 1), targets.flatten()
    each = functional.cross_entropy(
        scores, targets, ignore_index=UNLABELLED, label_smoothing=smoothing, reduction="none"
    )
    labelled = targets != UNLABELLED
    if weights is None:
        return (each * labelled).sum() / labelled.sum().clamp(min=1)
    own = weights.to(scores.device)[targets.clamp(min=0)] * labelled
    return (each * own).sum() / own.sum().clamp(min=torch.finfo(own.dtype).tiny)
