"""How learning rate and weight decay change over a training."""

import math

from longvid.pipelines.training.sections import ScheduleSettings


def rate_factor(step: int, *, steps: int, settings: ScheduleSettings) -> float:
    """Factor on the learning rate at a step, counted from 0: a linear rise, then constant or half a cosine."""
    rise = math.ceil(settings.warmup * steps)
    if settings.name == "constant":
        return 1.0 if step >= rise else risen(step, rise, settings.start)
    ahead = settings.name == "cosine-ahead"
    return cosine(step, steps=steps, rise=rise, start=settings.start, final=settings.final, ahead=ahead)


def cosine(
    step: int, *, steps: int, rise: int = 0, start: float = 0.0, final: float = 0.0, ahead: bool = False
) -> float:
    """A linear rise from `start` to 1 over `rise` steps, then half a cosine to `final`; steps count from 0.

    The last step of the rise is at 1. `ahead`: the step after it is already one step down the cosine, so the last step
    is at `final` (V-JEPA 2); otherwise it is at 1 too, and `final` would come after the last step.
    """
    if step < rise:
        return risen(step, rise, start)
    share = (step - rise + ahead) / max(1, steps - rise)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def risen(step: int, rise: int, start: float) -> float:
    """A line from `start` (before step 0) to 1 at step `rise` - 1."""
    return start + (1 - start) * (step + 1) / rise


def decay_at(step: int, *, steps: int, first: float, final: float) -> float:
    """Weight decay at a step, counted from 0: half a cosine from `first` to `final`, one step ahead (V-JEPA)."""
    return final + (first - final) * cosine(step, steps=steps, ahead=True)
