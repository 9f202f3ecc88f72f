"""Surprise and event boundaries along one video."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from longvid.errors import ConfigError
from longvid.pipelines.evaluation.predict import VIDEO, features_of
from longvid.pipelines.extraction.together import Target
from longvid.pipelines.pretraining.data import opened
from longvid.pipelines.rebuilding import Given, rebuilt
from longvid.pipelines.training.data import CLIPS_AT_ONCE
from longvid.pretrained import load_pretrained, read_pretrained
from longvid.pretraining.models import NextClipModel
from longvid.pretraining.surprise import boundaries_of, surprise_along
from longvid.stores import FeatureStore, PresentClips, Recipe, StoredVideo
from longvid.stores.layout import DEFAULT_CLIPS_PER_SHARD


@dataclass(frozen=True)
class Surprise:
    """Surprise along a video."""

    video: str
    run: str
    seconds: list[list[float]]
    """Start and end of each clip."""
    surprise: list[float | None]
    """Loss of what was expected of each clip; None for the first."""
    boundaries: list[int]
    """Indices of the clips at which an event begins."""
    mean: float
    """Mean surprise."""
    last_clip: float
    """Mean loss of the guess `the last clip again`."""


def surprise_of(
    run: str | Path,
    video: str,
    *,
    store: str | None = None,
    threshold: float = 3.0,
    gap: int = 4,
    encoder: str | None = None,
    weights: str | None = None,
) -> Surprise:
    """Surprise along a video file or, with `store`, along the stored video of that key.

    Raises `ConfigError` for a pretraining that predicts masked clips, and for a store or an encoder of other features.
    """
    model, record = load_pretrained(run), read_pretrained(run)
    if not isinstance(model, NextClipModel):
        raise ConfigError(f"{run}: was pretrained on masked clips; surprise needs objective.name=next-clip")
    recipe = Recipe.from_dict(record.store_recipe)
    if store is not None:
        there = FeatureStore.open(store)
        if differences := recipe.differences(there.recipe):
            raise ConfigError(f"{store}: its features are not those of {run} ({'; '.join(differences)})")
        return _along(model, opened(there, video), str(run), video, threshold=threshold, gap=gap)
    job, built = rebuilt(recipe, record.made_with, Given(encoder, None, weights), source=str(run))
    with TemporaryDirectory(prefix="longvid-surprise-") as folder:
        [made] = features_of(
            video, [Target(job, Path(folder) / "features.zarr", DEFAULT_CLIPS_PER_SHARD, encoder=built)], None
        )
        return _along(model, made.video(VIDEO), str(run), video, threshold=threshold, gap=gap)


def _along(
    model: NextClipModel, stored: StoredVideo | PresentClips, run: str, video: str, *, threshold: float, gap: int
) -> Surprise:
    found, last = surprise_along(model, _parts(stored))
    known = ~np.isnan(found)
    return Surprise(
        video=video,
        run=run,
        seconds=stored.seconds.tolist(),
        surprise=[value if np.isfinite(value) else None for value in found.tolist()],
        boundaries=boundaries_of(found, threshold=threshold, gap=gap),
        mean=float(found[known].mean()) if known.any() else 0.0,
        last_clip=float(last[known].mean()) if known.any() else 0.0,
    )


def _parts(stored: StoredVideo | PresentClips) -> Iterator[Tensor]:
    """The tokens of a few clips at a time, (1, length, dim)."""
    for first in range(0, stored.num_clips, CLIPS_AT_ONCE):
        clips = stored.read(first, min(first + CLIPS_AT_ONCE, stored.num_clips))
        yield torch.from_numpy(clips.reshape(1, -1, clips.shape[-1])).float()
