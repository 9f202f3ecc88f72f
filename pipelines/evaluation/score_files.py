"""Files of unrounded scores, for `longvid compare`.

The file is `evaluation/<split>-scores.safetensors` in the folder of the run:

    scores            (seeds, items, outputs); dense tasks: of every scored clip of all videos, float32
    targets           (items, ...); dense tasks: class numbers, `UNLABELLED` where a clip has none
    videos            (items,): the number of each item's video
    seconds           (items, 2): start and end of each clip; dense tasks only

and in the file's metadata the videos' keys and the seeds, as JSON. Nothing in it is ever run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longvid.errors import ConfigError
from longvid.files import write_bytes
from longvid.metrics.videos import ScoredVideo
from longvid.pipelines.evaluation.prediction_files import targets_along
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.scoring import SplitScores
from longvid.tasks import Manifest, ManifestRow, Task
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import WindowDataset

ENDING = "-scores.safetensors"


@dataclass(frozen=True)
class KeptScores:
    """What a run answered to each video of a split."""

    rows: tuple[ManifestRow, ...]
    """The videos, in the order of the scores."""
    seeds: dict[int, SplitScores]


def write_scores(run: RunFolder, split: str, scored: dict[int, SplitScores], data: WindowDataset) -> Path:
    """Write every seed's scores into the run's folder; the file's path."""
    from safetensors.numpy import save

    first = next(iter(scored.values()))
    if first.kind == "dense":
        arrays = _dense_arrays(scored, data)
    else:
        arrays = {
            "scores": np.stack([found.scores for found in scored.values()]),
            "targets": first.targets,
            "videos": first.item_videos,
        }
    about = {"keys": json.dumps([row.key for row in data.rows]), "seeds": json.dumps(list(scored))}
    path = run.evaluation_file(split, ENDING)
    write_bytes(path, save({name: np.ascontiguousarray(value) for name, value in arrays.items()}, metadata=about))
    return path


def read_scores(run: RunFolder, split: str, task: Task) -> KeptScores:
    """The scores that `write_scores` wrote; `ConfigError` where there are none, or where they are damaged."""
    from safetensors import SafetensorError, safe_open

    path, remedy = run.evaluation_file(split, ENDING), f"run `longvid evaluate {run.path} --split {split}` again"
    if not path.is_file():
        raise ConfigError(f"{run.path}: has no scores of each video of {split!r}; {remedy}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dictionary
        keys, seeds = json.loads(about["keys"]), json.loads(about["seeds"])
        return _kept(arrays, [str(key) for key in keys], [int(seed) for seed in seeds], run.manifest(), task)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path}: is damaged ({reason[:120]}); {remedy}") from None


def _dense_arrays(scored: dict[int, SplitScores], data: WindowDataset) -> dict[str, np.ndarray]:
    first = next(iter(scored.values()))
    lengths = [len(video.seconds) for video in first.along]
    return {
        "scores": np.stack([np.concatenate([v.scores for v in one.along]) for one in scored.values()]).astype("f4"),
        "targets": np.concatenate([targets_along(data, number, v) for number, v in enumerate(first.along)]),
        "videos": np.repeat(np.arange(len(lengths)), lengths),
        "seconds": np.concatenate([video.seconds for video in first.along]),
    }


def _kept(
    arrays: dict[str, np.ndarray], keys: list[str], seeds: list[int], manifest: Manifest, task: Task
) -> KeptScores:
    scores, targets, videos = arrays["scores"], arrays["targets"], arrays["videos"]
    listed = {row.key: row for row in manifest}
    rows = tuple(listed[key] for key in keys)
    if scores.shape[:2] != (len(seeds), len(videos)) or len(targets) != len(videos) or not len(seeds):
        raise ValueError("scores, targets and videos differ in number")
    if scores.shape[2] != task.outputs or not len(videos) or not 0 <= videos.min() <= videos.max() < len(rows):
        raise ValueError("scores of another task, or of videos that are not listed")
    found = [_split_scores(own.astype(float), targets, videos, arrays, rows, task) for own in scores]
    return KeptScores(rows, dict(zip(seeds, found, strict=True)))


def _split_scores(
    scores: np.ndarray,
    targets: np.ndarray,
    videos: np.ndarray,
    arrays: dict[str, np.ndarray],
    rows: tuple[ManifestRow, ...],
    task: Task,
) -> SplitScores:
    none = np.zeros(0, np.int64)
    about: dict[str, Any] = {
        "kind": task.kind,
        "windows": np.zeros((0, task.outputs)),
        "window_videos": none,
        "window_clips": none.reshape(0, 2),
    }
    if task.kind != "dense":
        return SplitScores(**about, scores=scores, targets=targets, item_videos=videos)
    along = tuple(
        ScoredVideo(row, arrays["seconds"][videos == number], scores[videos == number])
        for number, row in enumerate(rows)
    )
    labelled = targets != UNLABELLED
    return SplitScores(
        **about, scores=scores[labelled], targets=targets[labelled], item_videos=videos[labelled], along=along
    )
