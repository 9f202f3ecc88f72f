"""A module that is scored after each epoch, as callbacks see it."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from longvid.errors import LongvidError


class TrainingDiverged(LongvidError, ArithmeticError):
    """The loss became NaN or infinite."""


class ScoredModule(LightningModule):
    """A module with validation metrics, of which one chooses the epoch whose weights are kept."""

    config: Any
    """Settings with `out` and `validation.choose`."""
    seed: int

    @property
    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that are logged as `val/NAME`."""

    @abstractmethod
    def monitored(self, metrics: Mapping[str, float]) -> float:
        """What chooses the best epoch, from the metrics of the validation items."""

    @property
    @abstractmethod
    def higher_is_better(self) -> bool:
        """Whether the best epoch has the highest value."""

    @property
    def keeps_last(self) -> bool:
        """Whether the last epoch is kept, however it scores."""
        return bool(self.config.validation.choose == "last")

    @abstractmethod
    def save_judged(self, path: Path, *, write: bool) -> str:
        """Write the weights that are validated, and return their digest; without `write` only that."""

    def refuse_diverged(self, loss: float) -> None:
        """Raise `TrainingDiverged` for a loss that is NaN or infinite: metrics would mean nothing."""
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"{self.config.out}, seed {self.seed}: the loss became {loss} in epoch {self.current_epoch + 1}; "
                "lower optimiser.learning_rate or optimiser.clip_norm, or use precision=float32"
            )
