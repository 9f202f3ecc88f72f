"""Several stores as one: features along one clock, by seconds.

    appearance   [   0   ][   1   ][   2   ]      a clip every two seconds
    motion       [0][1][2][3][4][5][6][7][8]      a clip every two thirds of a second
    clock        |   0   |   1   |   2   |        the steps of the coarser store, or of a given rate

A step is the stretch of time that is nearer to its middle than to its neighbours'; a clip belongs to the step that its
own middle lies in. What a step holds depends on `Join.how`:

| how        | tokens of a step                                                                                |
|------------|-------------------------------------------------------------------------------------------------|
| `features` | one store's numbers after the other's in each token; of several clips in a step, their mean      |
| `streams`  | the tokens of all stores one after the other, as many clips of each as fit; narrow ones get zeros |

A step that holds no clip of a store takes the nearest one, if that is no further away than half of that store's own
step (or of its clips' length). Where there is none, in a hole of a damaged file or beyond the end of one store, there
is no step: a decoder sees only seconds that every store covers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Num

from longvid.errors import AnnotationError, ConfigError
from longvid.stores import FeatureStore, PresentClips, StoredVideo
from longvid.validation import Positive, settings

Seconds = Float[np.ndarray, "_ 2"]

SAME_INSTANT_SECONDS = 1e-6
"""Times closer than this are equal: they come from sums of floating-point durations."""
MOST_PER_STEP = 4096
"""Clips of one store in a step; more are a mistake in the clock."""


@settings(ConfigError)
class Join:
    """The way to put several stores along one clock."""

    how: Literal["features", "streams"] = "features"
    """`features`: numbers side by side in each token; `streams`: tokens side by side, each store with a code."""
    rate: Positive | None = None
    """Steps per second; none: those of the coarsest store, video by video."""


@dataclass(frozen=True)
class JoinedShape:
    """Size of the tokens of a step: the part of a store's recipe that a decoder needs."""

    num_tokens: int
    dim: int


