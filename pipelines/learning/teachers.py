"""Stored features of a teacher as targets.

The teacher is never run. What is read of a video is decoded once, at the student's size, and kept: clips of a store
often overlap, and every epoch sees them again. The student's frames are spread evenly over the measured seconds of a
stored clip, whatever the number of frames of each.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.utils.data import Dataset

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.reading import iter_clips_there
from longvid.clips.sampling import ClipPlan
from longvid.errors import ConfigError, VideoError, short_reason
from longvid.files import write_bytes
from longvid.pipelines.extraction.inputs import expand_inputs
from longvid.pipelines.learning.config import DistilConfig
from longvid.stores import FeatureStore
from longvid.tasks import Manifest
from longvid.video.probing import fingerprint, probe

PER_STEP = ("spatial", "class")
"""Poolings whose tokens are one vector per time step, in order; of any other only the mean is matched."""
LEAST_OVERLAP = 0.5
"""Share of the seconds that two stores' clips must have in common (intersection over union) to be one clip."""


@dataclass(frozen=True)
class TeacherVideo:
    """A video whose features are stored, and its file."""

    key: str
    path: str


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of a teacher's vectors over the training clips, which targets are standardised by."""

    mean: Float[np.ndarray, " dim"]
    deviation: Float[np.ndarray, " dim"]


@dataclass
class Teachers:
    """The stores of the teachers and the videos that all of them hold."""

    stores: tuple[FeatureStore, ...]
    train: tuple[TeacherVideo, ...]
    val: tuple[TeacherVideo, ...]
    statistics: tuple[Statistics, ...] = ()
    clip_seconds: float = 1.0
    """Seconds that the first store's clips last; their median, known once the clips are read."""
    notes: tuple[str, ...] = ()

    @property
    def widths(self) -> list[int]:
        """Numbers of each teacher's vectors."""
        return [store.recipe.dim for store in self.stores]

    @property
    def steps(self) -> list[int]:
        """Vectors per clip that are matched one by one, for each teacher; 0: only their mean is."""
        return [
            store.recipe.num_tokens if store.recipe.pooling in PER_STEP and store.recipe.num_tokens > 1 else 0
            for store in self.stores
        ]


def open_teachers(config: DistilConfig) -> Teachers:
    """The stores and the files behind them, each compared with what the store recorded.

    Raises `ConfigError` in one line where the files have moved or are others, before anything is decoded.
    """
    stores = tuple(FeatureStore.open(place) for place in config.stores)
    first, *others = stores
    paths = _listed(config, first)
    keys = [key for key in paths if all(other.status(key) == "complete" for other in others)]
    if not keys:
        raise ConfigError(
            f"{others[0].location}: none of the {len(paths)} videos of {first.location} is complete in it; extract the "
            "same videos into each store, under the same keys"
        )
    videos = tuple(_found(first, key, paths[key]) for key in keys)
    train, val = _held_out(videos, config.validation.fraction, config.validation.seed)
    notes = []
    left_out = max(len(store) for store in stores) - len(keys)
    if left_out:
        notes.append(f"{left_out} videos of the stores were not given, or are not in every store: left out.")
    for store in stores:
        if store.recipe.pooling not in (*PER_STEP, "mean", "clip", "embedding"):
            notes.append(
                f"{store.location}: pooling {store.recipe.pooling}: its tokens are not one per time step, so that only "
                "their mean is learned."
            )
    return Teachers(stores, train, val, notes=tuple(notes))


def _listed(config: DistilConfig, store: FeatureStore) -> dict[str, str]:
    """Places of the videos that the store holds, by key, in the order in which they were given."""
    if config.manifest is not None:
        rows = [row for row in Manifest.read(config.manifest) if row.split in (*config.splits, None)]
        given = {row.key: str(row.path) for row in rows if row.path is not None}
        where = f"{config.manifest} (splits {', '.join(config.splits)})"
    else:
        given = {request.key: str(request.path) for request in expand_inputs(config.videos)}
        where = ", ".join(config.videos)
        absent = [place for place in config.videos if "://" not in place and not Path(place).expanduser().exists()]
        if absent:
            raise ConfigError(
                f"videos={absent[0]}: no such file or folder; give the place of the videos that were extracted into "
                f"{store.location}"
            )
    found = {key: path for key, path in given.items() if store.status(key) == "complete"}
    if not found:
        raise ConfigError(
            f"none of the {len(given)} videos of {where} is complete in {store.location}, which holds "
            f"{', '.join(sorted(store.keys())[:3]) or 'nothing'}; give the videos that were extracted into it"
        )
    return found


