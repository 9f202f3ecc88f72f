"""Training clips read from video files, in any number of processes.

    clips = TrainingClips(manifest.split("train"), TrainingSampling(frames=16, fps=8), preprocessing, labels=task)
    loader = DataLoader(clips, batch_size=8, shuffle=True, num_workers=2, collate_fn=collate_clips)
    for epoch in range(epochs):
        clips.set_epoch(epoch)
        for batch in loader:
            inputs = normalised(batch["clip"].to(device), preprocessing)

Clip `index` of an epoch depends on the seed, the epoch and the index, and on nothing else. A video that cannot be read
is never replaced by another one: its item holds the reason, and `collate_clips` lists it under `lost`.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import AnnotationError, VideoError, short_reason
from longvid.recognition.augmentation import NO_AUGMENTATION, Augmentation, augmented, decoded_size
from longvid.recognition.labels import class_numbers, refuse_flips
from longvid.recognition.training_sampling import DrawnClip, TrainingSampling, clip_from, listed_part
from longvid.tasks import ManifestRow, Task
from longvid.video.frames import frames_on_screen
from longvid.video.metadata import VideoProbe
from longvid.video.probing import probe
from longvid.video.reader import decoded_frames, require_readable

KEPT_FRAMES = 1 << 22
"""Frames whose times a process keeps from one epoch to the next: 64 MB, 14,000 videos of ten seconds."""
NO_LABEL = -1


class ClipItem(TypedDict):
    """One training clip; without `clip` but with `lost` where its video cannot be read."""

    key: str
    """The video's key in the manifest."""
    label: int
    """Class number; -1 where there are no labels."""
    clip: NotRequired[UInt8[Tensor, "..."]]
    """(3, time, height, width), or (repeats, 3, time, height, width) with repeated augmentation."""
    seconds: NotRequired[tuple[float, float]]
    """What the clip covers, in the video's own measured seconds."""
    lost: NotRequired[str]
    """One line that says why the video gives no clip."""


