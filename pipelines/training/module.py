"""The Lightning module: a decoder, its loss, optimiser and schedule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from longvid.decoders import Decoder
from longvid.decoders.depth import with_layer_rates
from longvid.metrics.items import METRICS
from longvid.pipelines.training.augmenting import Augmented, augment, mixed_loss
from longvid.pipelines.training.averaging import copy_of, update_average
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.losses import class_loss
from longvid.pipelines.training.ranks import ALONE, Rank, SharedBatches, gathered, share_of
from longvid.pipelines.training.run_folder import save_weights
from longvid.pipelines.training.schedule import decay_at, rate_factor
from longvid.pipelines.training.scored import ScoredModule, TrainingDiverged
from longvid.pipelines.training.scoring import WindowScores, logits_of, loss_of, smoothing_of, split_scores, stages_of
from longvid.pretrained import keep_frozen_still
from longvid.tasks.frame_labels import UNLABELLED
from longvid.trained import weights_sha256
from longvid.windows import WindowBatch, WindowDataset

__all__ = ["OTHER_RANK", "DecoderModule", "TrainingDiverged", "adamw", "rate_factor", "with_final_decay"]

OTHER_RANK = 500_000_000
"""Added to the seed of dropout for each further rank; no training has so many steps."""


def adamw(groups: list[dict[str, Any]], *, mixed: bool = False, **options: Any) -> AdamW:
    """AdamW over parameter groups; on a CPU in one pass over memory, unless weights are complex or precision `mixed`.

    For the 232 million weights of 20 attentive probes that takes a third of the time.
    """
    weights = [weight for group in groups for weight in group["params"]]
    on_cpu = all(weight.device.type == "cpu" and weight.is_floating_point() for weight in weights)
    fused = on_cpu and not mixed  # Lightning clips no gradients before a step that may unscale them itself
    return AdamW(groups, fused=fused, **options)


def with_final_decay(group: dict[str, Any], final: float) -> dict[str, Any]:
    """An optimiser group whose weight decay moves to `final`; one without weight decay keeps none."""
    first = group["weight_decay"]
    return group | ({"first_weight_decay": first, "final_weight_decay": final} if first else {})


class DecoderModule(ScoredModule):
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
        self.average = None if config.optimiser.average is None else copy_of(decoder)
        self.class_weights: Tensor | None = None
        """Weight of each class in the loss; set by `train` where the recipe asks for it."""
        self.most_clips: int | None = None
        """Clips that a stretched window may have; set by `train`."""
        self._plateau: ReduceLROnPlateau | None = None
        self._averaged_step = 0
        self._plateau_state: dict[str, Any] | None = None

    @property
    def monitor(self) -> str:
        """The metric that chooses the best epoch; several, joined by `+`, count by their sum."""
        return self.config.validation.metric or self.task.metrics[0]

    def monitored(self, metrics: Mapping[str, float]) -> float:
        """What chooses the best epoch, from the metrics of the validation videos."""
        return sum(metrics[name] for name in self.monitor.split("+"))

    @property
    def higher_is_better(self) -> bool:
        """Whether the best epoch has the highest value."""
        return all(METRICS[name].higher_is_better for name in self.monitor.split("+"))

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The task's metrics."""
        return self.task.metrics

    def save_judged(self, path: Path, *, write: bool) -> str:
        """Write the decoder that is validated, and return its digest."""
        if write:
            save_weights(path, self.judged)
        return weights_sha256(self.judged)

    @property
    def judged(self) -> Decoder:
        """The decoder that is validated and kept: the moving average of the weights where the recipe asks for it."""
        return self.decoder if self.average is None else self.average

    def on_train_batch_end(self, outputs: Any, batch: WindowBatch, batch_index: int) -> None:
        """Move the average after each step."""
        if self.average is not None and self.global_step > self._averaged_step:
            decay = self.config.optimiser.average
            assert decay is not None
            update_average(self.average, self.decoder, steps=self.global_step, decay=decay)
            self._averaged_step = self.global_step

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss that training minimises."""
        if not self.config.loss.plain:
            smoothing = self.config.loss.label_smoothing
            return class_loss(logits, targets, smoothing=smoothing, weights=self.class_weights)
        return loss_of(logits, targets, self.task.kind)

    def augmented(self, batch: WindowBatch, batch_index: int) -> Augmented:
        """The batch as it is trained on: changed at random where the recipe asks for it."""
        seed = self.batch_seed(batch_index) + OTHER_RANK * self.rank.rank
        return augment(
            batch,
            self.config.augment,
            seed=seed,
            num_tokens=self.num_tokens,
            fewest=-(-self.decoder.min_tokens // self.num_tokens),
            most=self.most_clips,
            dense=self.task.kind == "dense",
        )

    def stage_loss(self, stages: Tensor, given: Augmented, shares: tuple[Tensor | float, Tensor | float]) -> Tensor:
        """The losses of every stage of a decoder, smoothing included, summed; most decoders have one stage.

        `shares`: weights of the losses by label and of smoothing (`shares`), 1 in a training on one device.
        """
        by_label, smooth = shares
        losses = [mixed_loss(self.loss, logits, given) * by_label for logits in stages]
        if self.config.smoothing is not None:
            lengths = given.batch.lengths // self.num_tokens
            losses += [smoothing_of(logits, lengths, settings=self.config.smoothing) * smooth for logits in stages]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def shares(self, given: Augmented, batch_index: int) -> tuple[Tensor | float, Tensor | float]:
        """Weights of this rank's losses, by what each is the mean of (`share_of`)."""
        if self.rank.world == 1:
            return 1.0, 1.0
        targets, lengths = given.batch.targets, given.batch.lengths // self.num_tokens
        assert targets is not None
        counts = self.shared_batches.counts(batch_index)
        by_label = share_of(self.counted(targets) if counts else 0, targets.device, self.rank.world)
        if self.config.smoothing is None:
            return by_label, 1.0
        pairs = (lengths - 1).clamp(min=0).sum() if counts else 0
        return by_label, share_of(pairs, targets.device, self.rank.world)

    @property
    def shared_batches(self) -> SharedBatches:
        """The batches that several ranks share."""
        batches = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        assert isinstance(batches, SharedBatches)
        return batches

    def validation_metrics(self) -> dict[str, float]:
        """The task's metrics over the validation videos scored in this epoch."""
        return split_scores(self._found, self.val).metrics(self.task)

    def training_step(self, batch: WindowBatch, batch_index: int) -> Tensor:
        """Loss of a batch. The generator is seeded by seed and step, so that dropout is the same in a resumed run."""
        assert batch.targets is not None
        if self.config.decoder.frozen:
            keep_frozen_still(self.decoder)
        given = self.augmented(batch, batch_index)
        torch.manual_seed(self.batch_seed(batch_index) + OTHER_RANK * self.rank.rank)
        stages = stages_of(self.decoder, given.batch, task=self.task, num_tokens=self.num_tokens)
        loss = self.stage_loss(stages, given, self.shares(given, batch_index))
        several = self.rank.world > 1
        windows = self.shared_batches.windows(batch_index) if several else len(batch.lengths)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=windows, sync_dist=several)
        return loss

    def counted(self, targets: Tensor) -> Tensor | int:
        """How many targets the loss of a batch is the mean of; with class weights, the sum of their weights."""
        if self.class_weights is not None:
            labelled = targets[targets != UNLABELLED]
            return self.class_weights.to(targets.device)[labelled].sum()
        return (targets != UNLABELLED).sum() if self.task.kind == "dense" else len(targets)

    def batch_seed(self, batch_index: int) -> int:
        """Seed of a training batch's random numbers; the same in a resumed run."""
        batches = self.current_epoch * int(self.trainer.num_training_batches) + batch_index
        return (self.seed + 1) * 1_000_000_007 + batches

    def on_train_batch_start(self, batch: WindowBatch, batch_index: int) -> None:
        """Move the weight decay of the groups that have one, where the recipe has a final one."""
        for group in self.trainer.optimizers[0].param_groups:
            final = group.get("final_weight_decay")
            if final is not None:
                first = group["first_weight_decay"]
                group["weight_decay"] = decay_at(self.global_step, steps=self.steps, first=first, final=final)

    def on_validation_epoch_start(self) -> None:
        """Start a new set of scores."""
        self._found = WindowScores(self.task.kind)

    def validation_step(self, batch: WindowBatch, batch_index: int) -> None:
        """Scores and loss of a batch of validation windows."""
        assert batch.targets is not None
        logits = logits_of(self.judged, batch, task=self.task, num_tokens=self.num_tokens)
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
            self._plateau.step(self.monitored(metrics))

    def configure_optimizers(self) -> Any:
        """AdamW over the decoder's parameter groups, with the recipe's schedule."""
        settings, schedule = self.config.optimiser, self.config.schedule
        groups = self.decoder.param_groups(settings.learning_rate, settings.weight_decay)
        if settings.layer_decay < 1:
            groups = with_layer_rates(groups, self.decoder, settings.layer_decay)
        if settings.final_weight_decay is not None:
            groups = [with_final_decay(group, settings.final_weight_decay) for group in groups]
        mixed = self.config.precision != "float32"
        optimiser = adamw(groups, mixed=mixed, betas=settings.betas)
        if schedule.name == "plateau":
            mode = "max" if self.higher_is_better and not schedule.backwards else "min"
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
        self._averaged_step = checkpoint["global_step"]
        self._plateau_state = checkpoint.get("plateau")
        if self._plateau is not None and self._plateau_state is not None:
            self._plateau.load_state_dict(self._plateau_state)
