"""Labelled clips of a fine-tuning, and the loaders that read them.

The clips of an epoch follow from the seed, the epoch and the place of a video in the manifest, so that a training that
goes on sees what one that was never interrupted would have seen.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch.utils.data import DataLoader, Sampler

from longvid.benchmarks.known_tasks import KNOWN_TASKS
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import EncoderSpec
from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.learning.config import FinetuneConfig
from longvid.pipelines.training.data import worker_context
from longvid.pipelines.training.ranks import ALONE, DealtBatches, Rank, SharedBatches
from longvid.recognition import NO_AUGMENTATION, Augmentation, TrainingClips, TrainingSampling, collate_clips
from longvid.recognition.dataset import ClipItem
from longvid.tasks import Manifest, ManifestRow, Task, infer_task
from longvid.tasks.class_names import name_classes
from longvid.tasks.splits import carve_split

Setting = TypeVar("Setting")


@runtime_checkable
class EpochSource(Protocol):
    """Something that gives other clips in every epoch."""

    def __len__(self) -> int: ...

    def set_epoch(self, epoch: int) -> None:
        """Give the clips of this epoch from now on."""
        ...


@runtime_checkable
class ClipSource(EpochSource, Protocol):
    """Clips by number, one per video and epoch; `TrainingClips`, or clips that are held in memory."""

    @property
    def labels(self) -> Sequence[int]: ...

    def __getitem__(self, index: int) -> ClipItem: ...


class ClipsInMemory:
    """Clips that are there already, (items, time, height, width, 3) uint8, the same in every epoch."""

    def __init__(
        self, frames: UInt8[np.ndarray, "items time height width 3"], labels: Int[np.ndarray, " items"]
    ) -> None:
        self.frames = frames
        self.labels = [int(label) for label in labels]

    def __len__(self) -> int:
        return len(self.labels)

    def set_epoch(self, epoch: int) -> None:
        """Nothing is drawn."""

    def __getitem__(self, index: int) -> ClipItem:
        pixels = torch.from_numpy(self.frames[index]).movedim(-1, 0).contiguous()
        return ClipItem(key=str(index), label=self.labels[index], clip=pixels, seconds=(0.0, 1.0))


@dataclass(frozen=True)
class LearningData:
    """What a fine-tuning reads."""

    task: Task
    train: ClipSource
    val: ClipSource
    keys: tuple[str, ...]
    """Keys of the validation clips, in order."""
    preprocessing: Preprocessing
    augmentation: Augmentation = NO_AUGMENTATION
    listed: tuple[int, int] = (0, 0)
    """Training and validation videos."""
    notes: tuple[str, ...] = ()


class ShuffledClips(Sampler[int]):
    """Every training video once, in an order that follows from seed and epoch; tells the source the epoch."""

    def __init__(self, source: EpochSource, seed: int) -> None:
        self.source = source
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[int]:
        self.source.set_epoch(self.epoch)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.source))
        return iter(order.tolist())


def clip_task(config: FinetuneConfig, manifest: Manifest) -> Task:
    """The classification that the labels are; the recipe's classes, those of a known task, or those of the labels."""
    name = config.task or "labels"
    if config.classes:
        return Task(name, classes=tuple(config.classes))
    known = KNOWN_TASKS.get(name)
    if known is not None:
        return replace(name_classes(known, manifest), kind="classification", metrics=())
    task = infer_task(manifest, name=name)
    if task.kind != "classification":
        raise AnnotationError(
            f"{manifest.name}: its labels are those of a {task.kind} task; fine-tuning learns one class per clip"
        )
    return name_classes(task, manifest)  # names tell whether clips may be mirrored


