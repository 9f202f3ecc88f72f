"""Files of predictions: tables, segments in seconds, and labels of frames.

| format                    | file                          | what it holds                                           |
|---------------------------|-------------------------------|---------------------------------------------------------|
| `csv`, `jsonl`, `parquet` | `test-predictions.csv`        | a row per video and seed; dense tasks: per clip, with   |
|                           |                               | its start and end in seconds                            |
| `json`                    | `test-segments-seed-0.json`   | dense tasks: segments, as ActivityNet's tools read them |
| `mstcn`                   | `test-mstcn-seed-0/P16_cam01` | dense tasks: a class per frame, as MS-TCN's `eval.py`   |
|                           |                               | reads them: a first line, then all labels in the second |
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import longvid
from longvid.errors import ConfigError
from longvid.files import write_bytes, write_json
from longvid.metrics.localisation import propose
from longvid.metrics.predicted import PredictedSegment, predicted_segments
from longvid.metrics.videos import ScoredVideo, frame_answers
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.scoring import SplitScores
from longvid.stores.convert import file_stems
from longvid.tasks import Task
from longvid.tasks.frame_labels import UNLABELLED, label_sequence
from longvid.tasks.manifest_files import write_records
from longvid.tasks.task import BACKGROUND
from longvid.windows import WindowDataset

TABLES = ("csv", "jsonl", "parquet")
ALONG = ("json", "mstcn")
"""Formats for dense tasks only."""
MOST_SCORE_COLUMNS = 100
"""Dense tasks with more classes get two columns of scores per clip: a table of all scores would take gigabytes."""


def refuse_format(form: str, task: Task) -> None:
    """Raise `ConfigError` for a format that does not exist or cannot hold the task's predictions."""
    if form not in (*TABLES, *ALONG):
        raise ConfigError(f"predictions={form!r} is not one of {', '.join((*TABLES, *ALONG))}")
    if form in ALONG and task.kind != "dense":
        raise ConfigError(f"predictions={form} is for dense tasks, {task.name!r} is a {task.kind}; choose csv or jsonl")
    if form == "mstcn":
        refuse_frame_labels(task.classes, task.labels_per_second, "predictions=mstcn")


def refuse_frame_labels(classes: Sequence[str], labels_per_second: float | None, what: str) -> None:
    """Raise `ConfigError` where MS-TCN's text cannot say a video's frames: no rate, or spaces in a class's name."""
    if not labels_per_second:
        raise ConfigError(f"{what}: how many labels has a second? train with task.labels_per_second=15 or the like")
    spaced = next((name for name in classes if len(name.split()) != 1), None)
    if spaced is not None:
        raise ConfigError(f"{what}: spaces separate the labels, but the class {spaced!r} holds one; choose json")


def write_predictions(
    run: RunFolder, split: str, scored: dict[int, SplitScores], data: WindowDataset, form: str
) -> list[Path]:
    """Write every seed's predictions into the run's folder in a format that `refuse_format` accepts; their paths."""
    assert data.task is not None
    if form in TABLES:
        path = run.evaluation_file(split, f"-predictions.{form}")
        write_records(path, [record for seed, found in scored.items() for record in _records(seed, found, data)])
        return [path]
    if form == "json":
        paths = [run.evaluation_file(split, f"-segments-seed-{seed}.json") for seed in scored]
        for path, (seed, found) in zip(paths, scored.items(), strict=True):
            about = {"run": str(run.path), "task": data.task.name, "seed": seed}
            write_json(path, activitynet(found.along, data.task, about=about))
        return paths
    folders = [run.evaluation_file(split, f"-mstcn-seed-{seed}") for seed in scored]
    for folder, found in zip(folders, scored.values(), strict=True):
        for name, video in zip(_label_names(found.along), found.along, strict=True):
            frames = len(label_sequence(video.row, data.task))
            write_bytes(folder / name, mstcn_text(video.seconds, video.scores, data.task, frames).encode())
    return folders


def activitynet(videos: Sequence[ScoredVideo], task: Task, *, about: dict[str, Any]) -> dict[str, Any]:
    """The segments of every video, by key, as ActivityNet's challenge exchanges them.

    A task that is scored by localisation (`map@...`) gets the ranked proposals which those metrics rank; any other its
    segments in order of time.
    """
    located = any(name.startswith("map@") for name in task.metrics)
    found = {
        v.row.key: _proposals(v, task) if located else predicted_segments(v.seconds, v.scores, task) for v in videos
    }
    return {
        "version": f"longvid {longvid.__version__}",
        "results": {key: [segment_record(one) for one in segments] for key, segments in found.items()},
        "external_data": about,
    }


