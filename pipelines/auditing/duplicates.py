"""How clean a benchmark is: copies of videos, found by features.

A stretch is a few consecutive clips, one vector. A pair of videos is looked at where stretch after stretch of one has
its nearest neighbour in the other, in time order and at one shift, and the other way round too (mutual neighbours).
Two distances tell whether it is a copy, both mean squared differences of standardised numbers:

    run        over the clips of the matching run: finds a few seconds of one video in another, re-encoded or shifted
    overlap    over all clips that lie on each other at that shift, at least half of the shorter video, and only the
               half of the numbers that agree best: finds a whole video that was cropped or recoloured, which changes
               some numbers of all its clips alike

How near is too near depends on the encoder and on the videos: talk shows look alike. So the same distances are taken
between videos that are known to be different, by another group or another label, and a match is a copy if it is
nearer than such strangers ever get: below the lower end of their distribution, from its median and quartiles, so that a
few copies among them do no harm.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from longvid.pipelines.auditing.features import ClipFeatures

STRETCH_SECONDS = 8.0
FEWEST_CLIPS, MOST_CLIPS = 3, 16
"""Clips in a stretch."""
RUN = 3
"""Consecutive stretches that must match (fewer in videos that hold fewer)."""
STRANGERS_BEYOND = 0.5
"""Copies that are expected among strangers, in all videos together."""
FEWEST_STRANGERS = 8
"""Matches between strangers that tell what they reach; with fewer, overlaps are not used."""
MOST_VALUES = 8_000_000
"""Distances in memory at a time."""


@dataclass(frozen=True)
class Match:
    """Two videos that hold the same stretch."""

    key: str
    other: str
    start_seconds: float
    end_seconds: float
    other_start_seconds: float
    other_end_seconds: float
    found_by: str
    """`run` or `overlap`."""
    distance: float
    """Mean squared difference of the clips of the matching run; 0 for equal features."""
    overlap_distance: float | None = None
    """The same of all clips that lie on each other, in the numbers that agree best; None if they are too few."""
    path: str | None = None
    other_path: str | None = None
    same_label: bool | None = None
    """Whether both have one label; None where a video has none."""
    known: bool = False
    """Whether the manifest gives both the same group, so that they were kept apart, or could have been."""


@dataclass(frozen=True)
class Copies:
    """Copies between two splits, or within one."""

    split: str
    other_split: str
    num_videos: int
    """Videos of the first split."""
    matches: tuple[Match, ...]
    """The nearest first; one per pair of videos."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Videos of the first split that have a copy."""
        return tuple(dict.fromkeys(match.key for match in self.matches))


@dataclass(frozen=True)
class Threshold:
    """How near two videos must be to be copies, and where that comes from."""

    run: float
    overlap: float
    strangers_run: float
    """Distance of the nearest runs of videos known to be different, median over videos."""
    strangers_overlap: float
    strangers: int
    """Videos for which there are any."""
    known_by: str
    """What tells that videos are different."""


@dataclass(frozen=True)
class _Stretches:
    """The stretches of some videos: vectors, the video of each and the clip it starts at."""

    vectors: Float[np.ndarray, "stretches numbers"]
    videos: Int[np.ndarray, " stretches"]
    starts: Int[np.ndarray, " stretches"]