class JoinedStores:
    """Several feature stores, read as one with the videos that are complete in all of them.

    `per_step`: clips of each store in a step of `how="streams"`, as `clips_per_step` counts them; ones otherwise.
    Raises `ConfigError` for stores whose tokens do not fit side by side.
    """

    def __init__(self, stores: Sequence[FeatureStore], join: Join, per_step: Sequence[int] | None = None) -> None:
        self.stores = tuple(stores)
        self.join = join
        self.per_step = tuple(per_step or [1] * len(self.stores))
        assert len(self.per_step) == len(self.stores)
        self._joined: dict[str, JoinedVideo] = {}
        counts = [store.clip_counts() for store in self.stores]
        self._damaged = {
            key: sum(there[key][1] for there in counts)
            for key in sorted(counts[0])
            if all(key in there for there in counts)
        }
        if join.how == "features":
            _refuse_uneven(self.stores)

    @property
    def location(self) -> str:
        """The places of all stores, for messages."""
        return " + ".join(store.location for store in self.stores)

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """Width of each store's tokens."""
        return tuple(store.recipe.dim for store in self.stores)

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of each store in one step."""
        return tuple(store.recipe.num_tokens * n for store, n in zip(self.stores, self.per_step, strict=True))

    @cached_property
    def recipe(self) -> JoinedShape:
        """Tokens of one step, and their width."""
        if self.join.how == "features":
            return JoinedShape(max(self.tokens), sum(self.dims))
        return JoinedShape(sum(self.tokens), max(self.dims))

    def keys(self) -> list[str]:
        """Sorted keys of the videos that are complete in every store."""
        return list(self._damaged)

    def num_clips(self) -> dict[str, int]:
        """The same keys; no step is counted, which would open every video."""
        return dict.fromkeys(self._damaged, 0)

    def lacking(self, key: str) -> list[str]:
        """Locations of the stores in which the video is not complete."""
        return [store.location for store in self.stores if key not in store]

    def clip_counts(self, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        """For each of these videos that every store holds, its steps and the clips that are damaged in any store.

        As in `FeatureStore.clip_counts`, the first number less the second is what can be read.
        """
        there = [key for key in dict.fromkeys(keys) if key in self._damaged]
        return {key: (self.video(key).num_clips + self._damaged[key], self._damaged[key]) for key in there}

    def video(self, key: str) -> "JoinedVideo":
        """The video along the clock. Raises `AnnotationError` if the stores have no second of it in common."""
        if key not in self._joined:
            self._joined[key] = JoinedVideo(self, key, [present(store, key) for store in self.stores])
        return self._joined[key]

    def spans(self, key: str) -> list[tuple[float, float]]:
        """First and last second of the video in each store."""
        return [(float(part.seconds[0, 0]), float(part.seconds[-1, 1])) for part in self.video(key).parts]


def present(store: FeatureStore, key: str) -> StoredVideo | PresentClips:
    """The stored video, or what is there of a damaged one."""
    video = store.video(key)
    return PresentClips(video) if video.damaged else video


class JoinedVideo:
    """One video of several stores; read like a stored video, with steps for clips."""

    def __init__(self, joined: JoinedStores, key: str, parts: Sequence[StoredVideo | PresentClips]) -> None:
        self.key = key
        self.parts = tuple(parts)
        self._how = joined.join.how
        self._shape = joined.recipe
        times = [part.seconds for part in parts]
        seconds = steps_of(times, joined.join.rate)
        spans = cells(seconds)
        found = [clips_of_steps(own, spans, n) for own, n in zip(times, joined.per_step, strict=True)]
        held = np.all([(stops > firsts).all(axis=1) for firsts, stops in found], axis=0)
        if not held.any():
            told = ", ".join(
                f"{store.location} has {own[0, 0]:g} to {own[-1, 1]:g} s"
                for store, own in zip(joined.stores, times, strict=True)
            )
            raise AnnotationError(
                f"video {key!r}: the times of the stores do not meet ({told}); extract the same file into each"
            )
        self.seconds: Seconds = seconds[held]
        """Start and end of each step."""
        self._clips = [(firsts[held], stops[held]) for firsts, stops in found]

    @property
    def num_clips(self) -> int:
        """Number of steps."""
        return len(self.seconds)

    @property
    def source(self) -> dict[str, Any]:
        """What the video was extracted from, by the first store."""
        return self.parts[0].source

    def read(self, start_clip: int, stop_clip: int) -> Num[np.ndarray, "steps tokens dim"]:
        """Tokens of the steps [start_clip, stop_clip), in the widest type of the stores."""
        read = [
            _read(part, firsts[start_clip:stop_clip], stops[start_clip:stop_clip])
            for part, (firsts, stops) in zip(self.parts, self._clips, strict=True)
        ]
        tokens, dim = self._shape.num_tokens, self._shape.dim
        if self._how == "features":
            return np.concatenate([np.broadcast_to(own, (len(own), tokens, own.shape[-1])) for own in read], axis=-1)
        return np.concatenate(
            [np.pad(own, ((0, 0), (0, 0), (0, dim - own.shape[-1]))) for own in read],
            axis=1,
            dtype=np.result_type(*read),
        )


def steps_of(times: Sequence[Seconds], rate: float | None) -> Seconds:
    """Start and end of each step: the clips of the coarsest of the stores, or stretches of equal length."""
    if rate is None:
        return max(times, key=usual_step)
    start, end = max(own[0, 0] for own in times), min(own[-1, 1] for own in times)
    count = max(0, int(np.ceil((end - start) * rate - SAME_INSTANT_SECONDS)))
    edges = start + np.arange(count + 1) / rate
    return np.stack([edges[:-1], edges[1:]], axis=1)


def usual_step(seconds: Seconds) -> float:
    """Median time from one clip's middle to the next; the length of an only clip."""
    return float(np.median(np.diff(seconds.mean(axis=1)))) if len(seconds) > 1 else float(np.ptp(seconds))


