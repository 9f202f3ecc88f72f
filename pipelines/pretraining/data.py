"""From stores to the masked windows of a pretraining.

What an epoch draws is a function of (seed, epoch): which stretch of each video, and the seed of its mask. So a run that
goes on after an interruption sees the same windows and masks as one without.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.pretraining.config import PretrainConfig
from longvid.pipelines.training.data import CLIPS_AT_ONCE, batch_dtype, shown, worker_context
from longvid.pretraining.masks import REPEATS, draw_mask, repeated, shortest_maskable
from longvid.pretraining.objective import ClipStatistics, Objective
from longvid.stores import FeatureStore, PresentClips, Recipe, StoredVideo
from longvid.tasks import Manifest
from longvid.windows.rule import Windows, clips_within

SMALLEST_DEVIATION = 1e-6
"""A channel with a smaller deviation keeps its scale."""
VALIDATION = 2**31
"""Stands for the epoch in the seeds of validation masks."""


class Source(NamedTuple):
    """A video of one of the stores, and the clips of it that count."""

    store: int
    key: str
    first: int
    stop: int

    @property
    def num_clips(self) -> int:
        """Clips that count."""
        return self.stop - self.first


class Stretch(NamedTuple):
    """Consecutive clips of a video, and the seed of their mask."""

    video: int
    first: int
    stop: int
    seed: int


class MaskedWindow(NamedTuple):
    """One window with its mask."""

    tokens: Num[Tensor, "length dim"]
    masked: Bool[Tensor, " clips"]
    hours: float


class MaskedBatch(NamedTuple):
    """Windows padded to one length; `lengths` counts tokens."""

    tokens: Float[Tensor, "batch length dim"]
    lengths: Int[Tensor, " batch"]
    masked: Bool[Tensor, "batch clips"]
    hours: float


@dataclass(frozen=True)
class PretrainingData:
    """What a pretraining sees."""

    stores: tuple[FeatureStore, ...]
    recipe: Recipe
    train: "MaskedWindows"
    val: "MaskedWindows"
    short: tuple[str, ...]
    """Keys of videos that are too short."""
    notes: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Hours of video in training."""
        return self.train.total_hours()


def open_pretraining_data(config: PretrainConfig, *, shortest: int) -> PretrainingData:
    """Open the stores and choose the videos; those of fewer than `shortest` clips are left out by name.

    Raises `ConfigError` for stores of different recipes, `AnnotationError` where no video is left.
    """
    stores = tuple(FeatureStore.open(place) for place in config.stores)
    recipe = stores[0].recipe
    for store in stores[1:]:
        if differences := recipe.differences(store.recipe):
            raise ConfigError(
                f"{store.location}: its features are not those of {stores[0].location} ({'; '.join(differences)}); "
                "pretrain on stores of one recipe"
            )
    videos, notes = _sources(config, stores)
    repeats = {True: REPEATS, False: 1}  # a window that is repeated is as long as its repetitions
    seen = [video.num_clips * repeats[video.num_clips < config.window.repeat_below] for video in videos]
    enough = [video for video, length in zip(videos, seen, strict=True) if length >= shortest]
    short = [video.key for video, length in zip(videos, seen, strict=True) if length < shortest]
    if short:
        notes.append(f"{len(short)} videos have fewer than {shortest} clips and are left out: {shown(short)}.")
    if not enough:
        raise AnnotationError(
            f"{', '.join(config.stores)}: no video of at least {shortest} clips to pretrain on ({len(videos)} shorter "
            "ones); lower window.shortest, or extract with a shorter stride"
        )
    held = _held_out([video.key for video in enough], config)
    parts = [[v for v in enough if (v.key in held) is is_held] for is_held in (False, True)]
    train, val = (MaskedWindows(stores, part, config) for part in parts)
    return PretrainingData(stores, recipe, train, val, tuple(short), tuple(notes))


