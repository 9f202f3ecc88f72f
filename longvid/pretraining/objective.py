"""What pretraining minimises, and the constants that a model must beat.

Targets are one embedding per clip, the mean of its tokens: of unit length (LV-MAE's), or standardised by the mean and
deviation of the stores' clips. The loss is the mean over the predicted clips of a batch, so that long windows weigh
more. Beside it stand the losses of three guesses that need no model, on the same clips:

    masked       the stores' mean; the mean of the window's visible clips; a line between the visible neighbours
    next-clip    the stores' mean; the mean of the clips so far; the last clip again

A model that does not beat the third has learned nothing.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from longvid.decoders.lv_mae.parts import unit_length
from longvid.errors import ConfigError
from longvid.pretraining.masks import MaskKind
from longvid.validation import AtLeastZero, Count, Share, settings

EPS = 1e-6
"""Epsilon of LV-MAE's cosine and of its standardised channels."""
CONSTANTS = {
    "masked": ("store mean", "visible mean", "interpolation"),
    "next-clip": ("store mean", "mean so far", "last clip"),
}
"""Names of the guesses of each objective; the last is the hardest to beat."""


@settings(ConfigError, kw_only=True)
class Objective:
    """What is predicted, from what, and how a prediction is judged."""

    name: Literal["masked", "next-clip"] = "masked"
    """`masked`: clips that are taken out of the input; `next-clip`: later clips, for causal decoders."""
    mask: MaskKind = "spans"
    ratio: Share = 0.5
    """Share of a window's clips that is masked."""
    mean_span: AtLeastZero = 6.0
    """`spans`: mean number of clips in a span."""
    target: Literal["unit-length", "standardised"] = "standardised"
    """A clip's embedding divided by its norm, or less the mean of the stores' clips, over their deviation."""
    loss: Literal["mse", "cosine", "channel-mse"] = "mse"
    """`mse`: mean over channels; `cosine`: 1 - cosine; `channel-mse`: the target standardised over its channels
    (LV-MAE's `norm_pix_loss`)."""
    horizons: tuple[Count, ...] = (1, 4, 16)
    """`next-clip`: how many clips later."""
    token_weight: AtLeastZero = 0.5
    """`masked`, decoders with global tokens: weight of a second loss, by which the tokens alone, asked for a time,
    must say what was there."""

    def __post_init__(self) -> None:
        if self.ratio == 0:
            raise ConfigError("objective.ratio=0 masks nothing; give a share such as 0.5")
        if self.mean_span < 1:
            raise ConfigError(f"objective.mean_span={self.mean_span} is less than one clip")
        if not self.horizons or len(set(self.horizons)) < len(self.horizons):
            raise ConfigError(f"objective.horizons={self.horizons} must be distinct numbers of clips")

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the guesses beside the loss."""
        return CONSTANTS[self.name]


class ClipStatistics(NamedTuple):
    """Statistics of all clips' embeddings (means over their tokens)."""

    mean: Float[Tensor, " dim"]
    deviation: Float[Tensor, " dim"]
    unit_mean: Float[Tensor, " dim"]
    """Mean of the embeddings divided by their norms."""


def targets_of(
    clips: Float[Tensor, "batch clips dim"], objective: Objective, statistics: ClipStatistics
) -> Float[Tensor, "batch clips dim"]:
    """What a model should predict of each clip."""
    if objective.target == "unit-length":
        found = unit_length(clips)
    else:
        found = (clips - statistics.mean) / statistics.deviation
    return over_channels(found) if objective.loss == "channel-mse" else found


def over_channels(embeddings: Float[Tensor, "*items dim"]) -> Float[Tensor, "*items dim"]:
    """Each embedding less its own mean, over its own deviation (unbiased)."""
    variance = embeddings.var(dim=-1, keepdim=True)
    return (embeddings - embeddings.mean(dim=-1, keepdim=True)) / (variance + EPS).sqrt()


def store_mean(objective: Objective, statistics: ClipStatistics) -> Float[Tensor, " dim"]:
    """The mean clip of the stores, as a prediction."""
    mean = statistics.unit_mean if objective.target == "unit-length" else torch.zeros_like(statistics.mean)
    return over_channels(mean) if objective.loss == "channel-mse" else mean


def error(
    predicted: Float[Tensor, "*items dim"], target: Float[Tensor, "*items dim"], loss: str
) -> Float[Tensor, "*items"]:
    """The loss of each prediction."""
    if loss == "cosine":
        return 1 - functional.cosine_similarity(predicted, target, dim=-1, eps=EPS)
    return (predicted - target).square().mean(dim=-1)


def masked_mean(values: Float[Tensor, "*items"], counted: Bool[Tensor, "*items"]) -> Float[Tensor, ""]:
    """Mean of the counted values; the others may be anything, NaN too."""
    return values.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


def masked_guesses(
    target: Float[Tensor, "batch clips dim"],
    masked: Bool[Tensor, "batch clips"],
    lengths: Int[Tensor, " batch"],
    mean: Float[Tensor, " dim"],
) -> Mapping[str, Float[Tensor, "batch clips dim"]]:
    """The three guesses for masked clips, by name, from the targets of the visible ones."""
    place = torch.arange(target.shape[1], device=target.device)
    visible = ~masked & (place < lengths[:, None])
    seen = target * visible[..., None]
    average = seen.sum(dim=1, keepdim=True) / visible.sum(dim=1).clamp(min=1)[:, None, None]
    guesses = (mean.expand_as(target), average.expand_as(target), between_neighbours(target, visible))
    return dict(zip(CONSTANTS["masked"], guesses, strict=True))


def between_neighbours(
    target: Float[Tensor, "batch clips dim"], visible: Bool[Tensor, "batch clips"]
) -> Float[Tensor, "batch clips dim"]:
    """A line between the visible clips on both sides, in time; beyond the first and the last, that clip itself."""
    length = target.shape[1]
    place = torch.arange(length, device=target.device).expand_as(visible)
    before = torch.where(visible, place, -1).cummax(dim=1).values
    after = torch.where(visible, place, length).flip(1).cummin(dim=1).values.flip(1)
    after = torch.where(after == length, before, after).clamp(min=0)
    before = torch.where(before == -1, after, before).clamp(min=0)
    share = (place - before) / (after - before).clamp(min=1)
    first, second = (target.gather(1, index[..., None].expand_as(target)) for index in (before, after))
    return first + share.to(target.dtype)[..., None] * (second - first)


def past_guesses(
    target: Float[Tensor, "batch clips dim"], mean: Float[Tensor, " dim"]
) -> Mapping[str, Float[Tensor, "batch clips dim"]]:
    """The three guesses, made at each clip, for any later one."""
    counts = torch.arange(1, target.shape[1] + 1, device=target.device, dtype=target.dtype)
    so_far = target.cumsum(dim=1) / counts[:, None]
    return dict(zip(CONSTANTS["next-clip"], (mean.expand_as(target), so_far, target), strict=True))
