"""Hints about settings that are allowed, but unlikely to succeed."""

import math

from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.data import TrainingData

FEWEST_STEPS = {"mean-linear": 50, "max-linear": 50}
"""Steps below which a decoder seldom has learned much; a linear layer needs few."""
FEWEST_STEPS_OF_OTHERS = 300
"""Decoders that have to find out what to remember stay at the level of a guess for some hundred steps."""


def few_steps_hint(config: TrainConfig, data: TrainingData) -> tuple[str, ...]:
    """One hint if the training has fewer steps than its decoder needs, else none."""
    per_epoch = math.ceil(len(data.train.rows) / config.batch_size)  # a window per video, however they are drawn
    steps, needed = config.epochs * per_epoch, FEWEST_STEPS.get(config.decoder.name, FEWEST_STEPS_OF_OTHERS)
    if steps >= needed:
        return ()
    smaller = f", or lower batch_size={config.batch_size}" if config.batch_size > 1 else ""
    return (
        f"{config.decoder.name} seldom learns in fewer than {needed} steps, and this training has {steps} "
        f"({config.epochs} epochs of {per_epoch}); raise epochs to {math.ceil(needed / per_epoch)}{smaller}",
    )
