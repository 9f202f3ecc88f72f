"""Fine-tuning: an encoder learns the classes of clips.

    result = finetune(load_finetuning("motion", ["epochs=4"]))
    build_encoder("video-mobile-former-500m", weights=result.weights)

The best epoch is chosen by validation clips, never by test. An interrupted run goes on from its last finished epoch and
ends with the weights it would have had without the interruption.
"""

from typing import Any

import torch

from longvid.encoders.dualformer.model import DualFormer
from longvid.encoders.learning import Classifying, classifying, refuse_unwritable
from longvid.encoders.registry import build_encoder
from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.learning.config import FinetuneConfig
from longvid.pipelines.learning.data import (
    LearningData,
    eval_loader,
    open_learning_data,
    setting_of,
    train_loader,
)
from longvid.pipelines.learning.fitting import LearnedRecord, Prepared, fit, learn, versions
from longvid.pipelines.learning.module import FinetuneModule
from longvid.pipelines.learning.results import LearningResult
from longvid.pipelines.training.progress import Quiet, TrainingProgress
from longvid.pipelines.training.ranks import ALONE, Rank, refuse_too_many
from longvid.pipelines.training.run_folder import torch_device
from longvid.recognition import Mixing
from longvid.recognition.labels import refuse_misfit
from longvid.weights.saved import read_weights


def finetune(
    config: FinetuneConfig,
    *,
    progress: TrainingProgress | None = None,
    overwrite: bool = False,
    data: LearningData | None = None,
    model: Classifying | None = None,
) -> LearningResult:
    """Train the recipe's encoder into `config.out`; a finished run there is read, an interrupted one goes on.

    `data`, `model`: clips and an encoder of one's own in place of the recipe's, on one device.
    Raises, before any video is opened, `ConfigError` for settings, `AnnotationError` for the manifest and its labels,
    `EncoderError` and `WeightsError` for an encoder or a checkpoint that does not fit; later `TrainingDiverged`.
    """
    if config.devices > 1 and (data is not None or model is not None):
        raise ConfigError("data and model cannot be sent to the processes of several devices; use devices=1")
    prepared = prepare_finetuning(config, data=data, model=model)
    return learn(prepared, progress or Quiet(), overwrite=overwrite, fit_rank=fit_finetuning_rank)


def prepare_finetuning(
    config: FinetuneConfig, *, data: LearningData | None = None, model: Classifying | None = None
) -> Prepared:
    """All that a fine-tuning needs, checked; nothing is decoded or written."""
    device = learning_device(config)
    mixing = setting_of(Mixing, config.clips.mixing, "clips.mixing")
    own = config.encoder
    if model is None:
        # built first: its input says how clips are taken, and a checkpoint that does not fit is refused at once
        encoder = build_encoder(own.name, weights=own.weights, seed=config.seed, **own.options)
        refuse_unwritable(encoder)
        data = data or open_learning_data(config, encoder.spec)
        _refuse_other_head(config, data)
    assert data is not None
    classes, kept = len(data.task.classes), model

    def build() -> Classifying:
        return kept or classifying(
            own.name,
            classes=classes,
            weights=own.weights,
            keep_head=own.keep_head,
            seed=config.seed,
            drop_path=own.drop_path,
            head_dropout=own.head_dropout,
            token_labels=config.loss.token_labels is not None,
            options=own.options,
        )

    teacher = token_label_teacher(config, classes)
    opened, start = data, (model or build()).encoder.spec.weights

    def make(steps: int, rank: Rank) -> FinetuneModule:
        return FinetuneModule(build(), config, opened, mixing, steps=steps, rank=rank, teacher=teacher)

    def loaders(rank: Rank) -> tuple[Any, Any]:
        batches = train_loader(opened, config, device=device, rank=rank)
        return batches, eval_loader(opened, config, device=device, rank=rank)

    about = {"task": data.task.name, "classes": list(data.task.classes), "videos": list(data.listed)}
    about["labels"] = [list(data.train.labels), list(data.val.labels)] if sum(data.listed) <= 2000 else []
    record = LearnedRecord(own.name, "finetune", about, start, versions())
    return Prepared(config, device, record, make, loaders, len(data.train), len(data.val), data.notes)


def learning_device(config: Any) -> torch.device:
    """The device of the settings, checked with precision and number of devices."""
    device = torch_device(config.device)
    if config.precision == "float16" and device.type == "cpu":
        raise ConfigError("precision=float16 needs a CUDA device; use precision=bfloat16 or float32")
    refuse_too_many(config, device)
    return device


def _refuse_other_head(config: FinetuneConfig, data: LearningData) -> None:
    """Raise `AnnotationError` where a head of ours is to be kept whose classes are not those of the labels."""
    from longvid.encoders.saved import is_learned

    weights = config.encoder.weights
    if weights is None or not config.encoder.keep_head or not is_learned(weights):
        return
    names = read_weights(weights).extra.get("classes")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        try:
            refuse_misfit(data.task, len(names), str(weights), names=names)
        except AnnotationError as error:
            raise AnnotationError(f"{error} (encoder.keep_head=false)") from None


def token_label_teacher(config: FinetuneConfig, classes: int) -> DualFormer | None:
    """The larger DualFormer of the token-label loss; `ConfigError` where it scores other classes."""
    weights = config.loss.token_labels
    if weights is None:
        return None
    teacher = build_encoder(config.loss.token_label_encoder, weights=weights)
    if not isinstance(teacher, DualFormer) or teacher.config.num_classes != classes:
        found = teacher.config.num_classes if isinstance(teacher, DualFormer) else "no"
        raise ConfigError(
            f"loss.token_labels={weights}: it scores {found} classes, the labels have {classes}; give a DualFormer "
            "that was trained on these classes"
        )
    return teacher


def fit_finetuning_rank(config: FinetuneConfig, seed: int, rank: Rank, progress: TrainingProgress) -> None:
    """Train as one of several processes, each of which opens the data itself."""
    from longvid.pipelines.training.train import quiet_lightning

    with quiet_lightning():
        fit(prepare_finetuning(config), progress, rank=rank or ALONE)
