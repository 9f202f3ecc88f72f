"""How V-JEPA 2's evaluation joins the clips and crops of a video around the probe.

    tokens of every clip --join_segments--> one sequence per view --probe--> logits --mean_of_views--> probabilities

The probe sees all segments of a video at once: there is one attention over all of them, and no prediction per segment.
In longvid a window of several clips is that sequence already (`longvid.windows`), and the probabilities of several
windows of a video are averaged like those of views.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def join_segments(tokens: Float[Tensor, "segments views batch length dim"]) -> Float[Tensor, "views batch all dim"]:
    """The tokens of each view's segments one after another, in the order of time."""
    return tokens.movedim(0, 2).flatten(2, 3)


def mean_of_views(logits: Float[Tensor, "views batch classes"]) -> Float[Tensor, "batch classes"]:
    """Mean of the views' probabilities, as the code has it; the paper's text averages logits."""
    return logits.softmax(dim=-1).mean(dim=0)


def frame_positions(
    tokens: Float[Tensor, "*batch length dim"], frames: Int[Tensor, "*batch frames"], *, tubelet: int = 2
) -> Float[Tensor, "*batch length dim"]:
    """Sine codes of the frame number that each token's tubelet starts with (`use_pos_embed`, off as published).

    tokens: one clip, time-major; frames: its frame numbers. Row f of the table is sin(f w) for half of the channels,
    cos(f w) for the others, with w = 10000^(-2 i / dim).
    """
    half = tokens.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=frames.device) / half)
    starts = frames[..., ::tubelet]
    angles = starts[..., None].double() * rates
    table = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return table.repeat_interleave(tokens.shape[-2] // starts.shape[-1], dim=-2).to(tokens.dtype)
