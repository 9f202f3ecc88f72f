"""Results of encoders' trainings: plain values."""

import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from longvid.validation import made


@dataclass(frozen=True)
class LearningResult:
    """One trained encoder."""

    out: str
    name: str
    encoder: str
    what: str
    """`finetune` or `distil`."""
    parameters: int
    train: int
    """Training videos, or clips of a distillation."""
    val: int
    best_epoch: int
    epochs: int
    metrics: dict[str, float]
    """Validation metrics in the best epoch."""
    seconds: float
    clips_per_second: float
    """Training clips per second over all devices, validation left out; 0 where nothing was left to train."""
    peak_memory_bytes: int
    """Peak of the device, or of this process where that is the CPU; worker processes have their own."""
    weights: str
    weights_sha256: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LearningResult":
        """The result of plain values."""
        return made(cls, values)


class Speed(Callback):
    """Counts training clips and the seconds they took, and the peak of memory."""

    def __init__(self) -> None:
        self.clips = 0
        self.seconds = 0.0
        self._since = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock after every batch: validation comes after the last."""
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now
        self.clips += len(batch["clip"])

    @property
    def clips_per_second(self) -> float:
        """Clips of this process per second."""
        return self.clips / self.seconds if self.seconds else 0.0


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far, on the device or in this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