def segment_record(segment: PredictedSegment) -> dict[str, Any]:
    """One segment as ActivityNet writes it."""
    span = [round(segment.start_seconds, 3), round(segment.end_seconds, 3)]
    return {"label": segment.label, "segment": span, "score": round(segment.confidence, 6)}


def _segments(video: ScoredVideo, task: Task) -> list[PredictedSegment]:
    return predicted_segments(video.seconds, video.scores, task)


def _proposals(video: ScoredVideo, task: Task) -> list[PredictedSegment]:
    background = task.classes.index(BACKGROUND) if BACKGROUND in task.classes else None
    found = propose(0, video.seconds, video.scores, background=background)
    return [
        PredictedSegment(task.classes[label], start, end, confidence)
        for label, (start, end), confidence in zip(
            found.label.tolist(), found.seconds.tolist(), found.confidence.tolist(), strict=True
        )
    ]


def mstcn_text(
    seconds: Float[np.ndarray, "clips 2"], scores: Float[np.ndarray, "clips outputs"], task: Task, num_frames: int
) -> str:
    """The labels of a video's frames as MS-TCN's `predict` writes them."""
    rate = float(task.labels_per_second or 1)
    numbers = frame_answers(seconds, scores.argmax(axis=1), num_frames=num_frames, rate=rate)
    return f"### Frame level recognition: ###\n{' '.join(task.classes[number] for number in numbers)}"


def _label_names(videos: Sequence[ScoredVideo]) -> list[str]:
    """A file name per video: that of its label file without suffix, for which `eval.py` looks; else one of its key."""
    stems = [Path(v.row.label_path).stem if v.row.label_path is not None else v.row.key for v in videos]
    unique = len(set(stems)) == len(stems)
    return file_stems(stems if unique else [v.row.key for v in videos])


def _records(seed: int, found: SplitScores, data: WindowDataset) -> Iterator[dict[str, Any]]:
    task = data.task
    assert task is not None
    if task.kind == "dense":
        yield from _clip_records(seed, found, data, task)
        return
    for item, video in enumerate(found.item_videos.tolist()):
        record: dict[str, Any] = {"key": data.rows[video].key, "seed": seed}
        scores, target = found.scores[item], found.targets[item]
        if task.kind == "classification":
            record |= {"target": task.classes[int(target)], "predicted": task.classes[int(scores.argmax())]}
        else:
            record |= {f"target {name}": float(t) for name, t in zip(task.output_names, target, strict=True)}
        yield record | {f"score {n}": round(float(s), 6) for n, s in zip(task.output_names, scores, strict=True)}


def _clip_records(seed: int, found: SplitScores, data: WindowDataset, task: Task) -> Iterator[dict[str, Any]]:
    """A record per clip, also of clips without a label, whose target is empty."""
    for video, along in enumerate(found.along):
        targets = targets_along(data, video, along)
        for (start, end), scores, target in zip(along.seconds.tolist(), along.scores, targets, strict=True):
            labelled = target != UNLABELLED
            record: dict[str, Any] = {
                "key": along.row.key,
                "seed": seed,
                "start_seconds": round(start, 6),
                "end_seconds": round(end, 6),
                "target": task.classes[target] if labelled else None,
                "predicted": task.classes[int(scores.argmax())],
            }
            if task.outputs > MOST_SCORE_COLUMNS:
                of_target = round(float(scores[target]), 6) if labelled else None
                yield record | {"score": round(float(scores.max()), 6), "score of target": of_target}
            else:
                yield record | {f"score {n}": round(float(s), 6) for n, s in zip(task.classes, scores, strict=True)}


def targets_along(data: WindowDataset, video: int, along: ScoredVideo) -> list[int]:
    """The class number of each scored clip of a video, `UNLABELLED` where there is none."""
    clips = np.searchsorted(data.seconds(video)[:, 0], along.seconds[:, 0])
    numbers: list[int] = data.clip_targets(video)[clips].tolist()
    return numbers
