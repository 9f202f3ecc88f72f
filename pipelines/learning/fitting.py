"""One training of an encoder, in a folder.

run/
  recipe.yaml          every setting, defaults included
  best.safetensors     weights of the best epoch by validation, as `longvid extract --weights` reads them
  resume.ckpt          everything a continued training needs; read with weights_only
  history.csv          one line per epoch
  learned.json         `LearnedRecord`: encoder, classes or teachers, versions
  result.json          `LearningResult`, at the end
"""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import longvid
from longvid.errors import ConfigError, WeightsError
from longvid.files import write_bytes, write_json
from longvid.paths import inside
from longvid.pipelines.learning.config import LearningConfig, kept_settings
from longvid.pipelines.learning.data import lost_notes
from longvid.pipelines.learning.module import LearningModule
from longvid.pipelines.learning.results import LearningResult, Speed, peak_memory
from longvid.pipelines.training.callbacks import BestWeights, History, ResumePoint
from longvid.pipelines.training.going_on import only_more
from longvid.pipelines.training.loggers import asked_loggers, open_loggers, refuse_missing_packages
from longvid.pipelines.training.progress import TrainingProgress
from longvid.pipelines.training.ranks import ALONE, Rank, fit_in_processes
from longvid.pipelines.training.results import SeedResult
from longvid.pipelines.training.run_folder import SeedFolder
from longvid.pipelines.training.train import (
    differences_of,
    interrupts_kept,
    lightning_trainer,
    quiet_lightning,
    restore,
)
from longvid.trained import read_made
from longvid.validation import made

RECORD = "learned.json"
_MAY_CHANGE = (
    "workers",
    "device",
    "tensorboard",
    "loggers",
    "eval_batch_size",
    "out",
    "name",
    "note",
    "frames_kept",
    "compile",
)
"""Settings that change nothing that is learned."""
_PLACES = ("manifest", "store")
"""Places, which may be given in another way; what they hold is compared by `LearnedRecord.data`."""


