"""A student with a projector per teacher, and the losses.

    student = Student(encoder, [768])
    found = student(clips)[0]                    # Matched: frames (batch, time, 768), pooled (batch, 768)
    loss = match_loss(found.pooled, targets, "cosine")

Targets are standardised over the store (mean 0, deviation 1 per number), which `standardised` undoes for a projector
that stays with the student.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvid.encoders.base import Encoder

MatchLoss = Literal["cosine", "smooth-l1"]


class Matched(NamedTuple):
    """What a student gives for one teacher."""

    frames: Float[Tensor, "batch time dim"]
    """One vector per time step of the student: the mean over its places."""
    pooled: Float[Tensor, "batch dim"]
    """Their mean."""


class Student(nn.Module):
    """An encoder whose mean tokens are projected to the width of each teacher."""

    def __init__(self, encoder: Encoder, widths: Sequence[int], *, dim: int) -> None:
        """`dim`: width of the encoder's tokens."""
        super().__init__()
        self.encoder = encoder
        self.projectors = nn.ModuleList(nn.Linear(dim, width) for width in widths)

    def forward(self, clips: Float[Tensor, "batch 3 time height width"]) -> list[Matched]:
        """One `Matched` per teacher."""
        steps = self.encoder(clips).tokens.mean(dim=2)
        found = [projector(steps) for projector in self.projectors]
        return [Matched(frames, frames.mean(dim=1)) for frames in found]


def at_steps(frames: Float[Tensor, "batch time dim"], steps: int) -> Float[Tensor, "batch steps dim"]:
    """Vectors at another number of time steps over the same seconds: means of what a step covers, or between two."""
    if frames.shape[1] == steps:
        return frames
    along = frames.transpose(1, 2)
    if frames.shape[1] > steps:
        return functional.adaptive_avg_pool1d(along, steps).transpose(1, 2)
    return functional.interpolate(along, size=steps, mode="linear", align_corners=False).transpose(1, 2)


def match_loss(
    found: Float[Tensor, "*items dim"], targets: Float[Tensor, "*items dim"], loss: MatchLoss
) -> Float[Tensor, "*items"]:
    """1 - cosine, or smooth L1, of each vector."""
    if loss == "cosine":
        return 1 - functional.cosine_similarity(found, targets, dim=-1)
    return functional.smooth_l1_loss(found, targets, reduction="none").mean(dim=-1)


def similarity_loss(
    found: Float[Tensor, "batch dim"], targets: Float[Tensor, "batch dim"], *, temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of the student's rows of similarities within the batch against the teacher's (MobileCLIP).

    Each row is a softmax over the other clips; a clip's similarity to itself, 1 for both, is left out.
    """
    if len(found) < 3:
        return found.sum() * 0
    others = ~torch.eye(len(found), dtype=torch.bool, device=found.device)

    def rows(vectors: Tensor) -> Tensor:
        unit = functional.normalize(vectors, dim=-1)
        return (unit @ unit.T / temperature)[others].view(len(vectors), -1)

    return functional.cross_entropy(rows(found), rows(targets).softmax(dim=-1))


def in_teachers_space(
    projector: nn.Linear, mean: Float[Tensor, " dim"], deviation: Float[Tensor, " dim"], scale: float
) -> nn.Linear:
    """The projector, then `scale`, then what undoes the standardisation: its output is in the teacher's space."""
    made = nn.Linear(projector.in_features, projector.out_features)
    with torch.no_grad():
        made.weight.copy_(projector.weight.cpu() * (scale * deviation)[:, None])
        made.bias.copy_(projector.bias.cpu() * scale * deviation + mean)
    return made
