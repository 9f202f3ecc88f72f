"""Every combination of a grid of settings, trained side by side.

There is one reading of the store for all. Each combination has the start, the batches and the random numbers that it
would have alone, an AdamW, a schedule and a gradient norm of its own; only the reading of windows is shared, and for
attentive probes the work on every token (`longvid.decoders.attentive.together`). V-JEPA 2's evaluation trains 20 probes
so. Unlike it, the combination and its epoch are chosen by validation videos; test is never looked at.

A combination whose loss becomes NaN or infinite is left behind; the others go on.
"""

import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from longvid.decoders import Decoder
from longvid.decoders.depth import with_layer_rates
from longvid.decoders.joined import JoinedStreams
from longvid.decoders.side_by_side import SideBySide
from longvid.decoders.standardise import Standardised
from longvid.files import write_bytes
from longvid.metrics.items import METRICS
from longvid.pipelines.training.callbacks import BestWeights, History
from longvid.pipelines.training.combinations import Combination
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.data import TrainingData, training_features
from longvid.pipelines.training.joint import JointModule
from longvid.pipelines.training.module import OTHER_RANK, DecoderModule, TrainingDiverged, adamw, with_final_decay
from longvid.pipelines.training.ranks import ALONE, Rank, gathered, union_of_ranks
from longvid.pipelines.training.results import EpochRow, SeedResult
from longvid.pipelines.training.run_folder import SeedFolder, save_weights
from longvid.pipelines.training.schedule import rate_factor
from longvid.pipelines.training.scoring import WindowScores, of_clips, stages_by_clip
from longvid.pipelines.training.start import start_from
from longvid.pretrained import keep_frozen_still
from longvid.tasks.joint import JointTask
from longvid.trained import weights_sha256
from longvid.windows import WindowBatch


@dataclass(frozen=True)
class Validated:
    """A combination's validation after an epoch."""

    epoch: int
    loss: float
    metrics: dict[str, float]


@dataclass
class _Sum:
    """Sums of losses, one per combination, and how many items they are over."""

    losses: Tensor | None = None
    items: int = 0

    def add(self, losses: Tensor, items: int) -> None:
        scaled = losses.detach() * items
        self.losses = scaled if self.losses is None else self.losses + scaled
        self.items += items

    def means(self, world: int = 1) -> list[float]:
        """Means over the items, of all of several ranks."""
        assert self.losses is not None
        total = self.losses.clone()
        if world > 1:
            torch.distributed.all_reduce(total)
        return [float(loss) / world / self.items for loss in total.cpu()]


