"""Scores of a split from a decoder's outputs on windows.

Validation and evaluation both use it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional

from longvid.decoders import Decoder
from longvid.errors import AnnotationError
from longvid.metrics.items import mean_by_item, probabilities, score
from longvid.metrics.videos import ScoredVideo, video_metrics
from longvid.tasks import Task
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import WindowBatch, WindowDataset


def logits_of(
    decoder: Decoder, batch: WindowBatch, *, task: Task, num_tokens: int
) -> Float[Tensor, "batch *clips outputs"]:
    """The decoder's outputs for each window; for dense tasks averaged over the tokens of each clip."""
    logits = decoder(batch.tokens.float(), batch.lengths)
    return logits.unflatten(1, (-1, num_tokens)).mean(dim=2) if task.kind == "dense" else logits


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
    """Collects scores of windows batch by batch; `split_scores` turns them into the scores of a split."""

    kind: str
    scores: list[np.ndarray] = field(default_factory=list)
    videos: list[np.ndarray] = field(default_factory=list)
    clips: list[np.ndarray] = field(default_factory=list)

    def add(self, logits: Tensor, batch: WindowBatch) -> None:
        """Add the outputs for a batch."""
        self.scores.extend(probabilities(logits.detach().float().cpu().numpy(), self.kind))
        self.videos.append(batch.videos.cpu().numpy())
        self.clips.append(batch.clips.cpu().numpy())


@dataclass(frozen=True)
class SplitScores:
    """Scores of every video of a split (dense: of every clip), with their targets.

    `windows`, `window_videos` and `window_clips` keep the scores of each window; empty for dense tasks.
    """

    scores: Float[np.ndarray, "items outputs"]
    targets: Num[np.ndarray, "items *outputs"]
    windows: Float[np.ndarray, "windows outputs"]
    window_videos: Int[np.ndarray, " windows"]
    window_clips: Int[np.ndarray, "windows 2"]
    item_videos: Int[np.ndarray, " items"]
    """The video of each item."""
    along: tuple[ScoredVideo, ...] = ()
    """Dense tasks: the scores of every clip, labelled or not, video by video."""

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


def split_scores(found: WindowScores, dataset: WindowDataset) -> SplitScores:
    """Mean scores of each video over its windows; for dense tasks, of each clip over the windows that contain it."""
    videos, clips = np.concatenate(found.videos), np.concatenate(found.clips)
    if found.kind == "dense":
        return _dense_scores(found.scores, videos, clips, dataset)
    windows = np.stack(found.scores)
    return SplitScores(
        scores=mean_by_item(windows, videos, len(dataset.rows)),
        targets=dataset.targets(),
        windows=windows,
        window_videos=videos,
        window_clips=clips,
        item_videos=np.arange(len(dataset.rows)),
    )


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
        windows=np.zeros((0, len(answer))),
        window_videos=np.zeros(0, np.int64),
        window_clips=np.zeros((0, 2), np.int64),
        item_videos=item_videos,
        along=along,
    )


def _dense_scores(scores: list[np.ndarray], videos: np.ndarray, clips: np.ndarray, data: WindowDataset) -> SplitScores:
    labels = [data.clip_targets(video) for video in range(len(data.rows))]
    offsets = np.cumsum([0, *map(len, labels)])
    indices = [offsets[video] + np.arange(first, stop) for video, (first, stop) in zip(videos, clips, strict=True)]
    if data.windows.segments:
        indices = [index[data.windows.picks(len(index), None)] for index in indices]
    answers = np.concatenate([window[: len(index)] for window, index in zip(scores, indices, strict=True)])
    every = mean_by_item(answers, np.concatenate(indices), int(offsets[-1]))
    targets = np.concatenate(labels)
    scored = (targets != UNLABELLED) & ~np.isnan(every).any(axis=1)
    _refuse_nothing_scored(scored, data)
    return SplitScores(
        scores=every[scored],
        targets=targets[scored],
        windows=np.zeros((0, every.shape[1])),
        window_videos=np.zeros(0, np.int64),
        window_clips=np.zeros((0, 2), np.int64),
        item_videos=np.repeat(np.arange(len(labels)), [len(label) for label in labels])[scored],
        along=tuple(_along(data, every, offsets)),
    )


def _refuse_nothing_scored(scored: np.ndarray, data: WindowDataset) -> None:
    """Raise `AnnotationError` if no clip of a dense split has a label to be scored by."""
    if not scored.any():
        raise AnnotationError(
            f"{data.rows[0].where}: no clip of the {len(data.rows)} videos to be scored has a label at its time; check "
            "that the labels' times are seconds of the video and that task.labels_per_second is right"
        )


def _along(data: WindowDataset, every: np.ndarray, offsets: np.ndarray) -> Iterator[ScoredVideo]:
    """The scored clips of each video."""
    for video, row in enumerate(data.rows):
        scores = every[offsets[video] : offsets[video + 1]]
        answered = ~np.isnan(scores).any(axis=1)
        yield ScoredVideo(row, data.seconds(video)[answered], scores[answered])


@torch.inference_mode()
def score_windows(
    decoder: Decoder, batches: Iterable[WindowBatch], dataset: WindowDataset, *, device: torch.device
) -> SplitScores:
    """Scores of a decoder in evaluation mode on every window of a data set with a task."""
    assert dataset.task is not None
    decoder = decoder.to(device).eval()
    found = WindowScores(dataset.task.kind)
    for batch in batches:
        on_device = batch._replace(tokens=batch.tokens.to(device), lengths=batch.lengths.to(device))
        found.add(logits_of(decoder, on_device, task=dataset.task, num_tokens=dataset.store.recipe.num_tokens), batch)
    return split_scores(found, dataset)
