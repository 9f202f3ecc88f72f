"""Stage two: train a long-range decoder on stored features, per seed.

    result = train(load_config("recipe.yaml", ["store=features.zarr"]))

The best epoch is chosen by the validation videos, never by test. An interrupted run continues from its last finished
epoch when it is started again, and ends with the weights that it would have had without the interruption.
"""

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from longvid.decoders import Decoder
from longvid.decoders.joined import JoinedStreams
from longvid.decoders.side_by_side import SideBySide
from longvid.decoders.standardise import Standardised
from longvid.errors import ConfigError, WeightsError
from longvid.files import write_json
from longvid.metrics.items import baseline_scores
from longvid.pipelines.notebook_progress import NotebookTraining, in_notebook
from longvid.pipelines.training.augmenting import refuse_unfit
from longvid.pipelines.training.callbacks import BestWeights, History, ResumePoint
from longvid.pipelines.training.config import TrainConfig, kept_config
from longvid.pipelines.training.data import (
    TrainingData,
    eval_loader,
    open_training_data,
    refuse_short_windows,
    train_loader,
    training_features,
    without_short,
)
from longvid.pipelines.training.going_on import clear, forget_results, goes_on, only_more
from longvid.pipelines.training.grid import GridBest, GridHistory, chosen_notes, grid_module
from longvid.pipelines.training.hints import few_steps_hint
from longvid.pipelines.training.joint import JointModule, joint_baseline, write_parts
from longvid.pipelines.training.loggers import asked_loggers, open_loggers, refuse_missing_packages
from longvid.pipelines.training.losses import balanced_weights
from longvid.pipelines.training.module import DecoderModule
from longvid.pipelines.training.progress import Quiet, TrainingProgress
from longvid.pipelines.training.ranks import ALONE, Rank, fit_in_processes, refuse_too_many
from longvid.pipelines.training.results import SeedResult, TrainResult
from longvid.pipelines.training.run_folder import RunFolder, SeedFolder, torch_device
from longvid.pipelines.training.scoring import constant_scores
from longvid.pipelines.training.start import start_from, started_from
from longvid.plain import as_json
from longvid.tasks.joint import JointTask
from longvid.trained import load_trained, read_made
from longvid.validation import made
from longvid.weights.files import read_torch

_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
_MAY_CHANGE = ("folds", "seeds", "workers", "device", "tensorboard", "loggers", "eval_batch_size", "out", "name")
"""Settings that may change when a run continues: they do not change what a seed learns."""

OwnLogger = Logger | Callable[[int], Logger]
OwnCallbacks = Sequence[Callback] | Callable[[int], Sequence[Callback]]

_HARMLESS = (
    r".*does not have many workers.*",  # small windows need none; `longvid bench feed` shows it
    r".*GPU available but not used.*",  # device=cpu was asked for
    r".*LeafSpec.* is deprecated.*",  # Lightning's own use of torch
    r".*sync_dist=True.*when logging on epoch level.*",  # every rank has the scores of all
)


def train(
    config: TrainConfig,
    *,
    progress: TrainingProgress | None = None,
    overwrite: bool = False,
    logger: OwnLogger | None = None,
    callbacks: OwnCallbacks = (),
) -> TrainResult:
    """Train every seed of the recipe and write the run into `config.out`; seeds already trained there are kept.

    A finished run goes on where `config.epochs` is now higher; `overwrite` removes it and starts from the beginning.
    `logger`: a Lightning logger in place of those that the recipe names; `callbacks`: Lightning callbacks beside
    longvid's own. Either may be a function of the seed that makes them for each training.

    Raises `ConfigError` if `config.out` holds another run, `AnnotationError` and `stores.StoreError` for faults of the
    data, `DecoderError` for a decoder that cannot be built, `TrainingDiverged` for a loss that is NaN or infinite. Only
    `progress` prints; without one, a notebook shows a bar.
    """
    if progress is None and in_notebook() and config.devices == 1:
        progress = NotebookTraining()
    progress = progress or Quiet()
    config = started_from(config)
    device = torch_device(config.device)
    if config.precision == "float16" and device.type == "cpu":
        raise ConfigError("precision=float16 needs a CUDA device; use precision=bfloat16 or float32")
    refuse_too_many(config, device)
    if config.devices > 1 and (logger is not None or callbacks):
        raise ConfigError("logger and callbacks cannot be sent to the processes of several devices; use devices=1")
    refuse_missing_packages(config.loggers)
    data = open_training_data(config)
    refuse_unfit(config.augment, data.task)
    if not config.loss.plain and data.task.kind not in ("classification", "dense"):
        raise ConfigError(f"loss: smoothing and class weights are for classification and dense, not {data.task.kind}")
    run = RunFolder(Path(config.out))
    if not overwrite:
        _refuse_another_run(run, config, data)
    decoder = data.record.decoder.build()
    data = without_short(decoder, data) if config.window.short == "drop" else data
    start_from(decoder, config)  # a pretraining that does not fit is refused before anything is written
    refuse_short_windows(decoder, data.train, data.val)
    baseline = _baseline(data)  # before training: a metric that does not fit the labels fails here
    if overwrite:
        clear(run)
    run.write_record(data.record, data.manifest, config.absolute().to_yaml())
    with quiet_lightning():
        seeds = tuple(
            _train_seed(config, data, run, seed, device, progress, Own(logger, callbacks)) for seed in config.seeds
        )
    result = TrainResult(
        out=str(run.path),
        name=config.name,
        decoder=config.decoder.name,
        task=data.task.name,
        parameters=sum(parameter.numel() for parameter in decoder.parameters()),
        seeds=seeds,
        listed=data.record.listed,
        found={split: data.record.found(split) for split in data.record.listed},
        notes=(*data.record.notes, *chosen_notes(seeds)),
        baseline=baseline,
        selected_by="test" if config.validation.on_test else "val",
        hints=few_steps_hint(config, data),
    )
    if isinstance(data.task, JointTask):
        write_parts(run, data, config, result)
    write_json(run.result_file, as_json(result))
    return result


