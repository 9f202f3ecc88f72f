"""From a recipe to the videos, windows and batches of a training run."""

import multiprocessing
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.data import DataLoader

import longvid
from longvid.benchmarks.benchmark import select_splits, with_keys
from longvid.benchmarks.known_tasks import KNOWN_TASKS, find_task
from longvid.benchmarks.protocols import find_protocol
from longvid.decoders import Decoder
from longvid.decoders.sizes import comparable_options
from longvid.errors import AnnotationError, ConfigError, DecoderError
from longvid.metrics.items import METRICS
from longvid.metrics.videos import reading_named
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.joining import (
    answers_per_store,
    join_record,
    joined_stores,
    shown_missing,
    standardised_columns,
    store_record,
    stream_layout,
)
from longvid.pipelines.training.ranks import ALONE, DealtBatches, Rank, SharedBatches
from longvid.pipelines.training.run_folder import RunRecord
from longvid.pipelines.training.start import refuse_other_features
from longvid.plain import as_json
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest, ManifestRow, Task, carve_split, infer_task
from longvid.tasks.class_names import name_classes
from longvid.tasks.joint import JointTask
from longvid.tasks.manifest import SPLITS
from longvid.trained import DecoderRecord
from longvid.windows import JoinedStores, RandomWindows, WindowBatch, WindowDataset, collate, split_by_presence
from longvid.windows.dataset import Features

CLIPS_AT_ONCE = 256
"""Clips read at once in a pass over all features."""
LEAST_COVERED = 0.9
"""Share of a video that all of several stores should cover; a note names videos with less."""


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained on and validated by; `record` keeps the facts in the run's folder."""

    task: Task
    manifest: Manifest
    train: WindowDataset
    val: WindowDataset
    record: RunRecord


def open_training_data(config: TrainConfig) -> TrainingData:
    """Read the manifest, decide task and splits, and open the store.

    Raises `AnnotationError` for labels without meaning, for splits without videos and, unless `config.allow_missing`,
    for videos that are not complete in the store; `stores.StoreNotFound` without a store.
    """
    stores = [FeatureStore.open(store) for store in config.stores]
    manifest = listed_videos(config)
    task = task_of(config, manifest)
    _refuse_unfit_settings(config, task)
    _refuse_no_training(manifest)
    manifest, notes = _with_validation(manifest, config, task, [store.recipe.to_dict() for store in stores])
    store = joined_stores(stores, config.join, manifest)
    notes += _unseen_classes(manifest, task)
    selection = "test" if config.validation.on_test else "val"
    found, missing = find_videos(store, manifest, allow_missing=config.allow_missing, selection=selection)
    windows = config.window.windows()
    notes += _partly_covered(store, [row.key for rows in found.values() for row in rows])
    train = WindowDataset(store, found["train"], windows, task=task, training=True)
    val = WindowDataset(store, found[selection], windows, task=task)
    told = [store_record(one) for one in stores]
    record = RunRecord(
        name=config.name,
        task=as_json(task),
        decoder=_decoder_record(config, task, train),
        windows=asdict(windows),
        store=told[0].store,
        store_recipe=told[0].recipe,
        made_with=told[0].made_with,
        joined=join_record(store, told[1:]),
        manifest=manifest.name,
        listed={split: count for split, count in manifest.counts().items() if split},
        missing={split: [row.key for row in rows] for split, rows in missing.items()},
        notes=notes,
        versions={"longvid": longvid.__version__, "torch": str(torch.__version__), "python": platform.python_version()},
    )
    return TrainingData(task, manifest, train, val, record)


