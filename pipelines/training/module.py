"""The Lightning module: a decoder, its loss, optimiser and schedule."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from longvid.decoders import Decoder
from longvid.errors import LongvidError
from longvid.metrics.items import METRICS
from longvid.pipelines.training.config import ScheduleSettings, TrainConfig
from longvid.pipelines.training.ranks import ALONE, Rank, SharedBatches, gathered, share_of
from longvid.pipelines.training.scoring import WindowScores, logits_of, loss_of, split_scores
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import WindowBatch, WindowDataset

OTHER_RANK = 500_000_000
"""Added to the seed of dropout for each further rank; no training has so many steps."""


def rate_factor(step: int, *, steps: int, settings: ScheduleSettings) -> float:
    """Factor on the learning rate at a step: a linear rise, then constant or half a cosine to zero."""
    rise = math.ceil(settings.warmup * steps)
    if step < rise:
        return (step + 1) / rise
    if settings.name == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


class TrainingDiverged(LongvidError, ArithmeticError):
    """The loss became NaN or infinite."""


class DecoderModule(LightningModule):
    """Trains a decoder on windows and scores it on the validation videos after each epoch.

    All random numbers follow from the seed and the step, so that a run that continues after an epoch is the same as
    one that was never interrupted.
    """

    def __init__(
        self,
        decoder: Decoder,
        config: TrainConfig,
        val: WindowDataset,
        *,
        seed: int,
        steps: int,
        rank: Rank = ALONE,
    ) -> None:
        super().__init__()
        assert val.task is not None
        self.decoder = decoder
        self.config = config
        self.task = val.task
        self.val = val
        self.seed = seed
        self.steps = steps
        self.rank = rank
        self._losses: list[tuple[float, int]] = []
        self.num_tokens = val.store.recipe.num_tokens
        self._plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None

    @property
    def monitor(self) -> str:
        """The metric that chooses the best epoch."""
        return self.task.metrics[0]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss that training minimises."""
        return loss_of(logits, targets, self.task.kind)

    def validation_metrics(self) -> dict[str, float]:
        """The task's metrics over the validation videos scored in this epoch."""
        return split_scores(self._found, self.val).metrics(self.task)

    def training_step(self, batch: WindowBatch, batch_index: int) -> Tensor:
        """Loss of a batch. The generator is seeded by seed and step, so that dropout is the same in a resumed run."""
        assert batch.targets is not None
        torch.manual_seed((self.seed + 1) * 1_000_000_007 + self.global_step + OTHER_RANK * self.rank.rank)
        logits = logits_of(self.decoder, batch, task=self.task, num_tokens=self.num_tokens)
        loss = self.loss(logits, batch.targets)
        if self.rank.world == 1:
            self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.lengths))
            return loss
        batches = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        assert isinstance(batches, SharedBatches)
        counted = self.counted(batch.targets) if batches.counts(batch_index) else 0
        loss = loss * share_of(counted, loss.device, self.rank.world)
        windows = batches.windows(batch_index)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=windows, sync_dist=True)
        return loss

    def counted(self, targets: Tensor) -> Tensor | int:
        """How many targets the loss of a batch is the mean of."""
        return (targets != UNLABELLED).sum() if self.task.kind == "dense" else len(targets)

    def refuse_diverged(self, loss: float) -> None:
        """Raise `TrainingDiverged` for a loss that is NaN or infinite: metrics would mean nothing."""
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"{self.config.out}, seed {self.seed}: the loss became {loss} in epoch {self.current_epoch + 1}; "
                "lower optimiser.learning_rate or optimiser.clip_norm, or use precision=float32"
            )

    def on_validation_epoch_start(self) -> None:
        """Start a new set of scores."""
        self._found = WindowScores(self.task.kind)

    def validation_step(self, batch: WindowBatch, batch_index: int) -> None:
        """Scores and loss of a batch of validation windows."""
        assert batch.targets is not None
        logits = logits_of(self.decoder, batch, task=self.task, num_tokens=self.num_tokens)
        loss = self.loss(logits, batch.targets)
        self.refuse_diverged(float(loss))
        self._losses = [*(self._losses if batch_index else []), (float(loss), len(batch.lengths))]
        self._found.add(logits, batch)

    def on_validation_epoch_end(self) -> None:
        """Log metrics over videos; step the plateau schedule by the first of them."""
        if self.rank.world > 1:
            batches = -(-len(self.val) // self.config.eval_batch_size)
            self._losses = gathered(self._found, self._losses, batches)
        metrics = self.validation_metrics()
        loss = sum(loss * windows for loss, windows in self._losses) / sum(windows for _, windows in self._losses)
        self.log_dict({f"val/{name}": value for name, value in ({"loss": loss} | metrics).items()})
        if self._plateau is not None:
            self._plateau.step(metrics[self.monitor])

    def configure_optimizers(self) -> Any:
        """AdamW over the decoder's parameter groups, with the recipe's schedule."""
        settings, schedule = self.config.optimiser, self.config.schedule
        groups = self.decoder.param_groups(settings.learning_rate, settings.weight_decay)
        optimiser = AdamW(groups, lr=settings.learning_rate, betas=settings.betas)
        if schedule.name == "plateau":
            mode = "max" if METRICS[self.monitor].higher_is_better and not schedule.backwards else "min"
            plateau = ReduceLROnPlateau(optimiser, mode, factor=schedule.factor, patience=schedule.patience)  # type: ignore[arg-type]
            if self._plateau_state is not None:
                plateau.load_state_dict(self._plateau_state)
            self._plateau = plateau
            return optimiser
        moves = LambdaLR(optimiser, lambda step: rate_factor(step, steps=self.steps, settings=schedule))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": moves, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the plateau schedule's state, which Lightning does not know."""
        if self._plateau is not None:
            state = self._plateau.state_dict()
            checkpoint["plateau"] = {
                name: value for name, value in state.items() if isinstance(value, int | float | str)
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the plateau schedule's state."""
        self._plateau_state = checkpoint.get("plateau")
        if self._plateau is not None and self._plateau_state is not None:
            self._plateau.load_state_dict(self._plateau_state)
