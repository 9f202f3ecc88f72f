"""Linear models to be beaten, of whole videos or of single clips."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float

from longvid.decoders.baseline import POOLINGS, STRENGTHS, LinearBaseline, fit_linear_baseline, pool_video
from longvid.decoders.joined import StreamLayout
from longvid.metrics.items import score
from longvid.pipelines.training.data import video_features
from longvid.pipelines.training.scoring import dense_scores
from longvid.tasks import Task
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import JoinedStores, WindowDataset

Choice = tuple[str, float]
"""A pooling and an inverse regularisation."""

CLIP_POOLINGS = ("clip", "clip-and-around")
"""What a dense task's model sees of a clip: its mean token, or also the mean of the clips around it."""
AROUND = 8
"""Clips before and after that count as around a clip."""
MOST_CLIPS = 10_000
"""Labelled clips that are fitted, spread evenly over all of training: more make the fit slow, hardly better."""


class Models(Protocol):
    """Linear models fitted on training videos, one per choice."""

    choices: Sequence[Choice]
    notes: tuple[str, ...]

    def metrics(self, part: WindowDataset, choices: Sequence[Choice]) -> dict[Choice, dict[str, float]]:
        """The task's metrics of some of the models on other videos."""
        ...


class VideoModels:
    """A model per pooling of whole videos and regularisation."""

    notes: tuple[str, ...] = ()

    def __init__(self, task: Task, train: WindowDataset) -> None:
        self.choices: Sequence[Choice] = [(pooling, strength) for pooling in POOLINGS for strength in STRENGTHS]
        self._task = task
        pooled, targets = _pooled(train), train.targets()
        self._models = {
            (pooling, strength): fit_linear_baseline(
                pooled[pooling], targets, kind=task.kind, outputs=task.outputs, strength=strength
            )
            for pooling, strength in self.choices
        }

    def metrics(self, part: WindowDataset, choices: Sequence[Choice]) -> dict[Choice, dict[str, float]]:
        """The task's metrics over the videos of `part`."""
        pooled, targets = _pooled(part), part.targets()
        return {
            choice: score(self._task.metrics, self._models[choice].scores(pooled[choice[0]]), targets)
            for choice in choices
        }


class ClipModels:
    """The same for dense tasks: each clip is answered by itself, or with the clips around it."""

    def __init__(self, task: Task, train: WindowDataset) -> None:
        self.choices: Sequence[Choice] = [(pooling, strength) for pooling in CLIP_POOLINGS for strength in STRENGTHS]
        self._task = task
        labels = [train.clip_targets(video) for video in range(len(train.rows))]
        labelled = [np.flatnonzero(own != UNLABELLED) for own in labels]
        total = sum(map(len, labelled))
        every = max(1, -(-total // MOST_CLIPS))
        self.notes: tuple[str, ...] = (f"Fitted on one in {every} of {total:,} labelled clips.",) if every > 1 else ()
        chosen = [own[(-start) % every :: every] for own, start in zip(labelled, _starts(labelled), strict=True)]
        seen: dict[str, list[np.ndarray]] = {pooling: [] for pooling in CLIP_POOLINGS}
        for video, clips in enumerate(chosen):
            for pooling, features in _clip_features(train, video).items():
                seen[pooling].append(features[clips - train.span(video)[0]])
        targets = np.concatenate([own[clips] for own, clips in zip(labels, chosen, strict=True)])
        together = {pooling: np.concatenate(parts) for pooling, parts in seen.items()}
        self._models = {
            (pooling, strength): fit_linear_baseline(
                together[pooling], targets, outputs=task.outputs, strength=strength
            )
            for pooling, strength in self.choices
        }

    def metrics(self, part: WindowDataset, choices: Sequence[Choice]) -> dict[Choice, dict[str, float]]:
        """The task's metrics over the clips and videos of `part`; its features are read once."""
        every: dict[Choice, list[np.ndarray]] = {choice: [] for choice in choices}
        for video in range(len(part.rows)):
            features = _clip_features(part, video)
            for choice in choices:
                every[choice].append(self._scores(self._models[choice], features[choice[0]], part, video))
        return {choice: dense_scores(scores, part).metrics(self._task) for choice, scores in every.items()}

    def _scores(
        self, model: LinearBaseline, features: Float[np.ndarray, "clips features"], part: WindowDataset, video: int
    ) -> Float[np.ndarray, "stored outputs"]:
        """Scores of every stored clip of a video; NaN for those outside the row's part of it."""
        scores = np.full((len(part.seconds(video)), self._task.outputs), np.nan)
        first, stop = part.span(video)
        scores[first:stop] = model.scores(features)
        return scores


def _starts(parts: Iterable[np.ndarray]) -> list[int]:
    """How many items lie before each part."""
    starts: list[int] = np.cumsum([0, *map(len, parts)])[:-1].tolist()
    return starts


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


def _clip_features(data: WindowDataset, video: int) -> dict[str, Float[np.ndarray, "clips _features"]]:
    """Features of each clip of a row's part of its video, by pooling."""
    own = np.concatenate([tokens.mean(axis=1, dtype=np.float32) for tokens in video_features(data, video)])
    sums = np.concatenate([np.zeros((1, own.shape[1])), np.cumsum(own, axis=0, dtype=np.float64)])
    clips = np.arange(len(own))
    low, high = np.maximum(clips - AROUND, 0), np.minimum(clips + AROUND + 1, len(own))
    around = ((sums[high] - sums[low]) / (high - low)[:, None]).astype(np.float32)
    return {"clip": own, "clip-and-around": np.concatenate([own, around], axis=1)}