def listed_videos(config: TrainConfig) -> Manifest:
    """The manifest's videos, with the splits, keys and span that the recipe asks for."""
    if not Path(config.manifest).is_file():
        benchmark = config.task.name.partition("/")[0] if config.task.name in KNOWN_TASKS else "folder"
        raise AnnotationError(
            f"{config.manifest}: no such file; make it with `longvid prepare {benchmark}`, or give manifest=..."
        )
    if config.several_folds:
        raise ConfigError(
            f"the recipe has folds ({', '.join(config.folds)}): train them all by `longvid train` or "
            f"longvid.pipelines.train_folds, or choose one by split_column={config.folds[0]}"
        )
    manifest = Manifest.read(config.manifest)
    if config.split_column is not None:
        manifest = select_splits(manifest, config.split_column)
    if config.key_column is not None:
        manifest = with_keys(manifest, config.key_column)
    if config.span == "whole":
        whole = (replace(row, start_seconds=None, end_seconds=None) for row in manifest)
        manifest = Manifest(tuple(whole), name=manifest.name)
    return manifest


def _refuse_unfit_settings(config: TrainConfig, task: Task) -> None:
    """Raise `ConfigError` for settings of dense tasks in another task, and for metrics that the task does not have."""
    for name in ("refinement", "smoothing"):
        if getattr(config, name) is not None and task.kind != "dense":
            raise ConfigError(f"{name} is for dense tasks, and {task.name!r} is a {task.kind}; leave it out")
    wanted = config.validation.metric
    unknown = [name for name in wanted.split("+") if name not in task.metrics] if wanted else []
    if unknown:
        raise ConfigError(
            f"validation.metric={wanted}: task {task.name!r} has no metric {unknown[0]!r}; "
            f"it has {', '.join(task.metrics)}"
        )
    if wanted and len({METRICS[name].higher_is_better for name in wanted.split("+")}) > 1:
        raise ConfigError(f"validation.metric={wanted}: one of these is better high and another low; choose one kind")


def _refuse_no_training(manifest: Manifest) -> None:
    if not manifest.split("train"):
        counts = ", ".join(f"{count} in {split or 'none'}" for split, count in manifest.counts().items())
        raise AnnotationError(
            f"{manifest.name}: no video has the split 'train' ({counts}); put train, val or test in a column `split`"
        )


def _unseen_classes(manifest: Manifest, task: Task) -> list[str]:
    """A note if a class of the test or validation videos has no training video, so that it cannot be learned."""
    if task.kind not in ("classification", "multilabel"):
        return []
    by_split = {split: {name for row in manifest.split(split) for name in _classes_of(row, task)} for split in SPLITS}
    unseen = sorted((by_split["val"] | by_split["test"]) - by_split["train"])
    if not unseen:
        return []
    one = len(unseen) == 1
    return [
        f"{'A class has' if one else f'{len(unseen)} classes have'} no training video and cannot be learned: "
        f"{shown(unseen)}. If {'it is' if one else 'they are'} misspelt, correct the manifest."
    ]


def _classes_of(row: ManifestRow, task: Task) -> list[str]:
    if row.value(task.column) is None:
        return []
    target = task.target(row)
    return [task.classes[int(n)] for n in (np.flatnonzero(target) if task.kind == "multilabel" else [target])]


def _with_validation(
    manifest: Manifest, config: TrainConfig, task: Task, store_recipes: list[dict[str, Any]]
) -> tuple[Manifest, list[str]]:
    """The manifest with videos to choose the best epoch by, and notes about them and about the features."""
    validation, notes = config.validation, []
    if validation.on_test:
        notes.append(
            f"AS PUBLISHED: the best epoch is chosen by the {len(manifest.split('test'))} test videos, so the test "
            "scores are too high; compare them only with numbers measured in the same way."
        )
    elif not manifest.split("val"):
        manifest = carve_split(manifest, fraction=validation.fraction, seed=validation.seed, column=task.column)
        notes.append(
            f"The manifest has no validation split: {len(manifest.split('val'))} training videos were set aside for "
            f"it, whole groups by a hash of their names (fraction {validation.fraction:g}, seed {validation.seed})."
        )
    if config.features is not None:
        others = [config.features.differences(recipe) for recipe in store_recipes]
        if all(others):
            other = min(others, key=len)
            notes.append(f"The features are not those that the recipe is meant for ({'; '.join(other)}).")
    if config.grid:
        notes.append(
            f"{len(config.combinations())} combinations of {', '.join(config.grid)} are trained side by side; the best "
            "of them by the validation videos is kept, and test is not looked at."
        )
    if config.protocol_changes:
        notes.append(f"Not exactly {config.protocol}: window {', '.join(config.protocol_changes)}.")
    return manifest, notes