@dataclass(frozen=True)
class LearnedRecord:
    """What an encoder was trained on."""

    encoder: str
    what: str
    """`finetune` or `distil`."""
    data: dict[str, Any]
    """Task and classes, or the teachers; keys of the videos that take part."""
    start: str
    """Where the weights came from."""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A training that is ready to start: what it reads and what it writes to."""

    config: LearningConfig
    device: torch.device
    record: LearnedRecord
    make: Callable[[int, Rank], LearningModule]
    """The module for a number of steps, as one rank."""
    loaders: Callable[[Rank], tuple[Any, Any]]
    """Training and validation batches of a rank."""
    train: int
    val: int
    notes: tuple[str, ...] = ()
    monitor: str = "accuracy"


def versions() -> dict[str, str]:
    """Versions of longvid, torch and Python."""
    return {"longvid": longvid.__version__, "torch": str(torch.__version__), "python": platform.python_version()}


def learn(
    prepared: Prepared,
    progress: TrainingProgress,
    *,
    overwrite: bool = False,
    fit_rank: Callable[[Any, int, Rank, TrainingProgress], None] | None = None,
) -> LearningResult:
    """Train from the last finished epoch, and write the result; a finished run there is read.

    Raises `ConfigError` if the folder holds another run.
    """
    config, out = prepared.config, Path(prepared.config.out)
    refuse_missing_packages(config.loggers)
    folder = SeedFolder(out)
    if overwrite:
        _clear(out)
    else:
        _refuse_another_run(out, config, prepared.record)
    finished = inside(out, "result.json")
    if finished.is_file():
        found = read_made(finished, LearningResult.from_dict, remedy=f"delete {finished}, then train again")
        if found.epochs >= config.epochs or config.early_stopping is not None:
            _refuse_changed(folder, found)
            return found
        finished.unlink()
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(inside(out, "recipe.yaml"), config.to_yaml().encode())
    write_json(inside(out, RECORD), asdict(prepared.record))
    speed = Speed()
    with quiet_lightning():
        if config.devices > 1:
            assert fit_rank is not None
            module, history, best = _parts(prepared, progress, steps=0)
            restore(folder, module, [history, best])
            progress.seed_started(config.seed, epochs=config.epochs, done=len(history.rows))
            if len(history.rows) < config.epochs and not best.stopped:
                fit_in_processes(fit_rank, config, config.seed, progress)
                restore(folder, module, [history, best])
        else:
            module, history, best = fit(prepared, progress, speed=speed)
    assert best.sha256 is not None
    seconds = sum(row.seconds for row in history.rows)
    rate = speed.clips_per_second or (prepared.train * len(history.rows) / seconds if seconds else 0.0)
    result = LearningResult(
        out=str(out),
        name=config.name,
        encoder=config.encoder.name,
        what=prepared.record.what,
        parameters=sum(parameter.numel() for parameter in module.encoder.parameters()),
        train=prepared.train,
        val=prepared.val,
        best_epoch=best.epoch,
        epochs=len(history.rows),
        metrics=best.metrics,
        seconds=seconds,
        clips_per_second=rate,
        peak_memory_bytes=peak_memory(prepared.device),
        weights=str(folder.weights_file),
        weights_sha256=best.sha256,
        notes=(*prepared.notes, *lost_notes(module.lost)),
    )
    write_json(finished, asdict(result))
    progress.seed_ended(
        SeedResult(config.seed, best.epoch, len(history.rows), best.metrics, seconds, weights_sha256=best.sha256)
    )
    return result


def _parts(
    prepared: Prepared, progress: TrainingProgress, *, steps: int, rank: Rank = ALONE
) -> tuple[LearningModule, History, BestWeights]:
    folder = SeedFolder(Path(prepared.config.out))
    module = prepared.make(steps, rank)
    return module, History(folder, progress), BestWeights(folder, prepared.config.early_stopping)


def fit(
    prepared: Prepared, progress: TrainingProgress, *, rank: Rank = ALONE, speed: Speed | None = None
) -> tuple[LearningModule, History, BestWeights]:
    """Train in this process, alone or as one of several ranks."""
    config, folder = prepared.config, SeedFolder(Path(prepared.config.out))
    batches, validation = prepared.loaders(rank)
    steps = config.epochs * -(-len(batches) // config.optimiser.accumulate)
    module, history, best = _parts(prepared, progress, steps=steps, rank=rank)
    restore(folder, module, [history, best])
    done = len(history.rows)
    if rank.world == 1:
        progress.seed_started(config.seed, epochs=config.epochs, done=done)
    if done < config.epochs and not best.stopped:
        asked = () if rank.rank else asked_loggers(config.loggers, tensorboard=config.tensorboard)
        noted = config.model_dump(mode="json")
        with open_loggers(asked, folder.path, home=folder.path, name=config.name, settings=noted) as loggers:
            trainer = lightning_trainer(
                folder.path,
                prepared.device,
                [speed or Speed(), history, best, ResumePoint(folder)],
                epochs=config.epochs,
                precision=config.precision,
                clip_norm=config.optimiser.clip_norm,
                accumulate=config.optimiser.accumulate,
                validate_every=module.config.validation.every_epochs,
                devices=config.devices,
                rank=rank,
                logger=loggers,
            )
            resume = str(folder.resume_file) if done else None
            with interrupts_kept():
                trainer.fit(module, batches, validation, ckpt_path=resume, weights_only=True)
    return module, history, best


def read_record(out: Path) -> LearnedRecord:
    """What an encoder in that folder was trained on."""
    return read_made(inside(out, RECORD), lambda values: made(LearnedRecord, values), remedy="train again")


def _refuse_another_run(out: Path, config: LearningConfig, record: LearnedRecord) -> None:
    """Raise `ConfigError` with the differences if the folder holds another run that has finished an epoch."""
    for other in ("run.json", "pretrain.json"):
        if inside(out, other).is_file():
            raise ConfigError(f"{out}: holds a run of another kind ({other}); choose another folder by out=...")
    if not inside(out, RECORD).is_file() or not inside(out, "history.csv").is_file():
        return
    there = read_record(out)
    if there.what != record.what:
        raise ConfigError(f"{out}: holds a run of longvid {there.what}; choose another folder by out=...")
    before = kept_settings(type(config), inside(out, "recipe.yaml")).model_dump()
    now = config.model_dump()
    names = [name for name in now if name not in (*_MAY_CHANGE, *_PLACES)]
    names = [name for name in names if not only_more(name, before[name], now[name])]
    changed = [line for name in names for line in differences_of(name, before[name], now[name])]
    changed += ["the videos, labels or features changed"] if there.data != record.data else []
    if changed:
        raise ConfigError(
            f"{out} holds another run ({'; '.join(changed)}); choose another folder by out=..., or give --overwrite"
        )


def _refuse_changed(folder: SeedFolder, result: LearningResult) -> None:
    """Raise `WeightsError` if the weights of a finished run are gone."""
    if not folder.weights_file.is_file():
        raise WeightsError(f"{folder.weights_file}: is gone; give --overwrite to train {result.out} again")


def _clear(out: Path) -> None:
    """Remove what a run wrote into its folder; anything else in it stays."""
    if out.exists() and any(out.iterdir()) and not inside(out, RECORD).is_file():
        raise ConfigError(f"{out}: holds no run of an encoder (no {RECORD}), so nothing of it is overwritten")
    for name in (RECORD, "recipe.yaml", "history.csv", "resume.ckpt", "result.json", "best.safetensors"):
        inside(out, name).unlink(missing_ok=True)
