"""The Lightning modules of encoders that learn.

Everything random follows from the seed, the epoch and the batch, so that a run that goes on after an epoch is the same
as one that was never interrupted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from longvid.clips.preprocessing import Preprocessing
from longvid.encoders.base import Encoder
from longvid.encoders.dualformer.model import DualFormer
from longvid.encoders.dualformer.token_label import token_label_loss
from longvid.encoders.learning import Classifying, optimiser_groups, recompute_blocks, save_encoder
from longvid.encoders.saved import InputRecord
from longvid.metrics.items import METRICS
from longvid.pipelines.learning.config import FinetuneConfig, LearningConfig
from longvid.pipelines.learning.data import LearningData
from longvid.pipelines.training.averaging import update_average
from longvid.pipelines.training.module import OTHER_RANK, adamw
from longvid.pipelines.training.ranks import ALONE, Rank, SharedBatches, share_of
from longvid.pipelines.training.schedule import rate_factor
from longvid.pipelines.training.scored import ScoredModule
from longvid.recognition import Mixing, mixed, normalised
from longvid.weights import state_sha256


class LearningModule(ScoredModule):
    """What the trainings of an encoder share: optimiser, schedule, moving average, seeds, weights that are kept."""

    def __init__(
        self,
        model: nn.Module,
        config: LearningConfig,
        preprocessing: Preprocessing,
        *,
        steps: int,
        rank: Rank = ALONE,
    ) -> None:
        super().__init__()
        self.config = config
        self.seed = config.seed
        self.steps = steps
        self.rank = rank
        self.preprocessing = preprocessing
        self.average = _copy(model) if config.optimiser.average is not None else None
        if config.checkpointing:
            recompute_blocks(model)
        self.model = model
        self._compiled: Any = torch.compile(model) if config.compile else None
        self._averaged_step = 0
        self.lost: dict[str, str] = {}
        """Videos that could not be read so far, with the reason."""

    @property
    def judged(self) -> nn.Module:
        """The model that is validated and kept: the moving average of the weights where the recipe asks for it."""
        return self.model if self.average is None else self.average

    @property
    def runs(self) -> Any:
        """The model as it is called in training: compiled where the recipe asks for it."""
        return self._compiled if self._compiled is not None else self.model

    @property
    def encoder(self) -> Encoder:
        """The encoder that is kept."""
        return cast(Encoder, self.judged.encoder)

    def input_record(self, *, pooling: str | None = None) -> InputRecord:
        """The clips that the encoder learns on."""
        sampling, fps = self.encoder.spec.sampling, self.encoder.spec.sampling.fps
        return InputRecord(sampling.frames, self.preprocessing.height, float(fps or 1.0), pooling)

    def configure_optimizers(self) -> Any:
        """AdamW or SGD over groups by depth, with the recipe's schedule."""
        settings, schedule = self.config.optimiser, self.config.schedule
        groups = optimiser_groups(
            self.model,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            layer_decay=settings.layer_decay,
            decay_all=settings.decay_all,
            body_factor=settings.body_factor,
            full_rate=settings.full_rate,
        )
        if settings.name == "sgd":
            optimiser: Any = SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=True)
        else:
            optimiser = adamw(groups, mixed=self.config.precision != "float32", betas=settings.betas)
        moves = LambdaLR(optimiser, lambda step: rate_factor(step, steps=self.steps, settings=schedule))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": moves, "interval": "step"}}

    def batch_seed(self, batch_index: int) -> int:
        """Seed of a training batch's random numbers; the same in a resumed run, another in each rank."""
        batches = self.current_epoch * int(self.trainer.num_training_batches) + batch_index
        return (self.seed + 1) * 1_000_000_007 + batches + OTHER_RANK * self.rank.rank

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Move the average after each step."""
        if self.average is not None and self.global_step > self._averaged_step:
            assert self.config.optimiser.average is not None
            update_average(self.average, self.model, steps=self.global_step, decay=self.config.optimiser.average)
            self._averaged_step = self.global_step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the average where it was."""
        self._averaged_step = checkpoint["global_step"]

    def note_lost(self, batch: Mapping[str, Any]) -> int:
        """Remember the videos of a batch that could not be read; returns the number of clips that are there."""
        self.lost.update(dict(batch["lost"]))
        return len(batch["clip"])

    def weighted(self, loss: Tensor, clips: int) -> Tensor:
        """The loss of this rank's clips, so that the mean over ranks is the mean over all clips; logged."""
        if self.rank.world == 1:
            self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=max(1, clips))
            return loss
        batches = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        assert isinstance(batches, SharedBatches)
        loss = loss * share_of(clips, loss.device, self.rank.world)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
        return loss

    def nothing(self) -> Tensor:
        """A loss of 0 with gradients of 0, for a batch in which no video could be read."""
        return torch.stack([parameter.sum() * 0 for parameter in self.model.parameters()]).sum()

    def counted(self, batch_index: int, clips: int) -> int:
        """Clips of a batch that count: none where another rank has this rank's only clip."""
        batches = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        return clips if not isinstance(batches, SharedBatches) or batches.counts(batch_index) else 0