def task_of(config: TrainConfig, manifest: Manifest) -> Task:
    """The task that the recipe states or names (`longvid tasks`), or that is inferred from the manifest's labels."""
    settings = config.task
    if config.joint:
        parts = tuple(name_classes(find_task(name), manifest) for name in config.joint)
        return JointTask.of(settings.name, parts, column=settings.column)
    if settings.kind is None and not settings.classes and settings.name in KNOWN_TASKS:
        known = name_classes(KNOWN_TASKS[settings.name], manifest)
        given: dict[str, Any] = as_json(known) | ({"metrics": settings.metrics} if settings.metrics else {})
    elif settings.kind is None and not settings.classes:
        inferred = infer_task(manifest, name=settings.name, column=settings.column)
        given = as_json(inferred) | ({"metrics": settings.metrics} if settings.metrics else {})
    else:
        given = settings.model_dump() | {"kind": settings.kind or "classification"}
    task = _with_reading(Task.from_dict(given), config)
    unknown = [name for name in task.metrics if name not in METRICS]
    unfit = [name for name in task.metrics if name not in unknown and METRICS[name].function is None]
    if unfit and task.kind != "dense":
        raise AnnotationError(f"task {task.name!r}: metric {unfit[0]!r} is for dense tasks, this is a {task.kind}")
    if unknown:
        raise AnnotationError(f"task {task.name!r}: no metric {unknown[0]!r}; there are {', '.join(METRICS)}")
    if unfit and not task.labels_per_second:
        raise AnnotationError(
            f"task {task.name!r}: metric {unfit[0]!r} counts frames of the labels; "
            "give how many there are per second by task.labels_per_second"
        )
    return task


def _with_reading(task: Task, config: TrainConfig) -> Task:
    """The task with the way to count segments that the recipe or its protocol asks for."""
    protocol = find_protocol(config.protocol) if config.protocol else None
    asked = config.task.reading if protocol is None or protocol.reading == "pooled" else protocol.reading
    reading_named(asked)
    return replace(task, reading=asked) if task.kind == "dense" else task


def find_videos(
    store: Features, manifest: Manifest, *, allow_missing: bool, selection: str = "val"
) -> tuple[dict[str, list[ManifestRow]], dict[str, list[ManifestRow]]]:
    """Rows of each split whose videos are complete in the store, and rows whose videos are not.

    Raises `AnnotationError` that names missing videos unless they are allowed, and if nothing is left to train on.
    """
    there, not_there = split_by_presence(store, manifest.rows)
    found = {split: [row for row in there if row.split == split] for split in SPLITS}
    missing = {split: [row for row in not_there if row.split == split] for split in SPLITS}
    absent = [row.key for rows in missing.values() for row in rows]
    if absent and not there and isinstance(store, JoinedStores):
        raise AnnotationError(_no_video_in_all(store, manifest))
    if absent and not there:
        held = shown(sorted(store.keys())[:3]) or "nothing"
        raise AnnotationError(
            f"none of the {len(absent)} videos of {manifest.name} is in {store.location}: it lists {shown(absent, 3)}, "
            f"the store holds {held}; extract them, or make the keys agree in the manifest's column `key` "
            "(key_column=... names another)"
        )
    if absent and not allow_missing:
        listed = sum(len(rows) for rows in found.values()) + len(absent)
        raise AnnotationError(
            f"{len(absent)} of {listed} videos of {manifest.name} are not complete in {store.location}: "
            f"{shown_missing(store, absent)}; extract them, or train without them (allow_missing=true)"
        )
    for split in ("train", selection):
        if not found[split]:
            raise AnnotationError(f"{manifest.name}: no video of split {split!r} is in {store.location}")
    return found, missing


