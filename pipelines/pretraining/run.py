"""Stage two without labels: pretrain a decoder on stored features.

    result = pretrain(load_pretraining(["features.zarr"], None, ["decoder.name=vis4mer", "out=runs/pre"]))
    train(load_config(None, ["store=...", "manifest=...", "decoder.init=runs/pre"]))

An interrupted run continues from its last finished epoch and ends with the weights it would have had without the
interruption. Folder: pretrain.json (what it is), recipe.yaml, history.csv, resume.ckpt, pretrained.safetensors and, at
the end, result.json.
"""

import math
import platform
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save

import longvid
from longvid.decoders.sizes import comparable_options
from longvid.decoders.standardise import Standardised
from longvid.errors import ConfigError
from longvid.files import write_bytes, write_json
from longvid.paths import inside
from longvid.pipelines.notebook_progress import NotebookPretraining, in_notebook
from longvid.pipelines.pretraining.config import PretrainConfig
from longvid.pipelines.pretraining.data import (
    PretrainingData,
    RandomStretches,
    absolute_stores,
    clip_statistics,
    masked_loader,
    open_pretraining_data,
    shortest_window,
)
from longvid.pipelines.pretraining.module import PretrainingHistory, PretrainingModule
from longvid.pipelines.pretraining.results import PretrainingProgress, PretrainResult, Silent
from longvid.pipelines.recipes import read_settings
from longvid.pipelines.training.callbacks import ResumePoint
from longvid.pipelines.training.loggers import asked_loggers, open_loggers, refuse_missing_packages
from longvid.pipelines.training.run_folder import SeedFolder, torch_device
from longvid.pipelines.training.train import (
    differences_of,
    interrupts_kept,
    lightning_trainer,
    quiet_lightning,
    restore,
)
from longvid.plain import as_json
from longvid.pretrained import RECORD_FILE, RESULT_FILE, TRAIN_AGAIN, WEIGHTS_FILE, PretrainedRecord, read_pretrained
from longvid.pretraining.models import PretrainingModel, pretraining_model
from longvid.stores import FeatureStore, Recipe
from longvid.trained import DecoderRecord, read_made
from longvid.weights import state_sha256

_MAY_CHANGE = ("workers", "device", "tensorboard", "loggers", "eval_batch_size", "out", "name", "stores", "manifest")
"""Settings that change nothing that is learned; stores and manifest are compared by their videos."""


def pretrain(config: PretrainConfig, *, progress: PretrainingProgress | None = None) -> PretrainResult:
    """Pretrain a decoder into `config.out`; a finished pretraining there is read.

    Raises `ConfigError` if `config.out` holds another run or the stores differ in their recipe, `AnnotationError` and
    `stores.StoreError` for faults of the data, `DecoderError` for a decoder that cannot be pretrained,
    `TrainingDiverged` for a loss that is NaN or infinite. Only `progress` prints; without
    one, a notebook shows a bar.
    """
    progress = progress or (NotebookPretraining() if in_notebook() else Silent())
    refuse_missing_packages(config.loggers)
    device, folder = torch_device(config.device), Path(config.out)
    if config.precision == "float16" and device.type == "cpu":
        raise ConfigError("precision=float16 needs a CUDA device; use precision=bfloat16 or float32")
    if inside(folder, "run.json").is_file():
        raise ConfigError(f"{folder}: holds a training run; choose another folder by out=...")
    torch.manual_seed(config.seed)
    model, shortest = _model(config)
    data = open_pretraining_data(config, shortest=shortest)
    record = _record(config, data, model)
    _refuse_another_run(folder, config, record)
    finished = inside(folder, RESULT_FILE)
    if finished.is_file():
        return read_made(finished, PretrainResult.from_dict, remedy=f"delete {folder}, then {TRAIN_AGAIN}")
    write_bytes(inside(folder, "recipe.yaml"), config.to_yaml().encode())
    write_json(inside(folder, RECORD_FILE), record.to_dict())
    with quiet_lightning():
        result = _run(config, data, model, record, folder, device, shortest, progress)
    write_json(finished, as_json(result))
    return result


def _model(config: PretrainConfig) -> tuple[PretrainingModel, int]:
    """The model at its start, and the fewest clips of a window."""
    recipe = FeatureStore.open(config.stores[0]).recipe
    objective = config.objective.objective()
    decoder = _decoder(config, recipe).build()
    model = pretraining_model(decoder, objective, dim=recipe.dim, num_tokens=recipe.num_tokens)
    shortest = shortest_window(config, objective, min_tokens=decoder.min_tokens, num_tokens=recipe.num_tokens)
    return model, shortest