def _copy(model: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(model).requires_grad_(False)


class FinetuneModule(LearningModule):
    """Trains an encoder with a head on labelled clips."""

    config: FinetuneConfig

    def __init__(
        self,
        model: Classifying,
        config: FinetuneConfig,
        data: LearningData,
        mixing: Mixing,
        *,
        steps: int,
        rank: Rank = ALONE,
        teacher: DualFormer | None = None,
    ) -> None:
        """`teacher`: the larger DualFormer of the token-label loss, with a classifier for the same classes."""
        super().__init__(model, config, data.preprocessing, steps=steps, rank=rank)
        self.data = data
        self.task = data.task
        self.mixing = mixing
        self._teacher = [] if teacher is None else [teacher]  # in a list: no part of this module's weights
        self._row = {key: index for index, key in enumerate(data.keys)}

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Accuracy first, which chooses the best epoch."""
        return ("accuracy", "top5_accuracy", "mean_class_accuracy")

    def monitored(self, metrics: Mapping[str, float]) -> float:
        """The accuracy."""
        return metrics["accuracy"]

    @property
    def higher_is_better(self) -> bool:
        """Accuracies are better high."""
        return True

    def save_judged(self, path: Path, *, write: bool) -> str:
        """Write the encoder with its head so that `longvid extract --weights` reads it, and return its digest."""
        judged = cast(Classifying, self.judged)
        if write:
            noted = {"classes": list(self.task.classes), "task": self.task.name, "run": self.config.name}
            save_encoder(judged.encoder, path, input_record=self.input_record(), head=judged.head, extra=noted)
        return state_sha256(judged.encoder.state_dict())

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Loss of a batch; dropout, drop path and mixing follow from the seed and the step."""
        clips = self.note_lost(batch)
        if not clips:
            return self.weighted(self.nothing(), 0)
        seed = self.batch_seed(batch_index)
        torch.manual_seed(seed)
        frames = normalised(batch["clip"], self.preprocessing)
        if self._teacher:
            loss = self._token_label_loss(frames, batch["label"])
        else:
            frames, targets = mixed(
                frames,
                batch["label"],
                len(self.task.classes),
                self.mixing,
                smoothing=float(self.config.loss.label_smoothing),
                random=np.random.default_rng(seed),
            )
            loss = functional.cross_entropy(self.runs(frames).float(), targets)
        return self.weighted(loss, self.counted(batch_index, clips))

    def _token_label_loss(self, frames: Tensor, labels: Tensor) -> Tensor:
        """The clips' own labels, and at every final position those of the teacher's classifier there."""
        teacher = self._teacher[0].to(frames.device).eval()
        classifier = teacher.classifier
        assert classifier is not None
        with torch.no_grad():
            places = classifier(teacher.features(frames).movedim(1, -1)).flatten(0, 3)
        scores, token_scores = cast(Classifying, self.model).with_token_scores(frames)
        return token_label_loss(
            scores.float(), labels, token_scores.float(), places.float(), gamma=self.config.loss.gamma
        )

    def on_validation_epoch_start(self) -> None:
        """Start a new set of scores."""
        shape = (len(self.data.val), len(self.task.classes))
        self._scores = torch.full(shape, -1.0, device=self.device)
        self._loss = torch.zeros(2, device=self.device)

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Scores of a batch of validation clips."""
        clips = self.note_lost(batch)
        if not clips:
            return
        rows = torch.tensor([self._row[key] for key in batch["key"]], device=self.device)
        new = self._scores[rows, 0] < 0
        logits = self.judged(normalised(batch["clip"], self.preprocessing)).float()
        self._scores[rows] = logits.softmax(dim=-1)
        each = functional.cross_entropy(logits, batch["label"], reduction="none")
        self._loss += torch.stack([(each * new).sum(), new.sum().to(each.dtype)])

    def on_validation_epoch_end(self) -> None:
        """Log metrics over the validation clips that could be read."""
        if self.rank.world > 1:
            torch.distributed.all_reduce(self._scores, op=torch.distributed.ReduceOp.MAX)
            torch.distributed.all_reduce(self._loss)
        scores = self._scores.cpu().numpy()
        there = scores[:, 0] >= 0
        loss = float(self._loss[0] / self._loss[1].clamp(min=1)) if there.any() else float("nan")
        self.refuse_diverged(loss)
        labels = np.asarray(self.data.val.labels)[there]
        functions = {name: METRICS[name].function for name in self.metric_names}
        found = {name: function(scores[there], labels) for name, function in functions.items() if function is not None}
        self.log_dict({f"val/{name}": float(value) for name, value in ({"loss": loss} | found).items()})
