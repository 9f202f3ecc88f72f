"""From windows to scores, for validation, evaluation and prediction.

batches --decoder--> WindowScores --answers_of--> Answers (no label needed) --split_scores--> SplitScores
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional

from longvid.decoders import Decoder
from longvid.decoders.segmentation.smoothing import SMOOTHING, smoothing_loss
from longvid.errors import AnnotationError
from longvid.metrics.items import mean_by_item, probabilities, score
from longvid.metrics.videos import ScoredVideo, video_metrics
from longvid.pipelines.training.sections import SmoothingSettings
from longvid.tasks import Task
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import WindowBatch, WindowDataset


def logits_of(
    decoder: Decoder, batch: WindowBatch, *, task: Task, num_tokens: int
) -> Float[Tensor, "batch *clips outputs"]:
    """The decoder's outputs for each window; for dense tasks averaged over the tokens of each clip."""
    return of_clips(decoder(batch.tokens.float(), batch.lengths), task=task, num_tokens=num_tokens)


def of_clips(
    logits: Float[Tensor, "batch *steps outputs"], *, task: Task, num_tokens: int
) -> Float[Tensor, "batch *clips outputs"]:
    """A decoder's outputs for windows; for dense tasks averaged over the tokens of each clip."""
    return logits.unflatten(1, (-1, num_tokens)).mean(dim=2) if task.kind == "dense" else logits


def stages_of(
    decoder: Decoder, batch: WindowBatch, *, task: Task, num_tokens: int
) -> Float[Tensor, "stages batch *clips outputs"]:
    """The same for every stage of the decoder, the last one's last."""
    return stages_by_clip(decoder.stages(batch.tokens.float(), batch.lengths), task=task, num_tokens=num_tokens)


def stages_by_clip(
    stages: Float[Tensor, "stages batch *steps outputs"], *, task: Task, num_tokens: int
) -> Float[Tensor, "stages batch *clips outputs"]:
    """A decoder's stages; for dense tasks averaged over the tokens of each clip."""
    return stages.unflatten(2, (-1, num_tokens)).mean(dim=3) if task.kind == "dense" else stages


def smoothing_of(
    logits: Float[Tensor, "batch clips outputs"], lengths: Int[Tensor, " batch"], *, settings: SmoothingSettings
) -> Float[Tensor, ""]:
    """The weighted smoothing loss of one stage; `lengths` counts clips."""
    weight = SMOOTHING[settings.reading].weight if settings.weight is None else settings.weight
    return weight * smoothing_loss(logits.float(), lengths, reading=settings.reading)


def loss_of(logits: Float[Tensor, "batch *clips outputs"], targets: Tensor, kind: str) -> Float[Tensor, ""]:
    """Cross-entropy, one logistic loss per label, or mean squared error; unlabelled clips do not count."""
    logits = logits.float()
    if kind == "classification":
        return functional.cross_entropy(logits, targets)
    if kind == "multilabel":
        return functional.binary_cross_entropy_with_logits(logits, targets)
    if kind == "regression":
        return functional.mse_loss(logits, targets)
    labelled = (targets != UNLABELLED).sum().clamp(min=1)
    clips = logits[:, : targets.shape[1]].flatten(0, 1)
    return functional.cross_entropy(clips, targets.flatten(), ignore_index=UNLABELLED, reduction="sum") / labelled


@dataclass
class WindowScores:
    """Collects scores of windows batch by batch; `answers_of` turns them into the scores of videos."""

    kind: str
    scores: list[np.ndarray] = field(default_factory=list)
    videos: list[np.ndarray] = field(default_factory=list)
    clips: list[np.ndarray] = field(default_factory=list)

    def add(self, logits: Tensor, batch: WindowBatch) -> None:
        """Add the outputs for a batch."""
        self.scores.extend(probabilities(logits.detach().float().cpu().numpy(), self.kind))
        self.videos.append(batch.videos.cpu().numpy())
        self.clips.append(batch.clips.cpu().numpy())


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A decoder's scores for a data set, labelled or not.

    `windows`, `window_videos` and `window_clips` hold the scores of each window; empty for dense tasks.
    """

    kind: str
    """The task's kind."""
    windows: Float[np.ndarray, "windows outputs"]
    window_videos: Int[np.ndarray, " windows"]
    window_clips: Int[np.ndarray, "windows 2"]
    along: tuple[ScoredVideo, ...] = ()
    """Dense tasks: the scores of every clip that is in a window, video by video."""


@dataclass(frozen=True, kw_only=True)
class SplitScores(Answers):
    """Scores of every video of a split (dense: of every clip), with their targets."""

    scores: Float[np.ndarray, "items outputs"]
    targets: Num[np.ndarray, "items *outputs"]
    item_videos: Int[np.ndarray, " items"]
    """The video of each item."""

    def metrics(self, task: Task) -> dict[str, float]:
        """The task's metrics over items (videos, or clips of dense tasks), and over whole videos of dense tasks."""
        found = score(task.metrics, self.scores, self.targets)
        found |= video_metrics([name for name in task.metrics if name not in found], self.along, task)
        return {name: found[name] for name in task.metrics}

    def answering(self, answer: Float[np.ndarray, " outputs"]) -> "SplitScores":
        """The same items with the same answer to all."""
        along = (replace(v, scores=np.broadcast_to(answer, v.scores.shape)) for v in self.along)
        return replace(self, scores=np.broadcast_to(answer, self.scores.shape), along=tuple(along))

    def window_metrics(self, task: Task) -> dict[str, float]:
        """The task's metrics with every window counted on its own."""
        return score(task.metrics, self.windows, self.targets[self.window_videos]) if len(self.windows) else {}


