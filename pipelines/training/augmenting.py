"""Augmentation of training windows in the space of features.

    clips of a window    0  1  2  3  4  5  6  7
    time_stretch         0  0  1  2  2  3  4  4  5  6  6  7        another tempo
    time_jitter          0  1  1  1  3  3  4  5  5  5  6  7        neighbours in a place's stead, in order
    token_drop           0  1  1  3     4     5  5  6  7           some left out
    window_mask          0  1  1  3     -     -  -  6  7           a span shows the window's mean only
    mixup                a x + (1 - a) y                           with another window of the batch, targets likewise

A clip's tokens and its label move together. Nothing is changed in validation. Every number that is drawn follows from
a seed of its own, so a strength of 0 gives the training that there would be without the setting, dropout included.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longvid.errors import ConfigError
from longvid.pipelines.training.sections import AugmentSettings
from longvid.tasks import Task
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import WindowBatch

OWN_DRAWS = 250_000_000
"""Added to the seed, so that what is drawn here is not what dropout draws from it."""


class Augmented(NamedTuple):
    """A batch as it is trained on. Mixed windows have `others` as second targets, which count 1 - `share`."""

    batch: WindowBatch
    others: Tensor | None = None
    share: float = 1.0


def refuse_unfit(settings: AugmentSettings, task: Task) -> None:
    """Raise `ConfigError` for mixup of windows whose clips have labels of their own."""
    if settings.mixup and task.kind == "dense":
        raise ConfigError(
            f"augment.mixup mixes targets of whole windows, and {task.name!r} labels every clip; leave it out, or use "
            "augment.window_mask"
        )


def augment(
    batch: WindowBatch,
    settings: AugmentSettings,
    *,
    seed: int,
    num_tokens: int,
    fewest: int = 1,
    most: int | None = None,
    dense: bool = False,
) -> Augmented:
    """The batch with the changes of the settings, drawn from `seed`.

    fewest: clips that a window keeps, if it has so many. most: clips that a stretched window may have.
    """
    if settings == AugmentSettings():
        return Augmented(batch)
    generator = torch.Generator().manual_seed(seed + OWN_DRAWS)
    clips = (batch.lengths // num_tokens).tolist()
    if settings.time_stretch or settings.time_jitter or settings.token_drop:
        longest = max(clips) if most is None else most
        picks = [_picked(count, settings, generator, fewest=fewest, most=max(longest, count)) for count in clips]
        batch = _with_picks(batch, picks, num_tokens=num_tokens, dense=dense)
        clips = [len(own) for own in picks]
    if settings.mixup:
        mixed = _mixed(batch, clips, settings.mixup, generator, num_tokens=num_tokens)
    else:
        mixed = Augmented(batch)
    if settings.window_mask:
        masked = _masked(mixed.batch, clips, settings.window_mask, generator, num_tokens=num_tokens)
        mixed = mixed._replace(batch=masked)
    return mixed


def mixed_loss(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, given: Augmented) -> Tensor:
    """The loss of mixed targets: the mean of the losses by either, weighted by share.

    For cross-entropies that is the loss of the soft target; for squared errors it has the same gradient.
    """
    targets = given.batch.targets
    assert targets is not None
    found = loss(logits, targets)
    return found if given.others is None else given.share * found + (1 - given.share) * loss(logits, given.others)


def stretched(count: int, stretch: float, generator: torch.Generator, *, most: int) -> Int[Tensor, " picked"]:
    """The clips of a window at another tempo; of more than `most` a random stretch of so many."""
    drawn = float(torch.rand((), generator=generator)) * 2 - 1
    length = max(1, round(count * (1 + stretch) ** drawn))
    picks: Tensor = (torch.arange(length) * 2 + 1) * count // (2 * length)
    if length <= most:
        return picks
    first = int(torch.randint(length - most + 1, (), generator=generator))
    return picks[first : first + most]


def _picked(
    count: int, settings: AugmentSettings, generator: torch.Generator, *, fewest: int, most: int
) -> Int[Tensor, " picked"]:
    """The clips that a window of `count` clips is made of, in order."""
    picks = torch.arange(count)
    if settings.time_stretch:
        picks = stretched(count, settings.time_stretch, generator, most=most)
        if len(picks) < fewest:
            picks = torch.arange(count)
    if reach := settings.time_jitter:
        moved = picks + torch.randint(-reach, reach + 1, (len(picks),), generator=generator)
        picks = moved.clamp(0, count - 1).sort().values
    if settings.token_drop:
        chances = torch.rand(len(picks), generator=generator)
        kept = chances >= settings.token_drop
        least = min(fewest, len(picks))
        if int(kept.sum()) < least:
            kept[chances.argsort(descending=True)[:least]] = True
        picks = picks[kept]
    return picks


def _with_picks(batch: WindowBatch, picks: list[Tensor], *, num_tokens: int, dense: bool) -> WindowBatch:
    """The batch with windows of the picked clips, padded to the longest of them."""
    longest = max(len(own) for own in picks)
    steps = batch.tokens.unflatten(1, (-1, num_tokens))
    tokens = steps.new_zeros((len(picks), longest, *steps.shape[2:]))
    targets = batch.targets
    labels = None if targets is None or not dense else targets.new_full((len(picks), longest), UNLABELLED)
    for index, own in enumerate(picks):
        there = own.to(steps.device)
        tokens[index, : len(own)] = steps[index, there]
        if labels is not None and targets is not None:
            labels[index, : len(own)] = targets[index, there]
    lengths = torch.tensor([len(own) * num_tokens for own in picks], device=batch.lengths.device)
    return batch._replace(tokens=tokens.flatten(1, 2), lengths=lengths, targets=targets if labels is None else labels)


def _mixed(
    batch: WindowBatch, clips: list[int], strength: float, generator: torch.Generator, *, num_tokens: int
) -> Augmented:
    """Every window mixed with another of the batch, played in the time of the first."""
    share = _beta(strength, generator)
    order = torch.randperm(len(clips), generator=generator).tolist()
    steps = batch.tokens.unflatten(1, (-1, num_tokens))
    mixed = steps.clone()
    for index, other in enumerate(order):
        own, theirs = clips[index], clips[other]
        picks = ((torch.arange(own) * 2 + 1) * theirs // (2 * own)).to(steps.device)
        mixed[index, :own] = share * steps[index, :own] + (1 - share) * steps[other, picks]
    assert batch.targets is not None
    return Augmented(batch._replace(tokens=mixed.flatten(1, 2)), batch.targets[order], share)


def _beta(strength: float, generator: torch.Generator) -> float:
    """A number drawn from Beta(strength, strength)."""
    parts = torch._standard_gamma(torch.full((2,), strength, dtype=torch.float64), generator=generator)
    total = float(parts.sum())
    return float(parts[0]) / total if total > 0 else float(torch.randint(2, (), generator=generator))


def _masked(
    batch: WindowBatch, clips: list[int], largest: float, generator: torch.Generator, *, num_tokens: int
) -> WindowBatch:
    """A span of each window, of a length drawn evenly up to a share of it, shows the window's mean only."""
    steps = batch.tokens.unflatten(1, (-1, num_tokens))
    hidden = torch.zeros(steps.shape[:2], dtype=torch.bool)
    for index, count in enumerate(clips):
        span = int(torch.randint(int(largest * count) + 1, (), generator=generator))
        first = int(torch.randint(count - span + 1, (), generator=generator))
        hidden[index, first : first + span] = True
    return batch._replace(tokens=_with_mean(steps, hidden.to(steps.device), clips).flatten(1, 2))


def _with_mean(
    steps: Float[Tensor, "batch clips tokens dim"], hidden: Bool[Tensor, "batch clips"], clips: list[int]
) -> Float[Tensor, "batch clips tokens dim"]:
    counts = torch.tensor(clips, device=steps.device)[:, None, None]
    mean = (steps.float().sum(dim=1) / counts).to(steps.dtype)  # padding is zero
    return torch.where(hidden[:, :, None, None], mean[:, None], steps)