@dataclass(frozen=True)
class Own:
    """The caller's logger and callbacks."""

    logger: OwnLogger | None = None
    callbacks: OwnCallbacks = ()

    def logger_of(self, seed: int) -> Logger | None:
        """The logger of a seed's training; None: longvid's."""
        return self.logger(seed) if callable(self.logger) else self.logger

    def callbacks_of(self, seed: int) -> list[Callback]:
        """The callbacks of a seed's training."""
        return list(self.callbacks(seed) if callable(self.callbacks) else self.callbacks)


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
    before, now = kept_config(run.recipe_file).model_dump(), config.absolute().model_dump()
    kept = [name for name in now if name not in (*_MAY_CHANGE, "store", "manifest")]
    kept = [name for name in kept if not only_more(name, before[name], now[name])]
    changed = [line for name in kept for line in differences_of(name, before[name], now[name])]
    record = run.record()
    if [store.recipe for store in record.stores] != [store.recipe for store in data.record.stores]:
        changed.append("the features were made with other settings")
    if run.manifest().rows != data.manifest.rows or record.missing != data.record.missing:
        changed.append("the manifest or the videos in the store changed")
    if changed:
        raise ConfigError(
            f"{run.path} holds another run ({'; '.join(changed)}); choose another folder by out=..., or "
            "give --overwrite"
        )


def differences_of(name: str, before: Any, now: Any) -> Iterator[str]:
    """`decoder.name: gru != vis4mer` for each value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from differences_of(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{name}: {before} != {now}"


def _train_seed(
    config: TrainConfig,
    data: TrainingData,
    run: RunFolder,
    seed: int,
    device: torch.device,
    progress: TrainingProgress,
    own: Own,
) -> SeedResult:
    """Train one seed from its last finished epoch; the result of a seed with no epochs left is read."""
    folder = run.seed(seed)
    if folder.result_file.is_file():
        result = read_made(
            folder.result_file,
            lambda values: made(SeedResult, values),
            remedy=f"delete {folder.path}, then train again",
        )
        if not goes_on(folder, result, config, (GridBest if config.grid else BestWeights).__qualname__):
            progress.seed_ended(result)
            return result
        forget_results(run, folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    history, best = _fit(config, data, folder, seed, device, progress, own)
    result = SeedResult(
        seed=seed,
        best_epoch=best.epoch,
        epochs=len(history.rows),
        metrics=best.metrics,
        train_seconds=sum(row.seconds for row in history.rows),
        # the file must still be what the best epoch wrote
        weights_sha256=load_trained(folder.weights_file, data.record.decoder.build(), sha256=best.sha256),
        combination=best.combinations[best.chosen].values if isinstance(best, GridBest) else {},
        tried=best.tried() if isinstance(best, GridBest) else (),
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
    own: Own,
) -> tuple[History, BestWeights]:
    """Train a seed from its last finished epoch, on one device here or on several in processes of their own."""
    if config.devices == 1:
        return _fit_rank(config, data, folder, seed, device, progress, own)
    history, best = _followed(config, folder, progress)
    decoder = data.record.decoder
    if config.grid:
        module = _module(SideBySide([decoder.build() for _ in config.combinations()]), config, data, seed=seed, steps=0)
    else:
        module = _module(decoder.build(), config, data, seed=seed, steps=0)
    restore(folder, module, [history, best])
    done = len(history.rows)
    progress.seed_started(seed, epochs=config.epochs, done=done)
    if done < config.epochs and not best.stopped:
        fit_in_processes(fit_rank, config.absolute(), seed, progress)
        restore(folder, module, [history, best])
    return history, best


def _followed(config: TrainConfig, folder: SeedFolder, progress: TrainingProgress) -> tuple[History, BestWeights]:
    """The callbacks that write a seed's history and keep its best weights."""
    if not config.grid:
        return History(folder, progress), BestWeights(folder, config.early_stopping)
    best = GridBest(folder, config.early_stopping, config.combinations())
    return GridHistory(folder, progress, best), best