def _sources(config: PretrainConfig, stores: Sequence[FeatureStore]) -> tuple[list[Source], list[str]]:
    """The videos that count, and notes about them."""
    there = [
        {key: total - damaged for key, (total, damaged) in store.clip_counts().items() if total > damaged}
        for store in stores
    ]
    if config.manifest is None:
        listed = ((index, key, count) for index, counts in enumerate(there) for key, count in sorted(counts.items()))
        note = "Every video of the stores is used, those of a later test too; manifest=... keeps to its training split."
        return [Source(index, key, 0, count) for index, key, count in listed], [note]
    manifest = Manifest.read(config.manifest)
    rows = [row for row in manifest if (row.split or "") in config.splits]
    if not rows:
        counts = ", ".join(f"{count} in {split or 'none'}" for split, count in manifest.counts().items())
        raise AnnotationError(f"{config.manifest}: no video is in splits={list(config.splits)} ({counts})")
    found = []
    for row in rows:
        for index, held in enumerate(there):
            if row.key in held:
                span = (0, held[row.key])
                if row.start_seconds is not None or row.end_seconds is not None:
                    video = opened(stores[index], row.key)
                    span = clips_within(video.seconds, row.start_seconds, row.end_seconds)
                found.append(Source(index, row.key, *span))
    absent = [row.key for row in rows if not any(row.key in held for held in there)]
    notes = [f"{len(absent)} videos of {config.manifest} are in no store: {shown(absent)}."] if absent else []
    return found, notes


def _held_out(keys: list[str], config: PretrainConfig) -> set[str]:
    """Keys of the videos to validate on, by a hash of their names; none of a single video."""
    unique = sorted(set(keys), key=lambda key: hashlib.sha256(f"{config.validation.seed}\0{key}".encode()).digest())
    count = round(config.validation.fraction * len(unique))
    if config.validation.fraction > 0:
        count = max(1, count)
    return set(unique[: min(count, len(unique) - 1)])


def shortest_window(config: PretrainConfig, objective: Objective, *, min_tokens: int, num_tokens: int) -> int:
    """The fewest clips of a window that the decoder accepts and the objective has something to predict in."""
    for_objective = min(objective.horizons) + 1 if objective.name == "next-clip" else shortest_maskable(objective.ratio)
    least = max(for_objective, -(-min_tokens // num_tokens))
    wanted = config.window.shortest
    if wanted is not None and wanted < least:
        raise ConfigError(
            f"window.shortest={wanted}: the decoder and the objective need windows of {least} clips or more"
        )
    if config.window.clips < (wanted or least):
        raise ConfigError(
            f"window.clips={config.window.clips} is less than the shortest window, {wanted or least} clips"
        )
    return wanted or least


def opened(store: FeatureStore, key: str) -> StoredVideo | PresentClips:
    """A stored video, or what is there of it."""
    video = store.video(key)
    return PresentClips(video) if len(video.damaged) else video


class MaskedWindows(Dataset[MaskedWindow]):
    """Windows of videos of several stores, masked by the seed of each stretch."""

    def __init__(self, stores: Sequence[FeatureStore], videos: Sequence[Source], config: PretrainConfig) -> None:
        self.stores = tuple(stores)
        self.videos = tuple(videos)
        self.config = config
        self.objective = config.objective.objective()
        self._opened: dict[int, StoredVideo | PresentClips] = {}

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, stretch: Stretch) -> MaskedWindow:
        video = self.video(stretch.video)
        tokens = repeated(video.read(stretch.first, stretch.stop), self.config.window.repeat_below)
        seconds = video.seconds[stretch.first : stretch.stop]
        masked = np.zeros(len(tokens), bool)
        if self.objective.name == "masked":
            masked = draw_mask(
                tokens.mean(axis=1, dtype=np.float32),
                kind=self.objective.mask,
                ratio=float(self.objective.ratio),
                mean_span=float(self.objective.mean_span),
                rng=np.random.default_rng(stretch.seed),
            )
        return MaskedWindow(
            torch.from_numpy(tokens.reshape(-1, tokens.shape[-1])),
            torch.from_numpy(masked),
            float(seconds[-1, 1] - seconds[0, 0]) / 3600,
        )

    def video(self, index: int) -> StoredVideo | PresentClips:
        """A video, opened once in each process."""
        if index not in self._opened:
            source = self.videos[index]
            self._opened[index] = opened(self.stores[source.store], source.key)
        return self._opened[index]

    def blocks(self) -> Iterator[Float[np.ndarray, "clips tokens dim"]]:
        """The features of every video, a few clips at a time."""
        for index, source in enumerate(self.videos):
            for first in range(source.first, source.stop, CLIPS_AT_ONCE):
                yield self.video(index).read(first, min(first + CLIPS_AT_ONCE, source.stop))

    def every_window(self, shortest: int) -> list[Stretch]:
        """Windows that cover every video once, with masks of their own."""
        windows = Windows(clips=self.config.window.clips)
        found = []
        for index, source in enumerate(self.videos):
            for first, stop in windows.evaluated(source.num_clips).tolist():
                if stop - first >= min(shortest, source.num_clips):
                    seed = np.random.SeedSequence([self.config.seed, VALIDATION, index, first]).generate_state(1)[0]
                    found.append(Stretch(index, source.first + first, source.first + stop, int(seed)))
        return found

    def total_hours(self) -> float:
        """Hours of video."""
        seconds = (self.video(i).seconds[v.first : v.stop] for i, v in enumerate(self.videos))
        return sum(float(own[-1, 1] - own[0, 0]) for own in seconds) / 3600

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}