class TrainingClips(Dataset[ClipItem]):
    """One random clip of every video per epoch.

    rows: of a manifest, each with a path. sampling: how clips are drawn; an encoder's `Sampling` is understood as the
    random clip that fits it. labels: a classification task; None: no labels are read (distillation).
    Raises before any video is opened: AnnotationError for a row without a file or with a label that does not fit,
    ConfigError for flips where classes tell left from right.
    """

    def __init__(
        self,
        rows: Sequence[ManifestRow],
        sampling: TrainingSampling | Sampling,
        preprocessing: Preprocessing,
        augment: Augmentation = NO_AUGMENTATION,
        labels: Task | None = None,
        seed: int = 0,
        *,
        backend: str = "auto",
        allow_truncated: bool = False,
    ) -> None:
        for row in rows:
            if row.path is None:
                raise AnnotationError(f"{row.where}: has no path, and clips are read from the file")
        self.rows, self.preprocessing, self.augment = tuple(rows), preprocessing, augment
        self.sampling = TrainingSampling.of(sampling) if isinstance(sampling, Sampling) else sampling
        self.labels: Sequence[int] = [NO_LABEL] * len(rows) if labels is None else class_numbers(rows, labels)
        if labels is not None:
            refuse_flips(float(augment.flip), labels.classes)
        self.seed, self._backend, self._allow_truncated = seed, backend, allow_truncated
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # seen by workers that live on
        self._probes: OrderedDict[tuple[str, int, int], VideoProbe] = OrderedDict()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def epoch(self) -> int:
        """The epoch whose clips are given."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Give the clips of this epoch from now on, in worker processes too."""
        self._epoch.fill_(epoch)

    def random(self, index: int) -> np.random.Generator:
        """The random numbers of one clip of the current epoch."""
        return np.random.default_rng([self.seed, self.epoch, index])

    def __getitem__(self, index: int) -> ClipItem:
        """One clip, or why there is none. Raises nothing for a video that cannot be read."""
        index = range(len(self))[index]
        item = ClipItem(key=self.rows[index].key, label=self.labels[index])
        try:
            item["clip"], item["seconds"] = self.read(index)
        except VideoError as error:
            item["lost"] = short_reason(error)
        return item

    def read(self, index: int) -> tuple[UInt8[Tensor, "..."], tuple[float, float]]:
        """Clip `index` of the current epoch and what it covers; VideoError where there is none."""
        row, random = self.rows[index], self.random(index)
        video = self.probed(row)
        drawn = self.sampling.draw(video, random, (row.start_seconds, row.end_seconds))
        return self._finished(video, drawn, random), drawn.seconds

    def clip_at(
        self,
        row: ManifestRow,
        start_seconds: float,
        end_seconds: float | None = None,
        *,
        random: np.random.Generator | None = None,
    ) -> tuple[UInt8[Tensor, "..."], tuple[float, float]]:
        """The clip at these measured seconds, as (3, time, height, width), and what it covers.

        With an end the sampling's frames are spread evenly over [start, end), so that a student sees the time of a
        teacher's stored clip, whatever the number of frames of each; without one they are as far apart as the sampling
        says. `random` augments the clip; None: the encoder's own preprocessing. VideoError where it cannot be read.
        """
        video = self.probed(row)
        begin, end, _ = listed_part(video, (None, None))
        frames = self.sampling.frames
        if end_seconds is not None:
            apart = (end_seconds - start_seconds) / frames
        elif self.sampling.fps is not None:
            apart = 1 / self.sampling.fps
        else:
            apart = self.sampling.step / video.measured.average_fps
        drawn = clip_from(start_seconds, frames, apart, begin, end)
        return self._finished(video, drawn, random), drawn.seconds

    def probed(self, row: ManifestRow) -> VideoProbe:
        """What is measured of a row's video; kept for as long as the file's size and date stay, and memory suffices."""
        path = str(row.path)
        at: tuple[str, int, int] = (path, 0, 0)
        if "://" not in path and Path(path).exists():
            status = Path(path).stat()
            at = (path, status.st_size, status.st_mtime_ns)
        if at in self._probes:
            self._probes.move_to_end(at)
            return self._probes[at]
        self._probes[at] = video = probe(path)
        kept = sum(one.measured.num_frames for one in self._probes.values()) if len(self._probes) % 64 == 0 else 0
        while kept > KEPT_FRAMES:
            kept -= self._probes.popitem(last=False)[1].measured.num_frames
        return video

    def _finished(
        self, video: VideoProbe, drawn: DrawnClip, random: np.random.Generator | None
    ) -> UInt8[Tensor, "..."]:
        """The drawn clip, decoded once and augmented as often as is asked."""
        augment = NO_AUGMENTATION if random is None else self.augment
        chance = np.random.default_rng(0) if random is None else random
        height, width = decoded_size(augment, self.preprocessing, video.height, video.width, chance)
        frames = self._decoded(video, drawn, height, width)
        clips = [augmented(frames, augment, self.preprocessing, chance) for _ in range(augment.repeats)]
        pixels = torch.from_numpy(np.stack(clips)).movedim(-1, 1).contiguous()
        return pixels if augment.repeats > 1 else pixels[0]

    def _decoded(
        self, video: VideoProbe, drawn: DrawnClip, height: int, width: int
    ) -> UInt8[np.ndarray, "frames height width 3"]:
        require_readable(video, np.sort(drawn.frame_seconds), self._allow_truncated)
        indices = frames_on_screen(video.measured.frame_seconds, drawn.frame_seconds)
        interpolation = self.preprocessing.interpolation
        decoded = dict(decoded_frames(video, indices, height, width, interpolation, self._backend, 1))
        return np.stack([decoded[index] for index in indices.tolist()])

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process is given: everything but the measured videos."""
        return self.__dict__ | {"_probes": OrderedDict()}


class ClipBatch(TypedDict):
    """Clips of one size; videos that gave none are listed, not replaced."""

    clip: UInt8[Tensor, "batch 3 time height width"]
    label: Tensor
    """Int64, one per clip."""
    seconds: Float[Tensor, "batch 2"]
    """Float64, one row per clip."""
    key: list[str]
    lost: list[tuple[str, str]]
    """Key and reason of every video of the batch that could not be read."""


def collate_clips(items: Sequence[ClipItem]) -> ClipBatch:
    """One batch; each augmentation of a clip is a row of its own, those of one clip beside each other."""
    there = [item for item in items if "clip" in item]
    clips = [item["clip"].unflatten(0, (-1, 3)) if item["clip"].ndim == 4 else item["clip"] for item in there]
    repeats = len(clips[0]) if clips else 1
    return ClipBatch(
        clip=torch.cat(clips) if clips else torch.empty(0, 3, 0, 0, 0, dtype=torch.uint8),
        label=torch.tensor([item["label"] for item in there for _ in range(repeats)], dtype=torch.int64),
        seconds=torch.tensor([item["seconds"] for item in there for _ in range(repeats)], dtype=torch.float64).reshape(
            -1, 2
        ),
        key=[item["key"] for item in there for _ in range(repeats)],
        lost=[(item["key"], item["lost"]) for item in items if "lost" in item],
    )


def normalised(
    clips: UInt8[Tensor, "batch 3 time height width"], preprocessing: Preprocessing
) -> Float[Tensor, "batch 3 time height width"]:
    """What the encoder sees, float32: pixels of 0 to 1 less the mean, over the deviation."""
    mean, std = (
        torch.tensor(values, device=clips.device).mul(255).view(3, 1, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (clips.float() - mean) / std
