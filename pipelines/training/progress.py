"""What a training tells of how far it is; the command line draws it (`longvid.pipelines.cli`)."""

from typing import Protocol, runtime_checkable

from longvid.pipelines.training.results import EpochRow, SeedResult


@runtime_checkable
class TrainingProgress(Protocol):
    """Hears how far a run is."""

    def seed_started(self, seed: int, *, epochs: int, done: int) -> None:
        """The training of a seed begins, or goes on after `done` epochs."""
        ...

    def epoch_ended(self, row: EpochRow) -> None:
        """An epoch is trained and, where it was its turn, validated."""
        ...

    def seed_ended(self, result: SeedResult) -> None:
        """A seed is trained."""
        ...


class Quiet:
    """A `TrainingProgress` that says nothing."""

    def seed_started(self, seed: int, *, epochs: int, done: int) -> None:
        """Say nothing."""

    def epoch_ended(self, row: EpochRow) -> None:
        """Say nothing."""

    def seed_ended(self, result: SeedResult) -> None:
        """Say nothing."""
