"""Windows of stored features as a torch data set, for decoders.

    store --read--> (clips, tokens, dim) --flatten, time-major--> (length, dim) --pad--> (batch, length, dim), lengths

Nothing is random here: the sampler (`sampler.py`) decides in the main process which windows an epoch draws. So worker
processes only read, and the same (seed, epoch) gives the same batches with any number of workers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.utils.data import Dataset

from longvid.errors import AnnotationError, ConfigError
from longvid.stores import FeatureStore, PresentClips, StoredVideo
from longvid.tasks.frame_labels import UNLABELLED, clip_labels
from longvid.tasks.manifest import ManifestRow
from longvid.tasks.task import Task
from longvid.windows.joined import JoinedStores, JoinedVideo
from longvid.windows.rule import Windows, clips_within


class Draw(NamedTuple):
    """One training example: which window, and the seed of anything random inside it."""

    window: int
    seed: int


class WindowItem(NamedTuple):
    """One window. `tokens` as stored (float16 or float32); `target` is None if the rows have no task.

    `first_clip` and `stop_clip` count the clips of the video that are there: all, unless its file is damaged.
    """

    tokens: Num[Tensor, "length dim"]
    target: Tensor | None
    video: int
    first_clip: int
    stop_clip: int


class WindowBatch(NamedTuple):
    """Windows padded to one length; `lengths` counts the real tokens of each.

    `videos` are indices into `WindowDataset.rows`, `clips` the half-open range of stored clips of each window,
    counted among those that are there.
    """

    tokens: Float[Tensor, "batch length dim"]
    lengths: Int[Tensor, " batch"]
    targets: Tensor | None
    videos: Int[Tensor, " batch"]
    clips: Int[Tensor, "batch 2"]


Features = FeatureStore | JoinedStores
"""Where windows are read from."""


def split_by_presence(store: Features, rows: Sequence[ManifestRow]) -> tuple[list[ManifestRow], list[ManifestRow]]:
    """Rows whose video is complete in the store, and the other rows."""
    there = store.num_clips()
    return [row for row in rows if row.key in there], [row for row in rows if row.key not in there]


class WindowDataset(Dataset[WindowItem]):
    """All windows of the given videos, in the order of the rows and of time.

    `training=True` holds every window a draw may choose, `training=False` those at the evaluation stride. The store
    is opened anew in each worker process. Windows of fewer than `fewest_clips` clips are left out.

    Of a video that lacks clips, because its file is damaged, only the others exist here: windows are cut from them, one
    after the other, labels are those of their seconds, and clips are counted among them. So no decoder ever sees NaN,
    or a step that stands for nothing; `partial` names these videos.

    Raises `AnnotationError` for a row whose video is not complete in the store, whose time span contains no clip, or
    whose label is invalid in the task.
    """

    def __init__(
        self,
        store: Features,
        rows: Sequence[ManifestRow],
        windows: Windows,
        *,
        task: Task | None = None,
        training: bool = False,
        fewest_clips: int = 1,
    ) -> None:
        if task is not None and task.kind == "dense" and windows.short == "padded":
            raise ConfigError(f"task {task.name!r} labels clips, and added clips have none; use window.short=masked")
        self.store = store
        self.rows = tuple(rows)
        self.windows = windows
        self.task = task
        self._videos: dict[int, StoredVideo | PresentClips | JoinedVideo] = {}
        if isinstance(store, JoinedStores):
            counts = store.clip_counts([row.key for row in self.rows])
        else:
            counts = store.clip_counts()
        self._num_damaged = {key: damaged for key, (_, damaged) in counts.items() if damaged}
        self._spans = self._clip_spans({key: total - damaged for key, (total, damaged) in counts.items()})
        ranges = [self._ranges(index, training) for index in range(len(self.rows))]
        if fewest_clips > 1 and windows.segments is None:
            ranges = [own[np.diff(own)[:, 0] >= fewest_clips] for own in ranges]
        self.too_short = tuple(row.key for row, own in zip(self.rows, ranges, strict=True) if not len(own))
        """Keys of the videos without a window of at least `fewest_clips` clips."""
        self.ranges = np.concatenate([np.zeros((0, 2), np.int64), *ranges])
        """(windows, 2): the clips of each window."""
        self.video_of_window = np.repeat(np.arange(len(self.rows)), [len(r) for r in ranges])
        """(windows,): index of each window's row."""
        self._targets = None if task is None else [self._target(index, task) for index in range(len(self.rows))]

    def __len__(self) -> int:
        return len(self.ranges)

    def __getitem__(self, index: int | Draw) -> WindowItem:
        window, seed = (index.window, index.seed) if isinstance(index, Draw) else (index, None)
        if not -len(self) <= window < len(self):
            raise IndexError(f"window {window} of {len(self)}")
        first, stop = self.ranges[window].tolist()
        video = int(self.video_of_window[window])
        tokens = self.video(video).read(first, stop)
        picks = self.windows.picks(stop - first, seed) if self.windows.segments else None
        if picks is not None:
            tokens = tokens[picks]
        if lacking := self.windows.lacking(len(tokens)):
            tokens = np.concatenate([tokens, np.zeros((lacking, *tokens.shape[1:]), tokens.dtype)])
        target = self._window_target(video, first, stop, picks)
        return WindowItem(torch.from_numpy(tokens.reshape(-1, tokens.shape[-1])), target, video, first, stop)

    @property
    def partial(self) -> dict[str, int]:
        """How many clips are not there, by key, of each video that lacks some."""
        keys = {row.key for row in self.rows}
        return {key: count for key, count in self._num_damaged.items() if key in keys}

    def video(self, index: int) -> StoredVideo | PresentClips | JoinedVideo:
        """The stored video of a row, or what is there of it; opened once in each process."""
        if index not in self._videos:
            key = self.rows[index].key
            video = self.store.video(key)
            if isinstance(video, StoredVideo) and key in self._num_damaged:
                self._videos[index] = PresentClips(video)
            else:
                self._videos[index] = video
        return self._videos[index]

    def seconds(self, video: int) -> Float[np.ndarray, "clips 2"]:
        """Start and end of each stored clip of a row's video that is there."""
        return self.video(video).seconds

    def span(self, video: int) -> tuple[int, int]:
        """The stored clips of a row that count, as a half-open range."""
        return self._spans[video]

    @property
    def max_length(self) -> int:
        """Tokens in the longest window."""
        return self.max_clips * self.store.recipe.num_tokens

    @property
    def max_clips(self) -> int:
        """Clips in the longest window."""
        longest = self.windows.segments or int(np.diff(self.ranges).max(initial=1))
        return longest + self.windows.lacking(longest)

    def targets(self) -> np.ndarray:
        """The target of every row, stacked; for dense tasks the labels of all clips of all rows, concatenated."""
        assert self._targets is not None
        join = np.concatenate if self.task is not None and self.task.kind == "dense" else np.stack
        return join([np.asarray(target) for target in self._targets])

    def clip_targets(self, video: int) -> Int[np.ndarray, " clips"]:
        """Class number of each stored clip of a row's video, for dense tasks."""
        assert self._targets is not None
        return np.asarray(self._targets[video])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_videos": {}}

    def _clip_spans(self, num_clips: dict[str, int]) -> list[tuple[int, int]]:
        """The clips of each row that count: all that are there, or those between its start and end seconds."""
        spans = []
        for index, row in enumerate(self.rows):
            if row.key not in num_clips:
                raise AnnotationError(f"{row.where}: video {row.key!r} is not complete in {self.store.location}")
            span = (0, num_clips[row.key])
            if row.start_seconds is not None or row.end_seconds is not None:
                span = clips_within(self.seconds(index), row.start_seconds, row.end_seconds)
            if span[0] >= span[1]:
                raise AnnotationError(f"{row.where}: no stored clip between its start_seconds and end_seconds")
            spans.append(span)
        return spans

    def _ranges(self, index: int, training: bool) -> Int[np.ndarray, "windows 2"]:
        first, stop = self._spans[index]
        seconds = self.seconds(index)[first:stop] if self.windows.seconds is not None else None
        cut = self.windows.trained if training else self.windows.evaluated
        return first + cut(stop - first, seconds)

    def _target(self, index: int, task: Task) -> int | np.ndarray:
        row = self.rows[index]
        if task.kind != "dense":
            return task.target(row)
        labels = clip_labels(row, task, self.seconds(index))
        first, stop = self._spans[index]
        labels[:first] = labels[stop:] = UNLABELLED
        return labels

    def _window_target(self, video: int, first: int, stop: int, picks: np.ndarray | None) -> Tensor | None:
        if self._targets is None:
            return None
        target = np.asarray(self._targets[video])
        if self.task is not None and self.task.kind == "dense":
            target = target[first:stop]
            target = target if picks is None else target[picks]
        return torch.from_numpy(target.copy())


def collate(
    items: Sequence[WindowItem], *, length: int | None = None, dtype: torch.dtype | None = torch.float32
) -> WindowBatch:
    """Windows as one batch, padded with zeros to `length` tokens or to the longest window.

    Each token is copied once, to its place and to `dtype` (None: as stored). Clip labels are padded with `UNLABELLED`.
    """
    lengths = torch.tensor([len(item.tokens) for item in items])
    padded = max(length or 0, int(lengths.max()))
    tokens = torch.empty((len(items), padded, items[0].tokens.shape[1]), dtype=dtype or items[0].tokens.dtype)
    for row, item in zip(tokens, items, strict=True):
        row[: len(item.tokens)] = item.tokens
        row[len(item.tokens) :] = 0
    return WindowBatch(
        tokens,
        lengths,
        _stacked([item.target for item in items if item.target is not None]),
        torch.tensor([item.video for item in items]),
        torch.tensor([(item.first_clip, item.stop_clip) for item in items]),
    )


def _stacked(targets: list[Tensor]) -> Tensor | None:
    if not targets:
        return None
    if len({target.shape for target in targets}) == 1:
        return torch.stack(targets)
    padding = float(UNLABELLED)
    return torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=padding)
