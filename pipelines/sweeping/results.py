"""What a sweep found."""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["done", "pruned", "failed", "running"]


@dataclass(frozen=True)
class TrialResult:
    """One trial: its settings, and how it did on the validation videos."""

    number: int
    state: State
    settings: dict[str, Any]
    value: float | None
    """The metric that chooses, mean over seeds; of a pruned trial its best before it was stopped."""
    epochs: int
    """Epochs that were validated, over all seeds."""
    seconds: float | None
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class SweepResult:
    """All trials, the best first."""

    out: str
    metric: str
    higher_is_better: bool
    trials: tuple[TrialResult, ...]
    best: TrialResult
    run: str
    """Folder of the best trial's run, to be evaluated."""
    recipe: str
    """Recipe file with the best settings."""
    table: str
    """All trials as CSV."""
    plot: str
    """Page that draws them."""
    notes: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        """Trials that ended so."""
        return sum(trial.state == state for trial in self.trials)
