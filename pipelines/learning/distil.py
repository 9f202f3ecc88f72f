"""Distillation: an encoder learns the stored features of another one.

    result = distil(load_distillation("video-mobile-former-500m", ["store=teacher.zarr", "videos=films/"]))
    build_encoder("video-mobile-former-500m", weights=result.weights)

No labels are needed, and the teacher never runs. Videos are held out to choose the best epoch; the moving average of
the weights is kept unless `optimiser.average=null`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from longvid.encoders.base import Encoder
from longvid.encoders.dualformer.model import DualFormer
from longvid.encoders.learning import classifying, refuse_unwritable, save_encoder
from longvid.encoders.mobile_former.model import MobileFormer
from longvid.encoders.registry import build_encoder
from longvid.encoders.saved import InputRecord, Projected, ProjectorRecord
from longvid.encoders.student import (
    Matched,
    Student,
    at_steps,
    in_teachers_space,
    match_loss,
    similarity_loss,
)
from longvid.encoders.xvit.model import XViT
from longvid.errors import ConfigError
from longvid.paths import inside
from longvid.pipelines.learning.config import DistilConfig
from longvid.pipelines.learning.data import ShuffledClips, clip_loader
from longvid.pipelines.learning.finetune import learning_device
from longvid.pipelines.learning.fitting import LearnedRecord, Prepared, fit, learn, versions
from longvid.pipelines.learning.module import LearningModule
from longvid.pipelines.learning.results import LearningResult
from longvid.pipelines.learning.teachers import (
    StoredClips,
    Teachers,
    collate_stored,
    open_teachers,
    read_clips,
    statistics_of,
)
from longvid.pipelines.training.progress import Quiet, TrainingProgress
from longvid.pipelines.training.ranks import ALONE, DealtBatches, Rank, SharedBatches
from longvid.recognition import normalised
from longvid.weights import state_sha256


def distil(
    config: DistilConfig, *, progress: TrainingProgress | None = None, overwrite: bool = False
) -> LearningResult:
    """Train the student into `config.out`; a finished run there is read, an interrupted one goes on.

    Raises, before anything is decoded, `ConfigError` for settings and for videos that are not where the store says,
    `EncoderError` and `WeightsError` for a student that cannot be built.
    """
    return learn(prepare_distillation(config), progress or Quiet(), overwrite=overwrite, fit_rank=fit_distillation_rank)


def prepare_distillation(config: DistilConfig) -> Prepared:
    """All that a distillation needs, checked; frames are decoded when the training starts."""
    device = learning_device(config)
    encoder = student_encoder(config)
    refuse_unwritable(encoder)
    teachers = open_teachers(config)
    if config.projector == "kept" and "mean" not in encoder.spec.poolings:
        raise ConfigError(f"projector=kept: {config.encoder.name} has no mean tokens to project; use projector=dropped")
    dim = token_width(encoder)
    read: dict[str, StoredClips] = {}
    keep = inside(Path(config.out), "frames") if config.frames_kept == "disk" else None

    def opened() -> tuple[StoredClips, StoredClips]:
        if not read:
            sampling = encoder.spec.sampling
            for part, videos in (("train", teachers.train), ("val", teachers.val)):
                read[part] = read_clips(
                    teachers.stores, videos, encoder.spec.preprocessing, frames=sampling.frames, kept_in=keep
                )
            teachers.statistics = statistics_of(read["train"])
            teachers.clip_seconds = float(np.median(read["train"].seconds))
        return read["train"], read["val"]

    def make(steps: int, rank: Rank) -> DistilModule:
        opened()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            student = Student(student_encoder(config), teachers.widths, dim=dim)
        module = DistilModule(student.requires_grad_(True).train(), config, teachers, steps=steps, rank=rank)
        module.lost = read["train"].lost | read["val"].lost
        return module

    def loaders(rank: Rank) -> tuple[Any, Any]:
        return _loaders(config, *opened(), device, rank)

    about = {
        "teachers": [store.recipe.digest for store in teachers.stores],
        "train": [video.key for video in teachers.train],
        "val": [video.key for video in teachers.val],
    }
    record = LearnedRecord(config.encoder.name, "distil", about, encoder.spec.weights, versions())
    return Prepared(
        config, device, record, make, loaders, len(teachers.train), len(teachers.val), teachers.notes, "cosine"
    )


def student_encoder(config: DistilConfig) -> Encoder:
    """The student's encoder at its start; drop path as the settings say."""
    own = config.encoder
    plain = build_encoder(own.name, weights=own.weights, seed=config.seed, **own.options)
    if isinstance(plain, XViT | DualFormer | MobileFormer) and own.drop_path is not None:
        count = plain.config.num_classes or 1
        return classifying(
            own.name, classes=count, weights=own.weights, seed=config.seed, drop_path=own.drop_path, options=own.options
        ).encoder
    return plain


