"""The Lightning module of a pretraining, and the callback for history."""

import math
import time
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from longvid.files import write_bytes
from longvid.pipelines.pretraining.config import PretrainConfig
from longvid.pipelines.pretraining.data import MaskedBatch
from longvid.pipelines.pretraining.results import Compared, PretrainingEpoch, PretrainingProgress, history_csv
from longvid.pipelines.training.module import TrainingDiverged, rate_factor
from longvid.pipelines.training.run_folder import SeedFolder
from longvid.pretraining.models import Losses, PretrainingModel
from longvid.validation import made


class PretrainingModule(LightningModule):
    """Trains a model on masked windows; every random number follows from the seed and the step."""

    def __init__(self, model: PretrainingModel, config: PretrainConfig, *, steps: int) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.steps = steps
        self.hours = 0.0
        """Hours of video of this epoch's windows so far."""

    def training_step(self, batch: MaskedBatch, batch_index: int) -> Tensor:
        """Loss of a batch."""
        batches = self.current_epoch * int(self.trainer.num_training_batches) + batch_index
        torch.manual_seed((self.config.seed + 1) * 1_000_000_007 + batches)
        losses: Losses = self.model(batch.tokens.float(), batch.lengths, batch.masked)
        self.hours += batch.hours
        self._log("train", losses)
        return losses.total

    def validation_step(self, batch: MaskedBatch, batch_index: int) -> None:
        """Losses of a batch of held-out windows."""
        self._log("val", self.model(batch.tokens.float(), batch.lengths, batch.masked))

    def _log(self, part: str, losses: Losses) -> None:
        values = {"loss": losses.loss, **losses.constants}
        # weighted by the clips that were predicted, so that an epoch's mean is over clips
        self.log_dict(
            {f"{part}/{name}": value for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            batch_size=max(1, losses.predicted),
        )

    def refuse_diverged(self, loss: float) -> None:
        """Raise `TrainingDiverged` for a loss that is NaN or infinite."""
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"{self.config.out}: the loss became {loss} in epoch {self.current_epoch + 1}; lower "
                "optimiser.learning_rate or optimiser.clip_norm, or use precision=float32"
            )

    def configure_optimizers(self) -> Any:
        """AdamW over the model's parameter groups, with the schedule."""
        settings, schedule = self.config.optimiser, self.config.schedule
        groups = self.model.param_groups(settings.learning_rate, settings.weight_decay)
        optimiser = AdamW(groups, lr=settings.learning_rate, betas=settings.betas)
        moves = LambdaLR(optimiser, lambda step: rate_factor(step, steps=self.steps, settings=schedule))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": moves, "interval": "step"}}


class PretrainingHistory(Callback):
    """Writes one row per epoch to `history.csv` and to the progress display; rows survive interruptions."""

    def __init__(self, folder: SeedFolder, progress: PretrainingProgress) -> None:
        self.folder = folder
        self.progress = progress
        self.rows: list[PretrainingEpoch] = []
        self._begin = 0.0
        self._validated = 0.0
        self._validation_begin = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        assert isinstance(pl_module, PretrainingModule)
        pl_module.hours = 0.0
        self._begin, self._validated = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock: hours of video per second are those of training."""
        self._validation_begin = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again."""
        self._validated += time.perf_counter() - self._validation_begin

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row."""
        assert isinstance(pl_module, PretrainingModule)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        names = pl_module.model.objective.constants
        every = trainer.check_val_every_n_epoch or 1
        validated = "val/loss" in figures and (trainer.current_epoch + 1) % every == 0
        row = PretrainingEpoch(
            epoch=trainer.current_epoch,
            train=_compared(figures, "train", names),
            val=_compared(figures, "val", names) if validated else None,
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
            seconds=time.perf_counter() - self._begin - self._validated,
            hours=pl_module.hours,
        )
        pl_module.refuse_diverged(row.train.loss)
        self.rows.append(row)
        write_bytes(self.folder.history_file, history_csv(self.rows))
        self.progress.epoch_ended(row)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": [asdict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows."""
        self.rows = [made(PretrainingEpoch, row) for row in state_dict["rows"]]


def _compared(figures: dict[str, float], part: str, names: tuple[str, ...]) -> Compared:
    return Compared(figures[f"{part}/loss"], {name: figures[f"{part}/{name}"] for name in names})