def fit_rank(config: TrainConfig, seed: int, rank: Rank, progress: TrainingProgress) -> None:
    """Train a seed as one of several processes, each of which opens the data itself."""
    device = torch_device(config.device)
    folder = RunFolder(Path(config.out)).seed(seed)
    data = open_training_data(config)
    if config.window.short == "drop":
        data = without_short(data.record.decoder.build(), data)
    with quiet_lightning():
        _fit_rank(config, data, folder, seed, device, progress, Own(), rank)


def _fit_rank(
    config: TrainConfig,
    data: TrainingData,
    folder: SeedFolder,
    seed: int,
    device: torch.device,
    progress: TrainingProgress,
    own: Own,
    rank: Rank = ALONE,
) -> tuple[History, BestWeights]:
    batches = train_loader(data.train, config, seed=seed, device=device, rank=rank)
    steps = config.epochs * math.ceil(len(batches) / config.optimiser.accumulate)
    history, best = _followed(config, folder, progress)
    module: DecoderModule
    if config.grid:
        module = grid_module(config, data, config.combinations(), seed=seed, steps=steps, rank=rank)
    else:
        torch.manual_seed(seed)
        decoder = data.record.decoder.build()
        pretrained = start_from(decoder, config)
        if isinstance(decoder, Standardised | JoinedStreams) and not pretrained:
            decoder.fit(training_features(data.train))
        module = _module(decoder, config, data, seed=seed, steps=steps, rank=rank)
    module.most_clips = data.train.max_clips
    if config.loss.class_weights == "balanced":
        module.class_weights = balanced_weights(data.train.targets(), data.task.outputs)
    restore(folder, module, [history, best])
    done = len(history.rows)
    if rank.world == 1:
        progress.seed_started(seed, epochs=config.epochs, done=done)
    if best.stopped:
        return history, best
    validation = eval_loader(data.val, config.eval_batch_size, workers=config.workers, device=device, rank=rank)
    given = own.logger_of(seed)
    asked = asked_loggers(config.loggers, tensorboard=config.tensorboard) if given is None and not rank.rank else ()
    noted = config.model_dump(mode="json") | {"seed": seed}
    name = f"{config.name} seed {seed}"
    with open_loggers(asked, folder.path, home=folder.path.parent, name=name, settings=noted) as loggers:
        trainer = lightning_trainer(
            folder.path,
            device,
            [*own.callbacks_of(seed), history, best, ResumePoint(folder)],
            epochs=config.epochs,
            precision=config.precision,
            clip_norm=config.optimiser.clip_norm,
            accumulate=config.optimiser.accumulate,
            validate_every=config.validation.every_epochs,
            devices=config.devices,
            rank=rank,
            logger=loggers if given is None else given,
        )
        with interrupts_kept():
            resume = str(folder.resume_file) if done else None
            trainer.fit(module, batches, validation, ckpt_path=resume, weights_only=True)
    return history, best


def _module(
    decoder: Decoder, config: TrainConfig, data: TrainingData, *, seed: int, steps: int, rank: Rank = ALONE
) -> DecoderModule:
    if isinstance(data.task, JointTask):
        return JointModule(decoder, config, data.val, seed=seed, steps=steps, train=data.train, rank=rank)
    return DecoderModule(decoder, config, data.val, seed=seed, steps=steps, rank=rank)


def lightning_trainer(
    folder: Path,
    device: torch.device,
    callbacks: list[Callback],
    *,
    epochs: int,
    precision: str,
    clip_norm: float | None,
    validate_every: int,
    logger: Logger | list[Logger],
    accumulate: int = 1,
    devices: int = 1,
    rank: Rank = ALONE,
) -> Trainer:
    """Lightning's trainer for one training, or one pretraining, in a folder."""
    # parameters without a gradient may differ from step to step; without looking for them, the order of sums would
    # change after the first step, and a run that goes on would differ from one that was never interrupted
    ddp = DDPStrategy(cluster_environment=LightningEnvironment(), find_unused_parameters=True)
    return Trainer(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=devices,
        strategy=ddp if rank.world > 1 else "auto",
        precision=_PRECISIONS[precision],  # type: ignore[arg-type]
        max_epochs=epochs,
        check_val_every_n_epoch=min(validate_every, epochs),
        gradient_clip_val=clip_norm,
        accumulate_grad_batches=accumulate,
        callbacks=callbacks,
        logger=logger or False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def restore(folder: SeedFolder, module: LightningModule, callbacks: Sequence[Callback]) -> None:
    """Restore the callbacks' state after the last finished epoch, if there is one."""
    if not folder.resume_file.is_file():
        return
    try:
        kept = read_torch(folder.resume_file)
        for callback in callbacks:
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