def token_width(encoder: Encoder) -> int:
    """Numbers of an encoder's tokens, found by a black clip."""
    spec = encoder.spec
    with torch.no_grad():
        clip = torch.zeros(1, 3, spec.sampling.frames, spec.preprocessing.height, spec.preprocessing.width)
        width: int = encoder.eval()(clip).tokens.shape[-1]
    return width


def _loaders(
    config: DistilConfig, train: StoredClips, val: StoredClips, device: torch.device, rank: Rank
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches of both parts; they are in memory already, so that no worker processes are needed."""
    sampler = ShuffledClips(train, config.seed)
    if rank.world > 1:
        batches: dict[str, Any] = {"batch_sampler": SharedBatches(sampler, config.batch_size, rank)}
        dealt: dict[str, Any] = {"batch_sampler": DealtBatches(len(val), config.eval_batch_size, rank)}
    else:
        batches = {"batch_size": config.batch_size, "sampler": sampler}
        dealt = {"batch_size": config.eval_batch_size}
    common: dict[str, Any] = {"workers": 0, "device": device, "collate": collate_stored}
    return clip_loader(train, **common, **batches), clip_loader(val, **common, **dealt)


class DistilModule(LearningModule):
    """Trains a student on stored features."""

    config: DistilConfig

    def __init__(
        self, student: Student, config: DistilConfig, teachers: Teachers, *, steps: int, rank: Rank = ALONE
    ) -> None:
        super().__init__(student, config, student.encoder.spec.preprocessing, steps=steps, rank=rank)
        self.teachers = teachers
        for index, found in enumerate(teachers.statistics):
            self.register_buffer(f"mean_{index}", torch.from_numpy(found.mean).float())
            self.register_buffer(f"deviation_{index}", torch.from_numpy(found.deviation).float())
        self.scale = 1.0
        """Factor on the first projector's output: by it the student's vectors are as long as the teacher's."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The cosine between the student's and the teachers' standardised mean vectors."""
        return ("cosine",)

    def monitored(self, metrics: Mapping[str, float]) -> float:
        """The cosine."""
        return metrics["cosine"]

    @property
    def higher_is_better(self) -> bool:
        """A cosine of 1 is agreement."""
        return True

    def input_record(self, *, pooling: str | None = None) -> InputRecord:
        """The student's clips, whose frames are spread over the seconds of the teacher's."""
        own, lasts = super().input_record(pooling=pooling), self.teachers.clip_seconds
        return replace(own, fps=round(own.frames / lasts, 3)) if lasts > 0 else own

    def save_judged(self, path: Path, *, write: bool) -> str:
        """Write the student, with the first projector where the recipe keeps it, and return the digest."""
        student = cast(Student, self.judged)
        first = self.teachers.stores[0].recipe
        kept = None
        if self.config.projector == "kept":
            linear = cast(torch.nn.Linear, student.projectors[0])
            mean, deviation = self.get_buffer("mean_0").cpu(), self.get_buffer("deviation_0").cpu()
            made = in_teachers_space(linear, mean, deviation, self.scale)
            kept = (made, ProjectorRecord(first.encoder, first.pooling))
        if write:
            noted = {
                "teachers": [store.recipe.digest for store in self.teachers.stores],
                "run": self.config.name,
                "space": "the teacher's" if kept is not None else "the student's own",
            }
            pooling = "spatial" if self.teachers.steps[0] else "mean"
            save_encoder(
                student.encoder, path, input_record=self.input_record(pooling=pooling), projector=kept, extra=noted
            )
        if kept is None:
            return state_sha256(student.encoder.state_dict())
        return Projected(student.encoder, *kept).spec.weights_sha256

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Loss of a batch, summed over the teachers."""
        torch.manual_seed(self.batch_seed(batch_index))
        found = self.runs(normalised(batch["clip"], self.preprocessing))
        parts = [self.teacher_loss(index, one, batch["targets"][index]) for index, one in enumerate(found)]
        return self.weighted(torch.stack(parts).mean(), self.counted(batch_index, len(batch["clip"])))

    def standardised(self, index: int, targets: Tensor) -> Tensor:
        """A teacher's vectors with mean 0 and deviation 1."""
        return (targets.float() - self.get_buffer(f"mean_{index}")) / self.get_buffer(f"deviation_{index}")

    def teacher_loss(self, index: int, found: Matched, targets: Tensor) -> Tensor:
        """The losses of one teacher: per time step, of the mean, and of the batch's similarities."""
        settings, steps = self.config.match, self.teachers.steps[index]
        wanted = self.standardised(index, targets)
        pooled = wanted.mean(dim=1)
        losses = [settings.pooled * match_loss(found.pooled.float(), pooled, settings.loss).mean()]
        if steps and settings.frames:
            frames = at_steps(found.frames.float(), steps)
            losses.append(settings.frames * match_loss(frames, wanted, settings.loss).mean())
        if settings.similarity:
            likeness = similarity_loss(found.pooled.float(), pooled, temperature=settings.temperature)
            losses.append(settings.similarity * likeness)
        return torch.stack(losses).sum()

    def on_validation_epoch_start(self) -> None:
        """Start new sums: cosines, losses, clips, and products for the scale."""
        self._sums = torch.zeros(5, device=self.device, dtype=torch.float64 if self.device.type != "mps" else None)

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Agreement of a batch of held-out clips."""
        found = self.judged(normalised(batch["clip"], self.preprocessing))
        count = len(batch["clip"])
        if self.rank.world > 1 and self._dealt_again(batch_index):
            count = 0
        cosine, loss = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for index, one in enumerate(found):
            wanted = self.standardised(index, batch["targets"][index]).mean(dim=1)
            cosine += (1 - match_loss(one.pooled.float(), wanted, "cosine")).mean() / len(found)
            loss += self.teacher_loss(index, one, batch["targets"][index]) / len(found)
        first = found[0].pooled.float()
        wanted = self.standardised(0, batch["targets"][0]).mean(dim=1)
        products = ((first * wanted).sum(), first.square().sum())
        values = [cosine * count, loss * count, torch.as_tensor(count, device=self.device)]
        self._sums += torch.stack([*values, *(one * (count > 0) for one in products)]).to(self._sums.dtype)

    def _dealt_again(self, batch_index: int) -> bool:
        """Whether this rank has no batch of its own and validates another's."""
        batches: Any = self.trainer.val_dataloaders
        sampler = getattr(batches, "batch_sampler", None)
        return isinstance(sampler, DealtBatches) and self.rank.rank + batch_index * self.rank.world >= len(
            sampler.batches
        )

    def on_validation_epoch_end(self) -> None:
        """Log the agreement over the held-out clips, and find the scale of the projector."""
        if self.rank.world > 1:
            torch.distributed.all_reduce(self._sums)
        cosine, loss, count, product, square = (float(value) for value in self._sums)
        self.refuse_diverged(loss / count)
        self.scale = product / square if square > 0 and self.config.match.loss == "cosine" else 1.0
        self.log_dict({"val/loss": loss / count, "val/cosine": cosine / count})


def fit_distillation_rank(config: DistilConfig, seed: int, rank: Rank, progress: TrainingProgress) -> None:
    """Train as one of several processes, each of which reads the stores itself."""
    from longvid.pipelines.training.train import quiet_lightning

    with quiet_lightning():
        fit(prepare_distillation(config), progress, rank=rank)