def open_learning_data(config: FinetuneConfig, spec: EncoderSpec) -> LearningData:
    """The training and validation clips of the recipe, for an encoder of that input.

    Raises before any video is opened: `AnnotationError` for a manifest without training videos, files or fitting
    labels, `ConfigError` for settings that do not exist and for flips where classes tell left from right.
    """
    manifest, notes = listed_clips(config)
    task = clip_task(config, manifest)
    used = Manifest(tuple(row for row in manifest if row.label is not None), name=manifest.name)
    if not used.split("train"):
        counts = ", ".join(f"{count} in {split or 'none'}" for split, count in manifest.counts().items())
        raise AnnotationError(
            f"{manifest.name}: no video with a label has the split 'train' ({counts}); put train, val or test in a "
            "column `split`"
        )
    if not used.split("val"):
        used = carve_split(used, fraction=config.validation.fraction, seed=config.validation.seed)
        notes = (*notes, f"No validation split: {len(used.split('val'))} training videos were set aside for it.")
    rows = {split: tuple(used.split(split)) for split in ("train", "val")}
    absent = [row for split in rows.values() for row in split if is_absent(row)]
    if absent:
        raise AnnotationError(
            f"{len(absent)} of {sum(map(len, rows.values()))} videos are not where {manifest.name} says, the first "
            f"{absent[0].path}; move them back, or make the manifest again (`longvid prepare`)"
        )
    augmentation = setting_of(Augmentation, {"repeats": 1} | config.clips.augmentation, "clips.augmentation")
    sampling = clip_sampling(config.clips.sampling, spec.sampling)
    train = TrainingClips(rows["train"], sampling, spec.preprocessing, augmentation, task, config.seed)
    val = TrainingClips(rows["val"], sampling, spec.preprocessing, NO_AUGMENTATION, task, config.seed)
    unseen = sorted({task.classes[label] for label in val.labels} - {task.classes[label] for label in train.labels})
    if unseen:
        notes = (*notes, f"No training video of {', '.join(unseen[:5])}: that cannot be learned.")
    keys = tuple(row.key for row in rows["val"])
    return LearningData(task, train, val, keys, spec.preprocessing, augmentation, (len(train), len(val)), notes=notes)


def is_absent(row: ManifestRow) -> bool:
    """Whether the file of a row, on this machine, is not there."""
    return row.path is not None and "://" not in row.path and not Path(row.path).is_file()


def listed_clips(config: FinetuneConfig) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest; where it does not exist and the recipe says so, made-up clips are drawn beside it first."""
    if config.made_up and not Path(config.manifest).is_file():
        from longvid.pipelines.learning.motions import write_motions

        write_motions(Path(config.manifest), count=config.made_up, seed=0)
        return Manifest.read(config.manifest), (f"{config.made_up} made-up clips were drawn: {config.manifest}.",)
    if not Path(config.manifest).is_file() and "://" not in config.manifest:
        raise AnnotationError(
            f"{config.manifest}: no such manifest; make one with `longvid prepare`, or give manifest=..."
        )
    return Manifest.read(config.manifest), ()


def clip_sampling(given: dict[str, Any], own: Sampling) -> TrainingSampling:
    """The encoder's own sampling at random, with what the recipe says otherwise."""
    settings: dict[str, Any] = {"frames": own.frames, "fps": own.fps}
    if "step" in given or given.get("rule") in ("span", "segments-rounded"):
        settings["fps"] = None
    return setting_of(TrainingSampling, settings | given, "clips.sampling")


def setting_of(kind: type[Setting], fields: dict[str, Any], where: str) -> Setting:
    """A settings class of a recipe's values; `ConfigError` that names the part of the recipe."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    try:
        return kind(**values)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{where}: {str(error).replace('__init__() ', '')}") from None


def train_loader(
    data: LearningData, config: FinetuneConfig, *, device: torch.device, rank: Rank = ALONE
) -> DataLoader[Any]:
    """Batches of training clips, or a rank's part of each."""
    sampler = ShuffledClips(data.train, config.seed)
    # with repeated augmentation a batch holds as many clips as ever, of fewer videos
    size = max(1, config.batch_size // int(data.augmentation.repeats))
    if rank.world > 1:
        batches: Any = {"batch_sampler": SharedBatches(sampler, size, rank)}
    else:
        batches = {"batch_size": size, "sampler": sampler}
    return clip_loader(data.train, workers=config.workers, device=device, **batches)


def eval_loader(
    data: LearningData, config: FinetuneConfig, *, device: torch.device, rank: Rank = ALONE
) -> DataLoader[Any]:
    """Batches of the validation clips in order; for one of several ranks those that are dealt to it."""
    if rank.world > 1:
        dealt = DealtBatches(len(data.val), config.eval_batch_size, rank)
        return clip_loader(data.val, workers=config.workers, device=device, batch_sampler=dealt)
    return clip_loader(data.val, workers=config.workers, device=device, batch_size=config.eval_batch_size)


def clip_loader(
    source: Any, *, workers: int, device: torch.device, collate: Any = None, **batching: Any
) -> DataLoader[Any]:
    """A loader over worker processes that live as long as it does."""
    return DataLoader(
        source,
        num_workers=workers,
        collate_fn=collate or collate_clips,
        multiprocessing_context=worker_context() if workers else None,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        **batching,
    )


def lost_notes(lost: dict[str, str]) -> tuple[str, ...]:
    """A note that names the videos that could not be read."""
    if not lost:
        return ()
    key, reason = next(iter(lost.items()))
    count = Counter(lost.values())
    others = f", and {len(lost) - 1} more ({len(count)} reasons)" if len(lost) > 1 else ""
    return (f"{len(lost)} videos could not be read and were left out: {key} ({reason}){others}.",)
