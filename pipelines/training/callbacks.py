"""Callbacks at the end of an epoch: history, best weights, resume point.

`ResumePoint` runs last, because Lightning calls checkpoints after other callbacks; so it saves the others' state as it
is after the epoch.
"""

import csv
import io
import time
from dataclasses import asdict
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint

from longvid.files import replacing, write_bytes
from longvid.pipelines.training.progress import TrainingProgress
from longvid.pipelines.training.results import EpochRow
from longvid.pipelines.training.run_folder import SeedFolder
from longvid.pipelines.training.scored import ScoredModule
from longvid.pipelines.training.sections import EarlyStoppingSettings


class History(Callback):
    """Writes one row per epoch to `history.csv` and the progress display; rows survive interruptions."""

    def __init__(self, folder: SeedFolder, progress: TrainingProgress) -> None:
        self.folder = folder
        self.progress = progress
        self.rows: list[EpochRow] = []
        self._begin = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begin = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row."""
        assert isinstance(pl_module, ScoredModule)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        every = trainer.check_val_every_n_epoch or 1
        validated = (trainer.current_epoch + 1) % every == 0
        row = EpochRow(
            epoch=trainer.current_epoch,
            train_loss=figures["train/loss"],
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
            seconds=time.perf_counter() - self._begin,
            val_loss=figures["val/loss"] if validated else None,
            metrics={name: figures[f"val/{name}"] for name in pl_module.metric_names} if validated else {},
        )
        pl_module.refuse_diverged(row.train_loss)
        self.rows.append(row)
        if trainer.is_global_zero:
            self._write(pl_module.metric_names)
            self.progress.epoch_ended(row)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": [asdict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows."""
        self.rows = [EpochRow(**row) for row in state_dict["rows"]]

    def _write(self, names: tuple[str, ...]) -> None:
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["epoch", "train_loss", "val_loss", *names, "learning_rate", "seconds"])
        for row in self.rows:
            values = [row.val_loss, *(row.metrics.get(name) for name in names)]
            shown = ["" if value is None else f"{value:.6g}" for value in values]
            figures = [f"{row.learning_rate:.6g}", f"{row.seconds:.4g}"]
            writer.writerow([row.epoch, f"{row.train_loss:.6g}", *shown, *figures])
        write_bytes(self.folder.history_file, out.getvalue().encode())


class BestWeights(Callback):
    """Keeps the weights of the best validated epoch, or the last; stops training that no longer improves.

    Of epochs with equal scores the one with the lower validation loss is kept: with few validation videos ties are
    common, and the first epoch with all answers right is seldom the one with the most confident answers.
    """

    def __init__(self, folder: SeedFolder, early_stopping: EarlyStoppingSettings | None) -> None:
        self.folder = folder
        self.early_stopping = early_stopping
        self.metrics: dict[str, float] = {}
        self.epoch = -1
        self.waited = 0
        self.sha256: str | None = None
        """Digest of that epoch's weights."""
        self._best: float | None = None
        self._loss = float("inf")

    @property
    def stopped(self) -> bool:
        """Whether early stopping has ended the training."""
        return self.early_stopping is not None and self.waited >= self.early_stopping.patience

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the epoch with the best one so far."""
        assert isinstance(pl_module, ScoredModule)
        metrics = {name: float(trainer.callback_metrics[f"val/{name}"]) for name in pl_module.metric_names}
        value = pl_module.monitored(metrics)
        gain = self._gain(value, higher=pl_module.higher_is_better)
        loss = float(trainer.callback_metrics["val/loss"])
        last = pl_module.keeps_last
        if self._best is None or gain > 0 or (gain == 0 and loss < self._loss) or last:
            self.metrics, self.epoch, self._loss = metrics, trainer.current_epoch, loss
            self.sha256 = pl_module.save_judged(self.folder.weights_file, write=trainer.is_global_zero)
        needed = self.early_stopping.min_delta if self.early_stopping is not None else 0.0
        self.waited = 0 if self._best is None or gain > needed else self.waited + 1
        if self._best is None or gain > 0:
            self._best = value
        trainer.should_stop = trainer.should_stop or self.stopped

    def _gain(self, value: float, *, higher: bool) -> float:
        if self._best is None:
            return 0.0
        return value - self._best if higher else self._best - value

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        known = {"metrics": self.metrics, "epoch": self.epoch, "waited": self.waited}
        return known | {"best": self._best, "loss": self._loss, "sha256": self.sha256}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best."""
        self.metrics, self.epoch = state_dict["metrics"], state_dict["epoch"]
        self.waited, self._best, self._loss = state_dict["waited"], state_dict["best"], state_dict["loss"]
        self.sha256 = state_dict.get("sha256")


class ResumePoint(Checkpoint):
    """Saves all that a continued training needs after each epoch, in one atomic file."""

    def __init__(self, folder: SeedFolder) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write beside, then rename; of several processes the first writes, the others wait."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder.resume_file)
            return
        with replacing(self.folder.resume_file) as temporary:
            trainer.save_checkpoint(temporary)