def _no_video_in_all(store: JoinedStores, manifest: Manifest) -> str:
    counts = [f"{one.location} {len({row.key for row in manifest} & set(one.keys()))}" for one in store.stores]
    return (
        f"no video of {manifest.name} is complete in every store (of {len(manifest.rows)} videos there are in "
        f"{', in '.join(counts)}); extract the same videos into each, under the same keys"
    )


def _partly_covered(store: Features, keys: list[str]) -> list[str]:
    """A note that names the videos of which some store covers much less than another: only common seconds are used."""
    if not isinstance(store, JoinedStores):
        return []
    short = []
    for key in keys:
        steps, longest = store.video(key).seconds, max(end - start for start, end in store.spans(key))
        if steps[-1, 1] - steps[0, 0] < LEAST_COVERED * longest:
            short.append(f"{key} ({steps[-1, 1] - steps[0, 0]:.0f} of {longest:.0f} s)")
    if not short:
        return []
    return [
        f"The stores cover different times of {len(short)} of the videos, of which only the seconds that every store "
        f"covers are used: {shown(short)}."
    ]


def _decoder_record(config: TrainConfig, task: Task, train: WindowDataset) -> DecoderRecord:
    options = dict(config.decoder.options)
    if config.decoder.init is not None and isinstance(train.store.recipe, Recipe):  # never joined stores: `TrainConfig`
        refuse_other_features(config, train.store.recipe.to_dict())
    if task.kind == "dense":
        options["head"] = "steps"
    dim = train.store.recipe.dim
    options = comparable_options(config.decoder.name, dim, options)
    refinement = None
    if config.refinement is not None:
        refinement = config.refinement.model_dump() | {"tokens_per_clip": train.store.recipe.num_tokens}
    return DecoderRecord(
        config.decoder.name,
        dim,
        task.outputs,
        train.max_length,
        options,
        standardise=any(answers_per_store(config)),
        streams=stream_layout(train.store, config),
        columns=standardised_columns(train.store, config),
        refinement=refinement,
    )


def training_features(data: WindowDataset) -> Iterator[Float[np.ndarray, "clips tokens dim"]]:
    """The stored features of every video in its span, a few clips at a time."""
    for index in range(len(data.rows)):
        yield from video_features(data, index)


def video_features(data: WindowDataset, index: int) -> Iterator[Float[np.ndarray, "clips tokens dim"]]:
    """The stored features of one row's video in its span, a few clips at a time."""
    first, stop = data.span(index)
    for begin in range(first, stop, CLIPS_AT_ONCE):
        yield data.video(index).read(begin, min(begin + CLIPS_AT_ONCE, stop))


def fewest_clips(decoder: Decoder, data: WindowDataset) -> int:
    """Clips in the shortest window that the decoder accepts, found by trying.

    Raises `DecoderError` if it does not accept the longest window either.
    """
    per_clip, dim = data.store.recipe.num_tokens, data.store.recipe.dim
    device = next(decoder.parameters()).device

    def accepts(clips: int) -> bool:
        try:
            with torch.inference_mode():
                decoder.eval()(torch.zeros(1, clips * per_clip, dim, device=device))
        except DecoderError:
            return False
        return True

    refused, clips = 0, 1
    while not accepts(clips):
        if clips == data.max_clips:
            raise DecoderError(
                f"every video is too short for this decoder: the longest window has {clips} clips of {per_clip} "
                "tokens; use longer videos or windows, clips at a shorter stride, or fewer layers"
            )
        refused, clips = clips, min(2 * clips, data.max_clips)
    return next((n for n in range(refused + 1, clips) if accepts(n)), clips)