def answers_of(found: WindowScores, dataset: WindowDataset) -> Answers:
    """The scores of each window; for dense tasks, of each clip, averaged over the windows that contain it."""
    if found.kind == "dense":
        return _dense_answers(_every_clip(found, dataset), dataset)
    return Answers(
        kind=found.kind,
        windows=np.stack(found.scores),
        window_videos=np.concatenate(found.videos),
        window_clips=np.concatenate(found.clips),
    )


def split_scores(found: WindowScores, dataset: WindowDataset) -> SplitScores:
    """Mean scores of each video over its windows (for dense tasks, of each clip), with their targets."""
    if found.kind == "dense":
        return dense_scores(_every_clip(found, dataset), dataset)
    answers = answers_of(found, dataset)
    return SplitScores(
        **vars(answers),
        scores=mean_by_item(answers.windows, answers.window_videos, len(dataset.rows)),
        targets=dataset.targets(),
        item_videos=np.arange(len(dataset.rows)),
    )


def _no_windows(outputs: int) -> dict[str, Any]:
    """Empty fields of windows, for scores that have none."""
    none = np.zeros(0, np.int64)
    return {"windows": np.zeros((0, outputs)), "window_videos": none, "window_clips": none.reshape(0, 2)}


def constant_scores(answer: Float[np.ndarray, " outputs"], dataset: WindowDataset) -> SplitScores:
    """The scores of a baseline that ignores the video: the same answer to every item of a split."""
    assert dataset.task is not None
    videos = range(len(dataset.rows))
    if dataset.task.kind == "dense":
        labels = [dataset.clip_targets(video) for video in videos]
        every = [np.broadcast_to(answer, (len(own), len(answer))) for own in labels]
        along = tuple(ScoredVideo(dataset.rows[v], dataset.seconds(v), every[v]) for v in videos)
        targets, item_videos = np.concatenate(labels), np.repeat(np.arange(len(labels)), [len(own) for own in labels])
        labelled = targets != UNLABELLED
        _refuse_nothing_scored(labelled, dataset)
        targets, item_videos = targets[labelled], item_videos[labelled]
    else:
        along, targets, item_videos = (), dataset.targets(), np.arange(len(dataset.rows))
    return SplitScores(
        scores=np.broadcast_to(answer, (len(targets), len(answer))),
        targets=targets,
        kind=dataset.task.kind,
        **_no_windows(len(answer)),
        item_videos=item_videos,
        along=along,
    )


def _every_clip(found: WindowScores, data: WindowDataset) -> list[Float[np.ndarray, "_ outputs"]]:
    """Scores of every stored clip of each video: the mean over the windows that contain it, NaN without any."""
    videos, clips = np.concatenate(found.videos), np.concatenate(found.clips)
    lengths = [len(data.seconds(video)) for video in range(len(data.rows))]
    offsets = np.cumsum([0, *lengths])
    indices = [offsets[video] + np.arange(first, stop) for video, (first, stop) in zip(videos, clips, strict=True)]
    if data.windows.segments:
        indices = [index[data.windows.picks(len(index), None)] for index in indices]
    answers = np.concatenate([window[: len(index)] for window, index in zip(found.scores, indices, strict=True)])
    return np.split(mean_by_item(answers, np.concatenate(indices), int(offsets[-1])), offsets[1:-1])


def _dense_answers(every: list[Float[np.ndarray, "_ outputs"]], data: WindowDataset) -> Answers:
    """The scores of the clips of each video that are in a window."""
    held = [~np.isnan(scores).any(axis=1) for scores in every]
    along = tuple(ScoredVideo(data.rows[v], data.seconds(v)[held[v]], every[v][held[v]]) for v in range(len(every)))
    return Answers(kind="dense", **_no_windows(every[0].shape[1]), along=along)


def dense_scores(every: list[Float[np.ndarray, "_ outputs"]], data: WindowDataset) -> SplitScores:
    """The labelled clips as items, from the scores of every stored clip of each video (NaN: not scored)."""
    scores = np.concatenate(every)
    targets = np.concatenate([data.clip_targets(video) for video in range(len(data.rows))])
    scored = (targets != UNLABELLED) & ~np.isnan(scores).any(axis=1)
    _refuse_nothing_scored(scored, data)
    return SplitScores(
        **vars(_dense_answers(every, data)),
        scores=scores[scored],
        targets=targets[scored],
        item_videos=np.repeat(np.arange(len(every)), [len(own) for own in every])[scored],
    )


def _refuse_nothing_scored(scored: np.ndarray, data: WindowDataset) -> None:
    """Raise `AnnotationError` if no clip of a dense split has a label to be scored by."""
    if not scored.any():
        raise AnnotationError(
            f"{data.rows[0].where}: no clip of the {len(data.rows)} videos to be scored has a label at its time; check "
            "that the labels' times are seconds of the video and that task.labels_per_second is right"
        )


def score_windows(
    decoder: Decoder, batches: Iterable[WindowBatch], dataset: WindowDataset, *, device: torch.device
) -> SplitScores:
    """Scores of a decoder in evaluation mode on every window of a data set with a task."""
    assert dataset.task is not None
    return split_scores(window_scores(decoder, batches, dataset, task=dataset.task, device=device), dataset)


@torch.inference_mode()
def window_scores(
    decoder: Decoder, batches: Iterable[WindowBatch], dataset: WindowDataset, *, task: Task, device: torch.device
) -> WindowScores:
    """Scores of a decoder in evaluation mode on every window of a data set, which needs no labels."""
    decoder = decoder.to(device).eval()
    found = WindowScores(task.kind)
    for batch in batches:
        on_device = batch._replace(tokens=batch.tokens.to(device), lengths=batch.lengths.to(device))
        found.add(logits_of(decoder, on_device, task=task, num_tokens=dataset.store.recipe.num_tokens), batch)
    return found