def _found(store: FeatureStore, key: str, path: str) -> TeacherVideo:
    """The video's file, which must be the one that the features were made from."""
    recorded = store.video(key).source.get("fingerprint")
    if "://" not in path and not Path(path).is_file():
        raise ConfigError(
            f"{store.location}: its video {key!r} is not at {path}; move it back, or give its place by videos=... or "
            "manifest=..."
        )
    if recorded and "://" not in path and fingerprint(Path(path)) != recorded:
        raise ConfigError(
            f"{store.location}: {path} is not the file that video {key!r} was made from; give the file that was "
            "extracted, or extract this one again"
        )
    return TeacherVideo(key, path)


def _held_out(
    videos: Sequence[TeacherVideo], fraction: float, seed: int
) -> tuple[tuple[TeacherVideo, ...], tuple[TeacherVideo, ...]]:
    """Training videos, and those with the smallest hashes of their names, which are validated on."""
    if len(videos) < 2:
        raise ConfigError(
            f"a distillation needs two videos at least, one to validate on; the store holds {len(videos)}"
        )
    order = sorted(videos, key=lambda video: hashlib.sha256(f"{seed} {video.key}".encode()).digest())
    count = min(max(1, round(fraction * len(videos))), len(videos) - 1)
    held = {video.key for video in order[:count]}
    return tuple(v for v in videos if v.key not in held), tuple(v for v in videos if v.key in held)


@dataclass(frozen=True)
class TeacherClip:
    """One stored clip: its video and its number in each store."""

    video: TeacherVideo
    numbers: tuple[int, ...]


@dataclass
class StoredClips(Dataset[dict[str, Any]]):
    """The clips of some videos with their targets; item i is one clip, the same in every epoch."""

    clips: list[TeacherClip]
    frames: list[UInt8[np.ndarray, "time height width 3"]]
    """Decoded at the student's size; views of memory or of a file."""
    targets: list[tuple[np.ndarray, ...]]
    """(tokens, dim) float16 of each store, by clip."""
    seconds: list[float] = field(default_factory=list)
    """How long each clip lasts."""
    lost: dict[str, str] = field(default_factory=dict)
    """Videos that could not be read, or clips of them, with the reason."""

    def __len__(self) -> int:
        return len(self.clips)

    def set_epoch(self, epoch: int) -> None:
        """The clips are those of the store in every epoch."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = torch.from_numpy(np.array(self.frames[index])).movedim(-1, 0).contiguous()
        return {
            "clip": pixels,
            "targets": [torch.from_numpy(target.astype(np.float32)) for target in self.targets[index]],
            "key": self.clips[index].video.key,
        }


def collate_stored(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of clips and, for each teacher, of targets."""
    stores = range(len(items[0]["targets"]))
    return {
        "clip": torch.stack([item["clip"] for item in items]),
        "targets": [torch.stack([item["targets"][store] for item in items]) for store in stores],
        "key": [item["key"] for item in items],
        "lost": [],
    }


