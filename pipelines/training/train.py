"""Stage two: train a long-range decoder on stored features, per seed.

    result = train(load_config("recipe.yaml", ["store=features.zarr"]))

The best epoch is chosen by the validation videos, never by test. An interrupted run continues from its last finished
epoch when it is started again, and ends with the weights that it would have had without the interruption.
"""

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from longvid.decoders import Decoder
from longvid.decoders.joined import JoinedStreams
from longvid.decoders.standardise import Standardised
from longvid.errors import ConfigError, WeightsError
from longvid.files import write_json
from longvid.metrics.items import baseline_scores
from longvid.paths import inside
from longvid.pipelines.training.callbacks import BestWeights, History, ResumePoint
from longvid.pipelines.training.config import TrainConfig, kept_config
from longvid.pipelines.training.data import (
    TrainingData,
    eval_loader,
    open_training_data,
    refuse_short_windows,
    train_loader,
    training_features,
)
from longvid.pipelines.training.joint import JointModule, joint_baseline, write_parts
from longvid.pipelines.training.module import DecoderModule
from longvid.pipelines.training.progress import Quiet, TrainingProgress
from longvid.pipelines.training.ranks import ALONE, Rank, fit_in_processes, refuse_too_many
from longvid.pipelines.training.results import SeedResult, TrainResult
from longvid.pipelines.training.run_folder import RunFolder, SeedFolder, torch_device
from longvid.pipelines.training.scoring import constant_scores
from longvid.plain import as_json
from longvid.tasks.joint import JointTask
from longvid.trained import load_trained, read_made
from longvid.validation import made
from longvid.weights.files import read_torch

_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
_MAY_CHANGE = ("seeds", "workers", "device", "tensorboard", "eval_batch_size", "out", "name")
"""Settings that may change when a run continues: they do not change what a seed learns."""

_HARMLESS = (
    r".*does not have many workers.*",  # small windows need none; `longvid bench feed` shows it
    r".*GPU available but not used.*",  # device=cpu was asked for
    r".*LeafSpec.* is deprecated.*",  # Lightning's own use of torch
    r".*sync_dist=True.*when logging on epoch level.*",  # every rank has the scores of all
)


def train(config: TrainConfig, *, progress: TrainingProgress | None = None) -> TrainResult:
    """Train every seed of the recipe and write the run into `config.out`; seeds already trained there are kept.

    Raises `ConfigError` if `config.out` holds another run, `AnnotationError` and `stores.StoreError` for faults of the
    data, `DecoderError` for a decoder that cannot be built, `TrainingDiverged` for a loss that is NaN or infinite. Only
    `progress` prints.
    """
    progress = progress or Quiet()
    device = torch_device(config.device)
    if config.precision == "float16" and device.type == "cpu":
        raise ConfigError("precision=float16 needs a CUDA device; use precision=bfloat16 or float32")
    refuse_too_many(config, device)
    data = open_training_data(config)
    run = RunFolder(Path(config.out))
    _refuse_another_run(run, config, data)
    decoder = data.record.decoder.build()
    refuse_short_windows(decoder, data.train, data.val)
    baseline = _baseline(data)  # before training: a metric that does not fit the labels fails here
    run.write_record(data.record, data.manifest, config.absolute().to_yaml())
    with quiet_lightning():
        seeds = tuple(_train_seed(config, data, run.seed(seed), seed, device, progress) for seed in config.seeds)
    result = TrainResult(
        out=str(run.path),
        name=config.name,
        decoder=config.decoder.name,
        task=data.task.name,
        parameters=sum(parameter.numel() for parameter in decoder.parameters()),
        seeds=seeds,
        listed=data.record.listed,
        found={split: data.record.found(split) for split in data.record.listed},
        notes=tuple(data.record.notes),
        baseline=baseline,
        selected_by="test" if config.validation.on_test else "val",
    )
    if isinstance(data.task, JointTask):
        write_parts(run, data, config, result)
    write_json(run.result_file, as_json(result))
    return result


def _baseline(data: TrainingData) -> dict[str, float]:
    """Validation metrics of the best answer that ignores the video: class frequencies, or the mean value."""
    task = data.task
    if isinstance(task, JointTask):
        return joint_baseline(data.val.targets(), data.train.targets(), task)
    answer = baseline_scores(task.kind, data.train.targets(), 1, task.outputs)[0]
    return constant_scores(answer, data.val).metrics(task)


def _refuse_another_run(run: RunFolder, config: TrainConfig, data: TrainingData) -> None:
    """Raise `ConfigError` with the differences if the folder holds a run with other settings, features or videos.

    A run without a finished epoch has nothing to lose and is replaced.
    """
    if not run.record_file.is_file() or not run.has_finished_epoch():
        return
    before, now = kept_config(run.recipe_file).model_dump(), config.model_dump()
    kept = [name for name in now if name not in (*_MAY_CHANGE, "store", "manifest")]
    changed = [line for name in kept for line in _differences(name, before[name], now[name])]
    record = run.record()
    if [store.recipe for store in record.stores] != [store.recipe for store in data.record.stores]:
        changed.append("the features were made with other settings")
    if run.manifest().rows != data.manifest.rows or record.missing != data.record.missing:
        changed.append("the manifest or the videos in the store changed")
    if changed:
        raise ConfigError(f"{run.path} holds another run ({'; '.join(changed)}); choose another folder by out=...")


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    """`decoder.name: gru != vis4mer` for each value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{name}: {before} != {now}"


def _train_seed(
    config: TrainConfig,
    data: TrainingData,
    folder: SeedFolder,
    seed: int,
    device: torch.device,
    progress: TrainingProgress,
) -> SeedResult:
    """Train one seed from its last finished epoch; a finished seed's result is read."""
    if folder.result_file.is_file():
        result = read_made(
            folder.result_file,
            lambda values: made(SeedResult, values),
            remedy=f"delete {folder.path}, then train again",
        )
        progress.seed_ended(result)
        return result
    folder.path.mkdir(parents=True, exist_ok=True)
    history, best = _fit(config, data, folder, seed, device, progress)
    result = SeedResult(
        seed=seed,
        best_epoch=best.epoch,
        epochs=len(history.rows),
        metrics=best.metrics,
        train_seconds=sum(row.seconds for row in history.rows),
        # the file must still be what the best epoch wrote
        weights_sha256=load_trained(folder.weights_file, data.record.decoder.build(), sha256=best.sha256),
    )
    write_json(folder.result_file, asdict(result))
    progress.seed_ended(result)
    return result


