"""Progress of a training, as an interface; the command line draws it."""

from typing import Protocol, runtime_checkable

from longvid.pipelines.training.results import EpochRow, SeedResult


@runtime_checkable
class TrainingProgress(Protocol):
    """Receives a run's progress."""

    def seed_started(self, seed: int, *, epochs: int, done: int) -> None:
        """The training of a seed starts, or continues after `done` epochs."""
        ...

    def epoch_ended(self, row: EpochRow) -> None:
        """An epoch is trained and, if it was due, validated."""
        ...

    def seed_ended(self, result: SeedResult) -> None:
        """A seed is trained."""
        ...


class Quiet:
    """A `TrainingProgress` that does nothing."""

    def seed_started(self, seed: int, *, epochs: int, done: int) -> None:
        """Do nothing."""

    def epoch_ended(self, row: EpochRow) -> None:
        """Do nothing."""

    def seed_ended(self, result: SeedResult) -> None:
        """Do nothing."""