def cells(seconds: Seconds) -> Float[np.ndarray, "steps 2"]:
    """The stretch of time that belongs to each step: what is nearest to its middle, and within half a usual step."""
    if not len(seconds):
        return np.zeros((0, 2))
    middles, half = seconds.mean(axis=1), usual_step(seconds) / 2
    between = (middles[1:] + middles[:-1]) / 2
    starts = np.maximum(middles - half, np.append(-np.inf, between))
    ends = np.minimum(middles + half, np.append(between, np.inf))
    return np.stack([starts, ends], axis=1)


def clips_of_steps(
    seconds: Seconds, spans: Float[np.ndarray, "steps 2"], parts: int
) -> tuple[Int[np.ndarray, "steps parts"], Int[np.ndarray, "steps parts"]]:
    """Half-open ranges of a store's clips for each part of each step; empty where the store has no clip near.

    With one part: all clips whose middle lies in the step. Each of several equal parts of a step takes one clip, the
    nearest to its middle.
    """
    middles = seconds.mean(axis=1)
    edges = np.linspace(spans[:, 0], spans[:, 1], parts + 1, axis=1)
    wanted = (edges[:, :-1] + edges[:, 1:]) / 2
    nearest = np.searchsorted((middles[1:] + middles[:-1]) / 2, wanted)
    reach = max(usual_step(seconds), float(np.median(np.diff(seconds, axis=1)))) / 2
    near = np.abs(middles[nearest] - wanted) <= reach + SAME_INSTANT_SECONDS
    firsts, stops = nearest, nearest + near
    if parts == 1:
        inside = np.searchsorted(middles, spans - SAME_INSTANT_SECONDS)
        some = inside[:, 1:] > inside[:, :1]
        firsts, stops = np.where(some, inside[:, :1], firsts), np.where(some, inside[:, 1:], stops)
    return firsts, stops


def _read(part: StoredVideo | PresentClips, firsts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Tokens (steps, parts * tokens, dim): the mean of each range of clips, which are read in one stretch."""
    lowest = int(firsts.min())
    stretch = part.read(lowest, int(stops.max()))
    if (stops - firsts == 1).all():
        rows: np.ndarray = stretch[firsts - lowest]
        return rows.reshape(len(firsts), -1, stretch.shape[-1])
    ranges = zip(firsts.ravel() - lowest, stops.ravel() - lowest, strict=True)
    means = np.stack([stretch[first:stop].mean(axis=0, dtype=np.float32) for first, stop in ranges])
    return means.astype(stretch.dtype).reshape(len(firsts), -1, stretch.shape[-1])


def clips_per_step(stores: Sequence[FeatureStore], join: Join, keys: Sequence[str]) -> tuple[int, ...]:
    """Clips of each store that a step of token streams holds: the usual number over these videos, at least 1.

    Raises `ConfigError` for a clock so slow that a step would hold thousands.
    """
    if join.how == "features":
        return (1,) * len(stores)
    shares = []
    for key in keys:
        own = [usual_step(present(store, key).seconds) for store in stores]
        step = max(own) if join.rate is None else 1 / join.rate
        shares.append([step / length if length > 0 else 1.0 for length in own])
    usual = np.median(shares, axis=0) if shares else np.ones(len(stores))
    counts = tuple(max(1, round(float(share))) for share in usual)
    if max(counts) > MOST_PER_STEP:
        raise ConfigError(f"join.rate={join.rate}: a step would hold {max(counts):,} clips; give a higher rate")
    return counts


def _refuse_uneven(stores: Sequence[FeatureStore]) -> None:
    """Raise `ConfigError` unless every store has the same number of tokens per clip, or one."""
    most = max(store.recipe.num_tokens for store in stores)
    uneven = [store for store in stores if store.recipe.num_tokens not in (1, most)]
    if uneven:
        other = next(store for store in stores if store.recipe.num_tokens == most)
        raise ConfigError(
            f"{uneven[0].location} has {uneven[0].recipe.num_tokens} tokens per clip and {other.location} has {most}: "
            "they cannot be put side by side; use join.how=streams, or extract one of them with --pooling mean"
        )
