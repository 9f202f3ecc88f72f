"""Training with token labels, which a larger model gives.

The trained larger model, the teacher, labels every final position.
"""

from jaxtyping import Float, Int
from torch import Tensor, where
from torch.nn import functional

KEPT_CLASSES = 5


def token_targets(teacher: Float[Tensor, "places classes"]) -> Float[Tensor, "places classes"]:
    """Soft labels of each position from the teacher's logits.

    Logits below the fifth largest become 0, not minus infinity, before the softmax, as in the released training: the
    dropped classes keep probability, most of it where the teacher's logits are small or negative. Ties keep more than
    five.
    """
    fifth = teacher.topk(min(KEPT_CLASSES, teacher.shape[-1]), dim=-1).values[..., -1:]
    return where(teacher >= fifth, teacher, 0.0).softmax(dim=-1)


def token_label_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    token_logits: Float[Tensor, "places classes"],
    teacher_logits: Float[Tensor, "places classes"],
    *,
    gamma: float = 0.5,
) -> Float[Tensor, ""]:
    """gamma x cross-entropy of the clips + (1 - gamma) x mean soft cross-entropy of all positions of all clips."""
    of_tokens = functional.cross_entropy(token_logits, token_targets(teacher_logits))
    return gamma * functional.cross_entropy(logits, labels) + (1 - gamma) * of_tokens
