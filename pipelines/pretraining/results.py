"""Results of a pretraining: plain values, equal in memory and in files."""

import csv
import io
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from longvid.validation import made


@dataclass(frozen=True)
class Compared:
    """A loss beside those of the guesses that need no model, on the same clips."""

    loss: float
    constants: dict[str, float]

    @property
    def hardest(self) -> float:
        """The lowest loss of the guesses."""
        return min(self.constants.values())

    @property
    def beaten(self) -> bool:
        """Whether the model is better than each guess."""
        return self.loss < self.hardest


@dataclass(frozen=True)
class PretrainingEpoch:
    """One epoch; epochs count from 0. `val` is None if the epoch was not validated."""

    epoch: int
    train: Compared
    val: Compared | None
    learning_rate: float
    seconds: float
    hours: float
    """Hours of video that the epoch's windows cover."""

    @property
    def hours_per_second(self) -> float:
        """Hours of video per second of training, validation not counted."""
        return self.hours / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class PretrainResult:
    """A finished pretraining."""

    JSON_PROPERTIES: ClassVar = ("learned",)

    out: str
    decoder: str
    objective: str
    parameters: int
    """Parameters of the decoder."""
    added_parameters: int
    """Parameters that are thrown away after the pretraining."""
    stores: tuple[str, ...]
    videos: int
    validated: int
    short: tuple[str, ...]
    hours: float
    """Hours of video in training."""
    epochs: int
    seconds: float
    hours_per_second: float
    train: Compared
    """Losses of the last epoch."""
    val: Compared | None
    weights_sha256: str
    notes: tuple[str, ...] = field(default=())

    @property
    def learned(self) -> bool:
        """Whether the last epoch beats every guess, on held-out videos if there are any."""
        return (self.val or self.train).beaten

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PretrainResult":
        """The result of plain values."""
        return made(cls, values)


@runtime_checkable
class PretrainingProgress(Protocol):
    """Receives a pretraining's progress."""

    def started(self, *, epochs: int, done: int) -> None:
        """The pretraining starts, or continues after `done` epochs."""
        ...

    def epoch_ended(self, row: PretrainingEpoch) -> None:
        """An epoch is over."""
        ...


class Silent:
    """A `PretrainingProgress` that does nothing."""

    def started(self, *, epochs: int, done: int) -> None:
        """Do nothing."""

    def epoch_ended(self, row: PretrainingEpoch) -> None:
        """Do nothing."""


def history_csv(rows: list[PretrainingEpoch]) -> bytes:
    """One line per epoch: losses, the guesses beside them, rate, seconds, hours of video per second."""
    names = list(rows[0].train.constants) if rows else []
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    parts = ("train", "val")
    losses = [f"{part} {name}" for part in parts for name in ("loss", *names)]
    writer.writerow(["epoch", *losses, "learning_rate", "seconds", "hours_per_second"])
    for row in rows:
        cells = [_cells(compared, names) for compared in (row.train, row.val)]
        figures = [f"{row.learning_rate:.6g}", f"{row.seconds:.4g}", f"{row.hours_per_second:.4g}"]
        writer.writerow([row.epoch, *cells[0], *cells[1], *figures])
    return out.getvalue().encode()


def _cells(compared: Compared | None, names: list[str]) -> list[str]:
    if compared is None:
        return [""] * (1 + len(names))
    return [f"{value:.6g}" for value in (compared.loss, *(compared.constants[name] for name in names))]
