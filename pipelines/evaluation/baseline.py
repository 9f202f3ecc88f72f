"""A baseline: a linear model on each video's pooled features.

    result = baseline(load_config("lvu/relationship", ["store=lvu.zarr"]))

It is chosen and scored as a decoder is, takes seconds, and shows how much of a decoder's score needs no decoder.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from longvid.decoders.baseline import KINDS, POOLINGS, STRENGTHS, LinearBaseline, fit_linear_baseline, pool_video
from longvid.decoders.joined import StreamLayout
from longvid.errors import AnnotationError, ConfigError
from longvid.metrics.items import METRICS, baseline_scores, score
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.data import TrainingData, open_training_data, video_features
from longvid.windows import JoinedStores, WindowDataset, split_by_presence


@dataclass(frozen=True)
class BaselineResult:
    """Scores of the best linear model, and how many videos they rest on."""

    name: str
    split: str
    pooling: str
    strength: float
    """Inverse regularisation; like `pooling`, chosen by the validation videos."""
    metrics: dict[str, float]
    validation: dict[str, float]
    constant: dict[str, float]
    """Metrics of a constant answer, which ignores the video."""
    train: int
    val: int
    evaluated: int
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def baseline(config: TrainConfig, *, split: str = "test") -> BaselineResult:
    """Fit a linear model per pooling and regularisation; score the best by validation on `split`.

    Raises the errors of `longvid.pipelines.training.train.train` for bad data, and `ConfigError` for dense and joint
    tasks.
    """
    data = open_training_data(config)
    task, train = data.task, data.train
    if task.kind not in KINDS:
        raise ConfigError(f"task {task.name!r} is {task.kind}; a linear model is for {', '.join(KINDS)} tasks")
    held_out, missing = _held_out(data, config, split)
    pooled = {part: _pooled(part) for part in (train, data.val, held_out)}
    targets = train.targets()

    def fitted(pooling: str, strength: float) -> LinearBaseline:
        features = pooled[train][pooling]
        return fit_linear_baseline(features, targets, kind=task.kind, outputs=task.outputs, strength=strength)

    def scored(model: LinearBaseline, pooling: str, part: WindowDataset) -> dict[str, float]:
        return score(task.metrics, model.scores(pooled[part][pooling]), part.targets())

    choices = [(pooling, strength) for pooling in POOLINGS for strength in STRENGTHS]
    models = {choice: fitted(*choice) for choice in choices}
    validation = {choice: scored(model, choice[0], data.val) for choice, model in models.items()}
    sign = 1 if METRICS[task.metrics[0]].higher_is_better else -1
    pooling, strength = max(choices, key=lambda choice: sign * validation[choice][task.metrics[0]])
    blind = baseline_scores(task.kind, targets, len(held_out.rows), task.outputs)
    return BaselineResult(
        name=config.name,
        split=split,
        pooling=pooling,
        strength=strength,
        metrics=scored(models[pooling, strength], pooling, held_out),
        validation=validation[pooling, strength],
        constant=score(task.metrics, blind, held_out.targets()),
        train=len(train.rows),
        val=len(data.val.rows),
        evaluated=len(held_out.rows),
        missing=tuple(missing),
        notes=tuple(data.record.notes),
    )


def _held_out(data: TrainingData, config: TrainConfig, split: str) -> tuple[WindowDataset, list[str]]:
    """The videos to score, and the keys of those that are not in the store."""
    rows = data.manifest.split(split)
    found, missing = split_by_presence(data.train.store, rows)
    if not found:
        counts = ", ".join(f"{name} {count}" for name, count in data.manifest.counts().items())
        raise AnnotationError(
            f"{config.manifest}: no video of split {split!r} is in the store (the manifest lists {counts})"
        )
    return WindowDataset(data.train.store, found, data.val.windows, task=data.task), [row.key for row in missing]


def _pooled(data: WindowDataset) -> dict[str, Float[np.ndarray, "videos features"]]:
    """Pooled features of every video, by pooling; those of several stores side by side."""
    rows = [_pooled_video(data, index) for index in range(len(data.rows))]
    return {pooling: np.stack([row[pooling] for row in rows]) for pooling in POOLINGS}


def _pooled_video(data: WindowDataset, index: int) -> dict[str, Float[np.ndarray, " features"]]:
    store = data.store
    if not isinstance(store, JoinedStores) or store.join.how == "features":
        return pool_video(clips.reshape(-1, store.recipe.dim) for clips in video_features(data, index))
    streams = StreamLayout(dims=store.dims, tokens=store.tokens)
    blocks = [streams.split(clips) for clips in video_features(data, index)]  # clips, several per step
    pooled = [pool_video(own.reshape(-1, own.shape[-1]) for own in stream) for stream in zip(*blocks, strict=True)]
    return {pooling: np.concatenate([one[pooling] for one in pooled]) for pooling in POOLINGS}