def _decoder(config: PretrainConfig, recipe: Recipe) -> DecoderRecord:
    """The decoder, with a head of one output that nothing trains or takes over."""
    longest = config.window.clips * recipe.num_tokens
    options = comparable_options(config.decoder.name, recipe.dim, config.decoder.options)  # as the training's
    return DecoderRecord(config.decoder.name, recipe.dim, 1, longest, options, config.standardise)


def _record(config: PretrainConfig, data: PretrainingData, model: PretrainingModel) -> PretrainedRecord:
    recipe, store = data.recipe, data.stores[0]
    return PretrainedRecord(
        decoder=_decoder(config, recipe),
        objective=as_json(model.objective),
        num_tokens=recipe.num_tokens,
        store_recipe=recipe.to_dict(),
        stores=absolute_stores(config),
        videos={
            "train": [video.key for video in data.train.videos],
            "val": [video.key for video in data.val.videos],
            "short": list(data.short),
        },
        notes=list(data.notes),
        versions={"longvid": longvid.__version__, "torch": str(torch.__version__), "python": platform.python_version()},
        made_with=store.made_with,
    )


def _refuse_another_run(folder: Path, config: PretrainConfig, record: PretrainedRecord) -> None:
    """Raise `ConfigError` with the differences if the folder holds another pretraining that has finished an epoch."""
    if not inside(folder, RECORD_FILE).is_file() or not inside(folder, "history.csv").is_file():
        return
    kept = PretrainConfig.of(read_settings(inside(folder, "recipe.yaml")), source=str(folder / "recipe.yaml"))
    before, now = kept.model_dump(), config.model_dump()
    changed = [
        line for name in now if name not in _MAY_CHANGE for line in differences_of(name, before[name], now[name])
    ]
    there = read_pretrained(folder)
    if there.store_recipe != record.store_recipe:
        changed.append("the features were made with other settings")
    if there.videos != record.videos:
        changed.append("the videos changed")
    if changed:
        raise ConfigError(f"{folder} holds another run ({'; '.join(changed)}); choose another folder by out=...")


def _run(
    config: PretrainConfig,
    data: PretrainingData,
    model: PretrainingModel,
    record: PretrainedRecord,
    path: Path,
    device: torch.device,
    shortest: int,
    progress: PretrainingProgress,
) -> PretrainResult:
    folder, num_tokens = SeedFolder(path), data.recipe.num_tokens
    model.begin(clip_statistics(data.train))
    if isinstance(model.decoder, Standardised):
        model.decoder.fit(data.train.blocks())
    loader = partial(masked_loader, num_tokens=num_tokens, workers=config.workers, device=device)
    sampler = RandomStretches(data.train, shortest=shortest, seed=config.seed)
    batches = loader(data.train, sampler, config.batch_size)
    held = data.val.every_window(shortest)
    validation = loader(data.val, held, config.eval_batch_size) if held else None
    steps = config.epochs * math.ceil(len(batches) / config.optimiser.accumulate)
    module = PretrainingModule(model, config, steps=steps)
    history = PretrainingHistory(folder, progress)
    restore(folder, module, [history])
    done = len(history.rows)
    progress.started(epochs=config.epochs, done=done)
    resume = str(folder.resume_file) if done else None
    asked = asked_loggers(config.loggers, tensorboard=config.tensorboard)
    with open_loggers(asked, path, home=path, name=config.name, settings=config.model_dump(mode="json")) as loggers:
        trainer = lightning_trainer(
            path,
            device,
            [history, ResumePoint(folder)],
            epochs=config.epochs,
            precision=config.precision,
            clip_norm=config.optimiser.clip_norm,
            accumulate=config.optimiser.accumulate,
            validate_every=config.validation.every_epochs,
            logger=loggers,
        )
        with interrupts_kept():
            trainer.fit(module, batches, validation, ckpt_path=resume, weights_only=True)
    model = model.cpu().eval()
    state = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    write_bytes(inside(path, WEIGHTS_FILE), save(state))
    last, seconds = history.rows[-1], sum(row.seconds for row in history.rows)
    total, own = (sum(p.numel() for p in part.parameters()) for part in (model, model.decoder))
    return PretrainResult(
        out=str(path),
        decoder=record.decoder.name,
        objective=config.objective.name,
        parameters=own,
        added_parameters=total - own,
        stores=tuple(config.stores),
        videos=len(data.train),
        validated=len(data.val),
        short=data.short,
        hours=data.hours,
        epochs=len(history.rows),
        seconds=seconds,
        hours_per_second=sum(row.hours for row in history.rows) / seconds,
        train=last.train,
        val=last.val,
        weights_sha256=state_sha256(state),
        notes=data.notes,
    )