def without_short(decoder: Decoder, data: TrainingData) -> TrainingData:
    """The data without windows that are too short for the decoder; `record` names the videos that have no other.

    Raises `DecoderError` if no training or no validation video is left.
    """
    fewest = fewest_clips(decoder, data.train)
    kept, left_out = {}, {}
    for split, part in (("train", data.train), ("val", data.val)):
        training = split == "train"
        cut = WindowDataset(part.store, part.rows, part.windows, training=training, fewest_clips=fewest)
        rows = [row for row in part.rows if row.key not in set(cut.too_short)]
        if not rows:
            raise DecoderError(
                f"{data.manifest.name}: every video of split {split!r} is too short for {data.record.decoder.name}, "
                f"which needs {fewest} clips; use longer videos, clips at a shorter stride, or fewer layers"
            )
        kept[split] = WindowDataset(
            part.store, rows, part.windows, task=data.task, training=training, fewest_clips=fewest
        )
        left_out[str(part.rows[0].split)] = list(cut.too_short)
    dropped = [key for keys in left_out.values() for key in keys]
    notes = list(data.record.notes)
    if dropped:
        verb = "video is" if len(dropped) == 1 else "videos are"
        notes.append(
            f"{len(dropped)} {verb} left out (window.short=drop): shorter than the {fewest} clips that "
            f"{data.record.decoder.name} needs: {shown(dropped)}."
        )
    record = replace(data.record, notes=notes, fewest_clips=fewest, too_short=left_out)
    return replace(data, train=kept["train"], val=kept["val"], record=record)


def refuse_short_windows(decoder: Decoder, *datasets: WindowDataset) -> None:
    """Raise `DecoderError` with the video's name if the shortest window has too few tokens for the decoder."""
    for data in datasets:
        lengths = np.diff(data.ranges)[:, 0]
        shortest = int(lengths.argmin())
        if data.windows.segments or lengths[shortest] == lengths.max():
            continue  # all are equally long: the first training step raises it
        item = data[shortest]
        try:
            with torch.inference_mode():
                decoder.eval()(item.tokens[None].float())
        except DecoderError as error:
            raise DecoderError(f"{data.rows[item.video].where}: {error}, or leave the video out") from None


def train_loader(
    data: WindowDataset, config: TrainConfig, *, seed: int, device: torch.device, rank: Rank = ALONE
) -> DataLoader[WindowBatch]:
    """Batches of random windows, or a rank's part of each; the sampler's `set_epoch` chooses the epoch."""
    sampler = RandomWindows(data, draw=config.window.draw, seed=seed)
    if rank.world > 1:
        return _loader(
            data, workers=config.workers, device=device, batch_sampler=SharedBatches(sampler, config.batch_size, rank)
        )
    return _loader(data, workers=config.workers, device=device, batch_size=config.batch_size, sampler=sampler)


def eval_loader(
    data: WindowDataset, batch_size: int, *, workers: int, device: torch.device, rank: Rank = ALONE
) -> DataLoader[WindowBatch]:
    """Batches of every window, in order; for one of several ranks those that are dealt to it."""
    if rank.world > 1:
        dealt = DealtBatches(len(data), batch_size, rank)
        return _loader(data, workers=workers, device=device, batch_sampler=dealt)
    return _loader(data, workers=workers, device=device, batch_size=batch_size)


def _loader(data: WindowDataset, *, workers: int, device: torch.device, **batching: Any) -> DataLoader[WindowBatch]:
    return DataLoader(
        data,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=partial(collate, length=None if data.windows.whole else data.max_length, dtype=batch_dtype(device)),
        multiprocessing_context=worker_context() if workers else None,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        **batching,
    )


def batch_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype of a batch's tokens: float32, or None (as stored) if a GPU does the conversion.

    A window of ViS4mer's size takes 4 ms of CPU time as stored and 27 ms as float32, mostly for new memory.
    """
    return torch.float32 if device.type == "cpu" else None


def worker_context() -> BaseContext:
    """How worker processes start: not as forks of this one, whose threads (zarr's, torch's) could be in any state.

    A fork server, where there is one, imports torch once for all of them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["longvid.windows.dataset"])
    return context


def shown(names: list[str], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    text = ", ".join(repr(name) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"