class RandomStretches(Sampler[Stretch]):
    """One stretch of every video per epoch, of a length drawn evenly, in random order; fixed by (seed, epoch)."""

    def __init__(self, data: MaskedWindows, *, shortest: int, seed: int) -> None:
        self.data = data
        self.shortest = shortest
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Stretch]:
        rng = np.random.default_rng([self.seed, self.epoch])
        for index in rng.permutation(len(self.data)).tolist():
            source = self.data.videos[index]
            drawn = int(rng.integers(self.shortest, self.data.config.window.clips + 1))
            length = min(drawn, source.num_clips)
            first = source.first + int(rng.integers(0, source.num_clips - length + 1))
            yield Stretch(index, first, first + length, int(rng.integers(0, 2**31)))


def collate_masked(items: Sequence[MaskedWindow], *, num_tokens: int, dtype: torch.dtype | None) -> MaskedBatch:
    """Windows as one batch, padded with zeros to the longest."""
    lengths = torch.tensor([len(item.tokens) for item in items])
    longest = int(lengths.max())
    tokens = torch.zeros((len(items), longest, items[0].tokens.shape[1]), dtype=dtype or items[0].tokens.dtype)
    masked = torch.zeros((len(items), longest // num_tokens), dtype=torch.bool)
    for row, mask, item in zip(tokens, masked, items, strict=True):
        row[: len(item.tokens)] = item.tokens
        mask[: len(item.masked)] = item.masked
    return MaskedBatch(tokens, lengths, masked, sum(item.hours for item in items))


def masked_loader(
    data: MaskedWindows,
    sampler: Sampler[Stretch] | list[Stretch],
    batch_size: int,
    *,
    num_tokens: int,
    workers: int,
    device: torch.device,
) -> DataLoader[MaskedBatch]:
    """Batches of the stretches that the sampler draws."""
    return DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=partial(collate_masked, num_tokens=num_tokens, dtype=batch_dtype(device)),
        multiprocessing_context=worker_context() if workers else None,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )


def clip_statistics(data: MaskedWindows) -> ClipStatistics:
    """Mean and deviation of every clip's embedding, and the mean of the embeddings of unit length; in float64."""
    count, totals = 0, None
    for block in data.blocks():
        clips = block.astype(np.float64).mean(axis=1)
        units = clips / np.maximum(np.linalg.norm(clips, axis=1, keepdims=True), 1e-12)
        own = np.stack([clips.sum(axis=0), np.square(clips).sum(axis=0), units.sum(axis=0)])
        totals = own if totals is None else totals + own
        count += len(clips)
    assert totals is not None
    mean, square, unit = totals / count
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    deviation[deviation < SMALLEST_DEVIATION] = 1
    return ClipStatistics(*(torch.from_numpy(values).float() for values in (mean, deviation, unit)))


def absolute_stores(config: PretrainConfig) -> list[str]:
    """Locations of the stores, folders as absolute paths."""
    return [place if "://" in place else str(Path(place).absolute()) for place in config.stores]