class GridModule(DecoderModule):
    """A `DecoderModule` whose decoder is `SideBySide`, one member per combination."""

    decoder: SideBySide
    members: Sequence[Combination] = ()
    """What each member of the decoder is trained with; set by `grid_module`."""
    diverged: frozenset[int] = frozenset()
    """Indices of the combinations that are left behind."""
    groups_per_member: list[int]
    """How many parameter groups of the optimiser each member has."""

    def logits(self, batch: WindowBatch) -> list[Tensor]:
        """The outputs of each member that is judged."""
        every = self.judged(batch.tokens.float(), batch.lengths)
        return [of_clips(logits, task=self.task, num_tokens=self.num_tokens) for logits in every]

    def stages(self, batch: WindowBatch, seed: int) -> list[Tensor]:
        """Every stage of each member in training; each member's dropout is that of a training of its own."""
        every = self.decoder.stages_of_each(batch.tokens.float(), batch.lengths, before=lambda: torch.manual_seed(seed))
        return [stages_by_clip(stages, task=self.task, num_tokens=self.num_tokens) for stages in every]

    def on_train_epoch_start(self) -> None:
        """Start new sums of the losses."""
        self.trained = _Sum()

    def training_step(self, batch: WindowBatch, batch_index: int) -> Tensor:
        """Sum of the members' losses: no weight is in two of them, so each has the gradient it would have alone."""
        assert batch.targets is not None
        if self.config.decoder.frozen:
            keep_frozen_still(self.decoder)
        given = self.augmented(batch, batch_index)
        every = self.stages(given.batch, self.batch_seed(batch_index) + OTHER_RANK * self.rank.rank)
        shares = self.shares(given, batch_index)
        losses = torch.stack([self.stage_loss(stages, given, shares) for stages in every])
        several = self.rank.world > 1
        windows = self.shared_batches.windows(batch_index) if several else len(batch.lengths)
        self.trained.add(losses, windows)
        sound = torch.isfinite(losses)
        self.log(
            "train/loss",
            losses.detach()[sound].mean(),
            on_step=False,
            on_epoch=True,
            batch_size=windows,
            sync_dist=several,
        )
        return torch.where(sound, losses, 0.0).sum()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of each member on its own."""
        for member, combination in zip(self.decoder.members, self.members, strict=True):
            largest = combination.sections["optimiser"].clip_norm
            if largest is not None:
                torch.nn.utils.clip_grad_norm_(member.parameters(), largest)

    def configure_optimizers(self) -> Any:
        """One AdamW with the parameter groups of every member, which move by their own settings."""
        self.groups_per_member = []
        groups: list[dict[str, Any]] = []
        moves: list[Any] = []
        for member, combination in zip(self.decoder.members, self.members, strict=True):
            assert isinstance(member, Decoder)
            settings, schedule = combination.sections["optimiser"], combination.sections["schedule"]
            own = member.param_groups(settings.learning_rate, settings.weight_decay)
            if settings.layer_decay < 1:
                own = with_layer_rates(own, member, settings.layer_decay)
            self.groups_per_member.append(len(own))
            if settings.final_weight_decay is not None:
                own = [with_final_decay(group, settings.final_weight_decay) for group in own]
            groups += [group | {"betas": settings.betas} for group in own]
            moves += [lambda step, own=schedule: rate_factor(step, steps=self.steps, settings=own)] * len(own)
        optimiser = adamw(groups)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": LambdaLR(optimiser, moves), "interval": "step"}}

    def on_validation_epoch_start(self) -> None:
        """Start a new set of scores for each member."""
        self._all_found: list[WindowScores] = []
        for _ in self.members:
            super().on_validation_epoch_start()
            self._all_found.append(self._found)
        self._every_losses: list[list[tuple[float, int]]] = [[] for _ in self.members]

    def validation_step(self, batch: WindowBatch, batch_index: int) -> None:
        """Scores and losses of a batch of validation windows."""
        assert batch.targets is not None
        every = self.logits(batch)
        self.diverged |= {index for index, logits in enumerate(every) if not torch.isfinite(logits).all()}
        for index, (found, logits) in enumerate(zip(self._all_found, every, strict=True)):
            loss = float(self.loss(logits, batch.targets))
            self._every_losses[index].append((loss, len(batch.lengths)))
            found.add(torch.nan_to_num(logits) if index in self.diverged else logits, batch)

    def on_validation_epoch_end(self) -> None:
        """Metrics of each member that has not diverged; those of the epoch's best are logged."""
        if self.rank.world > 1:
            batches = -(-len(self.val) // self.config.eval_batch_size)
            pairs = zip(self._all_found, self._every_losses, strict=True)
            self._every_losses = [gathered(found, own, batches) for found, own in pairs]
            self.diverged = union_of_ranks(self.diverged)
        losses = [sum(loss * n for loss, n in own) / sum(n for _, n in own) for own in self._every_losses]
        self.diverged |= {index for index, loss in enumerate(losses) if not math.isfinite(loss)}
        if len(self.diverged) == len(self.members):
            raise TrainingDiverged(
                f"{self.config.out}, seed {self.seed}: the loss of every combination became NaN or infinite by epoch "
                f"{self.current_epoch + 1}; lower optimiser.learning_rate, or use precision=float32"
            )
        self.validated: dict[int, Validated] = {}
        for index, found in enumerate(self._all_found):
            if index not in self.diverged:
                self._found = found
                self.validated[index] = Validated(self.current_epoch, losses[index], self.validation_metrics())
        best = min(self.validated.values(), key=lambda one: order(one, self.monitor))
        self.log("val/loss", best.loss)
        self.log_dict({f"val/{name}": value for name, value in best.metrics.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep which combinations have diverged."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["diverged"] = sorted(self.diverged)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore which combinations have diverged."""
        super().on_load_checkpoint(checkpoint)
        self.diverged = frozenset(checkpoint["diverged"])


class JointGridModule(GridModule, JointModule):
    """A `GridModule` whose task is a `JointTask`."""


def order(one: Validated, monitor: str) -> tuple[float, float]:
    """What is lower for the better validation: by the metric, then by the loss."""
    value = one.metrics[monitor]
    return (-value if METRICS[monitor].higher_is_better else value, one.loss)


def grid_decoder(config: TrainConfig, data: TrainingData, combinations: Sequence[Combination], seed: int) -> SideBySide:
    """A decoder per combination, each with the start that it would have alone; standardised by one pass."""
    members: list[Decoder] = []
    for _ in combinations:
        torch.manual_seed(seed)
        member = data.record.decoder.build()
        if start_from(member, config):
            pass
        elif members:
            for name, fitted in members[0].named_buffers():
                member.get_buffer(name).copy_(fitted)
        elif isinstance(member, Standardised | JoinedStreams):
            member.fit(training_features(data.train))
        members.append(member)
    return SideBySide(members)


def grid_module(
    config: TrainConfig,
    data: TrainingData,
    combinations: Sequence[Combination],
    *,
    seed: int,
    steps: int,
    rank: Rank = ALONE,
) -> GridModule:
    """The module that trains all combinations of one seed."""
    decoder, shared = grid_decoder(config, data, combinations, seed), {"seed": seed, "steps": steps, "rank": rank}
    module: GridModule
    if isinstance(data.task, JointTask):
        module = JointGridModule(decoder, config, data.val, train=data.train, **shared)  # type: ignore[arg-type]
    else:
        module = GridModule(decoder, config, data.val, **shared)  # type: ignore[arg-type]
    module.members = tuple(combinations)
    return module


def chosen_notes(seeds: Sequence[SeedResult]) -> list[str]:
    """One note per seed of a run with a grid: what validation chose among how many."""
    return [
        f"Seed {seed.seed}: validation chose {_label(seed.combination)} among {len(seed.tried)} combinations; test was "
        "not looked at."
        for seed in seeds
        if seed.tried
    ]


def _label(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


class GridBest(BestWeights):
    """Keeps the weights of the best combination in its best epoch, and each combination's best validation.

    Early stopping waits for all: an epoch in which any combination improved on its own best counts.
    """

    def __init__(self, folder: SeedFolder, early_stopping: Any, combinations: Sequence[Combination]) -> None:
        super().__init__(folder, early_stopping)
        self.combinations = combinations
        self.bests: dict[int, Validated] = {}
        self.chosen = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare each combination's epoch with its best, and with the best of all."""
        assert isinstance(pl_module, GridModule)
        monitor = pl_module.monitor
        improved = False
        for index, found in pl_module.validated.items():
            before = self.bests.get(index)
            needed = self.early_stopping.min_delta if self.early_stopping is not None else 0.0
            improved |= before is None or order(before, monitor)[0] - order(found, monitor)[0] > needed
            if before is None or order(found, monitor) < order(before, monitor):
                self.bests[index] = found
            best = self.bests.get(self.chosen)
            if self.epoch < 0 or best is None or order(found, monitor) < self._kept_order(monitor):
                self.metrics, self.epoch, self._loss, self.chosen = found.metrics, found.epoch, found.loss, index
                decoder = pl_module.judged.get_submodule(f"members.{index}")
                assert isinstance(decoder, Decoder)
                if trainer.is_global_zero:
                    save_weights(self.folder.weights_file, decoder)
                self.sha256 = weights_sha256(decoder)
        self.waited = 0 if improved else self.waited + 1
        trainer.should_stop = trainer.should_stop or self.stopped

    def _kept_order(self, monitor: str) -> tuple[float, float]:
        return order(Validated(self.epoch, self._loss, self.metrics), monitor)

    def tried(self) -> tuple[dict[str, Any], ...]:
        """Every combination with its best validation; none for one that diverged before its first."""
        rows = []
        for index, combination in enumerate(self.combinations):
            best = self.bests.get(index)
            epoch, metrics = (None, {}) if best is None else (best.epoch, best.metrics)
            rows.append({"settings": combination.values, "best_epoch": epoch, "metrics": metrics})
        return tuple(rows)

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        bests = {str(index): asdict(best) for index, best in self.bests.items()}
        return super().state_dict() | {"bests": bests, "chosen": self.chosen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best."""
        super().load_state_dict(state_dict)
        self.bests = {int(index): Validated(**best) for index, best in state_dict["bests"].items()}
        self.chosen = state_dict["chosen"]


class GridHistory(History):
    """`history.csv` is that of the combination that is best so far; `grid.csv` has a row for each combination."""

    def __init__(self, folder: SeedFolder, progress: Any, best: GridBest) -> None:
        super().__init__(folder, progress)
        self.best = best
        self._every: list[list[EpochRow]] = [[] for _ in best.combinations]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's rows."""
        assert isinstance(pl_module, GridModule)
        every = trainer.check_val_every_n_epoch or 1
        validated = pl_module.validated if (trainer.current_epoch + 1) % every == 0 else {}
        groups = iter(trainer.optimizers[0].param_groups)
        losses, seconds = pl_module.trained.means(pl_module.rank.world), time.perf_counter() - self._begin
        for index, count in enumerate(pl_module.groups_per_member):
            rates = [next(groups)["lr"] for _ in range(count)]
            found = validated.get(index)
            row = EpochRow(
                epoch=trainer.current_epoch,
                train_loss=losses[index],
                learning_rate=rates[0],
                seconds=seconds,
                val_loss=None if found is None else found.loss,
                metrics={} if found is None else found.metrics,
            )
            self._every[index].append(row)
        self.rows = list(self._every[max(self.best.chosen, 0)])
        if trainer.is_global_zero:
            self._show(pl_module.task.metrics)
            self.progress.epoch_ended(self.rows[-1])

    def _show(self, names: tuple[str, ...]) -> None:
        self._write(names)
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        settings = list(self.best.combinations[0].values)
        writer.writerow([*settings, "best_epoch", *names, "chosen"])
        for index, row in enumerate(self.best.tried()):
            values = [row["settings"][name] for name in settings]
            metrics = [f"{row['metrics'][name]:.6g}" if name in row["metrics"] else "" for name in names]
            epoch = "" if row["best_epoch"] is None else row["best_epoch"]
            writer.writerow([*values, epoch, *metrics, "yes" if index == self.best.chosen else "no"])
        write_bytes(self.folder.grid_file, out.getvalue().encode())

    def state_dict(self) -> dict[str, Any]:
        """The rows of every combination so far."""
        return super().state_dict() | {"every": [[asdict(row) for row in rows] for rows in self._every]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows."""
        super().load_state_dict(state_dict)
        self._every = [[EpochRow(**row) for row in rows] for rows in state_dict["every"]]