def read_clips(
    stores: Sequence[FeatureStore],
    videos: Sequence[TeacherVideo],
    preprocessing: Preprocessing,
    *,
    frames: int,
    kept_in: Path | None,
) -> StoredClips:
    """The stored clips of the videos, decoded. `kept_in`: a folder for the frames; None: memory.

    A video that cannot be read is named in `lost` and left out; so are clips that the store or the file lacks.
    Raises `VideoError` if nothing is left.
    """
    found = StoredClips([], [], [])
    for video in videos:
        numbers, seconds = _matching(stores, video.key)
        try:
            decoded = _decoded(video, seconds, preprocessing, frames, kept_in)
        except VideoError as error:
            found.lost[video.key] = short_reason(error)
            continue
        if any(clip is None for clip in decoded):
            found.lost[video.key] = f"{sum(clip is None for clip in decoded)} damaged clips"
        features = [store.video(video.key) for store in stores]
        for clip, own, (start, end) in zip(decoded, numbers, seconds.tolist(), strict=True):
            if clip is not None:
                found.clips.append(TeacherClip(video, own))
                found.seconds.append(end - start)
                found.frames.append(clip)
                found.targets.append(tuple(f.read(n, n + 1)[0] for f, n in zip(features, own, strict=True)))
    if not found.clips:
        key, reason = next(iter(found.lost.items()), ("", "no clips"))
        raise VideoError(f"{stores[0].location}: no clip of its videos can be read ({key}: {reason})")
    return found


def _matching(stores: Sequence[FeatureStore], key: str) -> tuple[list[tuple[int, ...]], Float[np.ndarray, "clips 2"]]:
    """Numbers of the same clips in every store, and the seconds of the first's; absent ones are left out."""
    videos = [store.video(key) for store in stores]
    first = videos[0].seconds
    numbers, seconds = [], []
    for number in np.flatnonzero(videos[0].present).tolist():
        own = [number]
        for other in videos[1:]:
            shared = np.minimum(other.seconds[:, 1], first[number, 1]) - np.maximum(
                other.seconds[:, 0], first[number, 0]
            )
            spanned = np.maximum(other.seconds[:, 1], first[number, 1]) - np.minimum(
                other.seconds[:, 0], first[number, 0]
            )
            overlap = np.where(other.present, shared / spanned, 0)
            own.append(int(overlap.argmax()) if overlap.max() >= LEAST_OVERLAP else -1)
        if -1 not in own:
            numbers.append(tuple(own))
            seconds.append(first[number])
    if not numbers:
        raise ConfigError(
            f"{stores[-1].location}: no clip of video {key!r} covers the seconds of a clip in {stores[0].location}; "
            "extract both with the same sampling"
        )
    return numbers, np.stack(seconds)


def clip_plan(seconds: Float[np.ndarray, "clips 2"], frames: int) -> ClipPlan:
    """A plan of `frames` instants spread evenly over each clip's seconds."""
    begin, end = seconds[:, :1], seconds[:, 1:]
    return ClipPlan(begin + (end - begin) * np.arange(frames) / frames, seconds)


def _decoded(
    video: TeacherVideo,
    seconds: Float[np.ndarray, "clips 2"],
    preprocessing: Preprocessing,
    frames: int,
    kept_in: Path | None,
) -> list[np.ndarray | None]:
    """The clips' frames in one pass over the video; None for a clip that is damaged. A file that is there is read."""
    size = (preprocessing.height, preprocessing.width)
    kept = None
    if kept_in is not None:
        what = f"{video.key}\0{fingerprint(Path(video.path))}\0{seconds.tobytes().hex()}\0{frames}\0{preprocessing}"
        kept = kept_in / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.frames"
        if kept.is_file() and kept.stat().st_size == len(seconds) * frames * size[0] * size[1] * 3:
            return list(np.memmap(kept, np.uint8, "r").reshape(len(seconds), frames, *size, 3))
    plan = clip_plan(seconds, frames)
    clips = [
        None if isinstance(clip, str) else clip
        for clip in iter_clips_there(probe(video.path), plan, preprocessing, allow_truncated=True)
    ]
    if kept is None or any(clip is None for clip in clips):
        return clips
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(kept, b"".join(np.ascontiguousarray(clip).tobytes() for clip in clips if clip is not None))
    return list(np.memmap(kept, np.uint8, "r").reshape(len(seconds), frames, *size, 3))


def statistics_of(clips: StoredClips) -> tuple[Statistics, ...]:
    """Mean and deviation of each teacher's vectors over the clips."""
    found = []
    for store in range(len(clips.targets[0])):
        rows = np.concatenate([target[store] for target in clips.targets]).astype(np.float64)
        deviation = rows.std(axis=0)
        found.append(Statistics(rows.mean(axis=0), np.where(deviation > 1e-6, deviation, 1.0)))
    return tuple(found)