def stretch_clips(parts: Sequence[ClipFeatures]) -> int:
    """Clips in a stretch of about eight seconds; fewer if half of the videos are shorter than three stretches."""
    steps = [np.median(np.diff(times[:, 0])) for part in parts for times in part.seconds if len(times) > 1]
    lengths = [len(clips) for part in parts for clips in part.clips]
    wanted = round(STRETCH_SECONDS / float(np.median(steps))) if steps else 1
    most = max(1, int(np.median(lengths)) // RUN)
    return max(1, min(max(FEWEST_CLIPS, min(MOST_CLIPS, wanted)), most))


def find_copies(
    one: ClipFeatures,
    other: ClipFeatures,
    threshold: Threshold,
    *,
    clips: int,
    splits: tuple[str, str],
    column: str,
) -> Copies:
    """Videos of `one` that hold a stretch of a video of `other`; the same features twice: of another video of it."""
    asked, there = _cut(one, clips, max(1, clips // 2)), _cut(other, clips, 1)
    same = one is other
    found = _alignments(one, other, asked, there, _neighbours(asked, there, same=same), clips)
    matches = []
    for aligned in found:
        if (
            same
            and aligned.partner < aligned.video
            and any((f.video, f.partner) == (aligned.partner, aligned.video) for f in found)
        ):
            continue
        near = aligned.overlap_distance is not None and aligned.overlap_distance <= threshold.overlap
        if aligned.distance <= threshold.run or near:
            matches.append(_match(one, other, aligned, near, column))
    return Copies(*splits, len(one.rows), tuple(sorted(matches, key=lambda match: match.distance)))


def calibrated(one: ClipFeatures, other: ClipFeatures, *, clips: int, column: str) -> Threshold | None:
    """The distances below which a match is a copy; None where no videos are known to be different.

    Videos are known to be different by their group, where each has one, else by their label.
    """
    groups = all(row.group is not None for part in (one, other) for row in part.rows)
    named = [[row.group if groups else _label(row, column) for row in part.rows] for part in (one, other)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*named[0], *named[1]])) if name is not None}
    if len(numbers) < 2:
        return None
    owners = [np.array([-1 if name is None else numbers[name] for name in names]) for names in named]
    asked, there = _cut(one, clips, max(1, clips // 2)), _cut(other, clips, 1)
    neighbours = _neighbours(asked, there, same=one is other, owners=(owners[0], owners[1]))
    runs = []
    for video in range(len(one.rows)):
        own = neighbours[1][asked.videos == video]
        if len(own) and np.isfinite(own).all():
            run = min(RUN, len(own))
            runs.append(float(np.convolve(own, np.ones(run) / run, "valid").min()))
    if not runs:
        return None
    found = _alignments(one, other, asked, there, neighbours, clips)
    overlaps = [aligned.overlap_distance for aligned in found if aligned.overlap_distance is not None]
    return Threshold(
        run=_lower_end(runs),
        overlap=_lower_end(overlaps) if len(overlaps) >= FEWEST_STRANGERS else 0.0,
        strangers_run=float(np.median(runs)),
        strangers_overlap=float(np.median(overlaps)) if overlaps else 0.0,
        strangers=len(runs),
        known_by="group" if groups else "label",
    )


def _lower_end(nearest: Sequence[float]) -> float:
    """A distance that hardly any stranger stays below: log-normal, by the median and the wider of the two quartiles."""
    from scipy.stats import norm

    logs = np.log(np.maximum(nearest, 1e-12))
    middle = np.median(logs)
    spread = max(np.quantile(logs, 0.75) - middle, middle - np.quantile(logs, 0.25)) / norm.ppf(0.75)
    return float(np.exp(middle + spread * norm.ppf(min(0.5, STRANGERS_BEYOND / len(nearest)))))


def _label(row: Any, column: str) -> str | None:
    value = row.value(column)
    return None if value is None else str(value)


def _cut(features: ClipFeatures, clips: int, step: int) -> _Stretches:
    vectors, videos, starts = [], [], []
    for video, own in enumerate(features.clips):
        if len(own) < clips:
            continue
        places = np.arange(0, len(own) - clips + 1, step)
        windows = np.lib.stride_tricks.sliding_window_view(own, clips, axis=0)[places]
        vectors.append(windows.transpose(0, 2, 1).reshape(len(places), -1) / np.sqrt(clips * own.shape[1]))
        videos.append(np.full(len(places), video))
        starts.append(places)
    if not vectors:
        none = np.zeros(0, np.int64)
        return _Stretches(np.zeros((0, 1), np.float32), none, none)
    return _Stretches(*map(np.concatenate, (vectors, videos, starts)))


def _neighbours(
    asked: _Stretches,
    there: _Stretches,
    *,
    same: bool,
    owners: tuple[Int[np.ndarray, " ones"], Int[np.ndarray, " others"]] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest stretch of each that is asked, its distance, and the nearest that is asked of each that is there.

    `same`: never one of the same video. `owners`: numbers of the videos' groups; only other groups count.
    -1 and infinity where there is none.
    """
    nearest, distances = np.full(len(asked.starts), -1), np.full(len(asked.starts), np.inf)
    back, back_distances = np.full(len(there.starts), -1), np.full(len(there.starts), np.inf)
    squares = np.square(there.vectors).sum(axis=1)
    step = max(1, MOST_VALUES // max(1, len(there.starts)))
    for first in range(0, len(asked.starts) if len(there.starts) else 0, step):
        rows = slice(first, first + step)
        block = (
            np.square(asked.vectors[rows]).sum(axis=1)[:, None] + squares - 2 * asked.vectors[rows] @ there.vectors.T
        )
        np.maximum(block, 0, out=block)
        if same:
            block[asked.videos[rows, None] == there.videos] = np.inf
        if owners is not None:
            mine, theirs = owners[0][asked.videos[rows]], owners[1][there.videos]
            block[(mine[:, None] == theirs) | (mine[:, None] < 0) | (theirs < 0)] = np.inf
        found = block.argmin(axis=1)
        least = block[np.arange(len(block)), found]
        nearest[rows], distances[rows] = np.where(np.isfinite(least), found, -1), least
        column = block.argmin(axis=0)
        lowest = block[column, np.arange(block.shape[1])]
        closer = lowest < back_distances
        back[closer], back_distances[closer] = column[closer] + first, lowest[closer]
    return nearest, distances, back


@dataclass(frozen=True)
class _Aligned:
    """Two videos on each other: clips [first, stop) of one lie on [first + shift, stop + shift) of the other."""

    video: int
    partner: int
    first: int
    stop: int
    shift: int
    distance: float
    overlap: tuple[int, int]
    overlap_distance: float | None


def _alignments(
    one: ClipFeatures,
    other: ClipFeatures,
    asked: _Stretches,
    there: _Stretches,
    neighbours: tuple[np.ndarray, np.ndarray, np.ndarray],
    clips: int,
) -> list[_Aligned]:
    """Every pair of videos with a run of mutual nearest stretches, in time order and at one shift."""
    nearest, _, back = neighbours
    pairs: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for number, found in enumerate(nearest.tolist()):
        if found < 0 or back[found] < 0 or asked.videos[back[found]] != asked.videos[number]:
            continue
        if abs(int(asked.starts[back[found]]) - int(asked.starts[number])) <= clips:
            pair = int(asked.videos[number]), int(there.videos[found])
            pairs[pair].append((int(asked.starts[number]), int(there.starts[found])))
    aligned = (
        _aligned(video, partner, one.clips[video], other.clips[partner], places, clips)
        for (video, partner), places in pairs.items()
    )
    return [found for found in aligned if found is not None]


def _aligned(
    video: int,
    partner: int,
    one: Float[np.ndarray, "_ numbers"],
    other: Float[np.ndarray, "_ numbers"],
    places: list[tuple[int, int]],
    clips: int,
) -> _Aligned | None:
    """The two videos at the shift that most of the places agree on; None if too few do."""
    shifts = np.array([there - here for here, there in places])
    shift = int(max(np.unique(shifts), key=lambda one: int((np.abs(shifts - one) <= 1).sum())))
    chosen = sorted(here for here, there in places if abs(there - here - shift) <= 1)
    shortest = min(len(one), len(other))
    low, high = max(0, -shift), min(len(one), len(other) - shift)
    first, stop = max(chosen[0], low), min(chosen[-1] + clips, high)
    if len(chosen) < max(1, min(RUN, 2 * (shortest // clips) - 1)) or stop <= first:
        return None
    errors = np.square(one[low:high] - other[low + shift : high + shift])
    distance = float(errors[first - low : stop - low].mean())
    agreeing = np.sort(errors.mean(axis=0))[: max(1, errors.shape[1] // 2)]
    return _Aligned(
        video, partner, first, stop, shift, distance, (low, high),
        float(agreeing.mean()) if 2 * (high - low) >= shortest else None,
    )  # fmt: skip


def _match(one: ClipFeatures, other: ClipFeatures, aligned: _Aligned, whole: bool, column: str) -> Match:
    first, stop = aligned.overlap if whole else (aligned.first, aligned.stop)
    row, second = one.rows[aligned.video], other.rows[aligned.partner]
    labels = _label(row, column), _label(second, column)
    here = one.seconds[aligned.video][first:stop]
    there = other.seconds[aligned.partner][first + aligned.shift : stop + aligned.shift]
    return Match(
        key=row.key,
        other=second.key,
        start_seconds=float(here[0, 0]),
        end_seconds=float(here[-1, 1]),
        other_start_seconds=float(there[0, 0]),
        other_end_seconds=float(there[-1, 1]),
        found_by="overlap" if whole else "run",
        distance=aligned.distance,
        overlap_distance=aligned.overlap_distance,
        path=row.path,
        other_path=second.path,
        same_label=None if None in labels else labels[0] == labels[1],
        known=row.group is not None and row.group == second.group,
    )