def _fit(
    config: TrainConfig,
    data: TrainingData,
    folder: SeedFolder,
    seed: int,
    device: torch.device,
    progress: TrainingProgress,
) -> tuple[History, BestWeights]:
    """Train a seed from its last finished epoch, on one device here or on several in processes of their own."""
    history, best = History(folder, progress), BestWeights(folder, config.early_stopping)
    module = _module(data.record.decoder.build(), config, data, seed=seed, steps=0)
    done = _restored(folder, module, history, best)
    progress.seed_started(seed, epochs=config.epochs, done=done)
    if best.stopped:
        return history, best
    if config.devices == 1:
        return _fit_rank(config, data, folder, seed, device, progress)
    if done < config.epochs:
        fit_in_processes(fit_rank, config.absolute(), seed, progress)
    _restored(folder, module, history, best)
    return history, best


def fit_rank(config: TrainConfig, seed: int, rank: Rank, progress: TrainingProgress) -> None:
    """Train a seed as one of several processes, each of which opens the data itself."""
    device = torch_device(config.device)
    folder = RunFolder(Path(config.out)).seed(seed)
    with quiet_lightning():
        _fit_rank(config, open_training_data(config), folder, seed, device, progress, rank)


def _fit_rank(
    config: TrainConfig,
    data: TrainingData,
    folder: SeedFolder,
    seed: int,
    device: torch.device,
    progress: TrainingProgress,
    rank: Rank = ALONE,
) -> tuple[History, BestWeights]:
    torch.manual_seed(seed)
    decoder = data.record.decoder.build()
    if isinstance(decoder, Standardised | JoinedStreams):
        decoder.fit(training_features(data.train))
    batches = train_loader(data.train, config, seed=seed, device=device, rank=rank)
    module = _module(decoder, config, data, seed=seed, steps=config.epochs * len(batches), rank=rank)
    history, best = History(folder, progress), BestWeights(folder, config.early_stopping)
    trainer = _trainer(config, folder, device, [history, best, ResumePoint(folder)], rank)
    done = _restored(folder, module, history, best)
    validation = eval_loader(data.val, config.eval_batch_size, workers=config.workers, device=device, rank=rank)
    resume = str(folder.resume_file) if done else None
    with interrupts_kept():
        trainer.fit(module, batches, validation, ckpt_path=resume, weights_only=True)
    return history, best


def _module(
    decoder: Decoder, config: TrainConfig, data: TrainingData, *, seed: int, steps: int, rank: Rank = ALONE
) -> DecoderModule:
    if isinstance(data.task, JointTask):
        return JointModule(decoder, config, data.val, seed=seed, steps=steps, train=data.train, rank=rank)
    return DecoderModule(decoder, config, data.val, seed=seed, steps=steps, rank=rank)


def _trainer(
    config: TrainConfig, folder: SeedFolder, device: torch.device, callbacks: list, rank: Rank = ALONE
) -> Trainer:
    inside(folder.path, "tensorboard")
    logger = TensorBoardLogger(folder.path, name="", version="tensorboard") if config.tensorboard else False
    # parameters without a gradient may differ from step to step; without looking for them, the order of sums would
    # change after the first step, and a run that goes on would differ from one that was never interrupted
    ddp = DDPStrategy(cluster_environment=LightningEnvironment(), find_unused_parameters=True)
    return Trainer(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=config.devices,
        strategy=ddp if rank.world > 1 else "auto",
        precision=_PRECISIONS[config.precision],  # type: ignore[arg-type]
        max_epochs=config.epochs,
        check_val_every_n_epoch=min(config.validation.every_epochs, config.epochs),
        gradient_clip_val=config.optimiser.clip_norm,
        callbacks=callbacks,
        logger=logger,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder.path,
    )


def _restored(folder: SeedFolder, module: DecoderModule, history: History, best: BestWeights) -> int:
    """Restore the callbacks' state after the last finished epoch; return how many epochs are done."""
    if not folder.resume_file.is_file():
        return 0
    try:
        kept = read_torch(folder.resume_file)
        for callback in (history, best):
            callback.load_state_dict(kept["callbacks"][callback.state_key])
        shapes = {name: tensor.shape for name, tensor in kept["state_dict"].items()}
    except (WeightsError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder.resume_file}: is damaged, or was not written by longvid ({type(error).__name__}); "
            "delete it to train the seed from the start"
        ) from None
    if shapes != {name: tensor.shape for name, tensor in module.state_dict().items()}:
        raise WeightsError(
            f"{folder.resume_file}: was written for a decoder of other sizes; delete it to train the seed again"
        )
    return len(history.rows)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's tips, device lists and known harmless warnings out of the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in _HARMLESS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Keep Ctrl-C a `KeyboardInterrupt`; Lightning turns it into an exit and ignores the signal from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit_:
        if isinstance(exit_.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)
