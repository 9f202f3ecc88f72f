"""COIN as one manifest of 11,827 videos.

label          the task, 0..179; `label_names` holds the names
split          COIN's two subsets, with a tenth of each class's training videos set aside for validation
vis4mer_split  the two subsets as ViS4mer uses them: no validation, two training videos skipped
start_seconds, end_seconds   the part that shows the task; recipes for steps look at the whole video
steps          [[start, end, step 1..778], ...] in seconds of the whole video; `steps_names` holds the names
"""

from pathlib import Path
from typing import Any

from longvid.benchmarks.benchmark import Benchmark, SplitSet
from longvid.benchmarks.coin.annotations import NUM_STEPS, NUM_TASKS, CoinVideo, read_coin
from longvid.benchmarks.youtube import watch_url
from longvid.errors import AnnotationError
from longvid.tasks.class_names import name_classes
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.tasks.splits import carve_split
from longvid.tasks.task import BACKGROUND, Task

VIS4MER_SKIPS = ("AfiVmAjfTNs", "cjwtcDKTQM8")
"""Training videos that ViS4mer and MA-LMM leave out."""
VALIDATION_FRACTION = 0.1
FRAME_LABELS_PER_SECOND = 10.0
"""Frames per second that the authors score."""

TASK_TASK = Task(
    "coin/task",
    "classification",
    outputs=NUM_TASKS,
    metrics=("accuracy", "mean_average_precision", "mean_class_accuracy", "macro_f1"),
)
STEP_TASK = Task(
    "coin/steps",
    "dense",
    (BACKGROUND, *(str(step) for step in range(1, NUM_STEPS + 1))),
    metrics=(
        *(f"map@{iou}" for iou in (10, 20, 30, 40, 50)),
        *(f"recall@{iou}" for iou in (10, 30, 50)),
        *(f"boundary_f1@{seconds}" for seconds in (1, 2, 5)),
        "mof",
    ),
    column="steps",
    labels_per_second=FRAME_LABELS_PER_SECOND,
)


def coin_benchmark(path: str | Path) -> Benchmark:
    """COIN from its COIN.json, or from the folder that holds it."""
    path = _annotation_file(Path(path))
    listing = read_coin(path)
    if not listing.records:
        raise AnnotationError(f"{path}: none of its videos can be used; the first: {listing.faults[0]}")
    manifest = coin_manifest(listing.records, name=str(path))
    tasks, steps = name_classes(TASK_TASK, manifest), name_classes(STEP_TASK, manifest)
    return Benchmark(
        name="coin",
        manifest=manifest,
        splits=(
            SplitSet("split", tasks, "a tenth of each class's training videos is for validation", across=False),
            SplitSet("vis4mer_split", tasks, "as published: no validation, two videos skipped", across=False),
            SplitSet("split", steps, "the same videos in full", across=False),
        ),
        names=lambda row: (row.key,),
        home=lambda row: f"{row.label}/{row.key}.mp4",
        url=lambda row: watch_url(row.key),
        faults=listing.faults,
    )


def coin_manifest(videos: tuple[CoinVideo, ...], *, name: str = "coin") -> Manifest:
    """Every video once, in file order, with the columns described above."""
    published = Manifest(tuple(_row(video) for video in videos), name=name)
    if not published.split("train"):
        return published
    return carve_split(published, fraction=VALIDATION_FRACTION)


def _annotation_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / "COIN.json").is_file():
        return path / "COIN.json"
    others = sorted(other.name for other in path.glob("COIN*.json"))
    hint = f"; to use {others[0]} in its place, name that file itself" if others else ""
    raise AnnotationError(f"{path}: holds no COIN.json; have it from github.com/coin-dataset/annotations{hint}")


def _row(video: CoinVideo) -> ManifestRow:
    extra: dict[str, Any] = {
        "duration_seconds": video.duration_seconds,
        "label_names": {str(video.task): video.task_name},
        "steps": [[step.start_seconds, step.end_seconds, step.number] for step in video.steps],
        "steps_names": {str(step.number): step.label for step in video.steps},
    }
    if video.key not in VIS4MER_SKIPS:
        extra["vis4mer_split"] = video.split
    return ManifestRow(
        video.key,
        split=video.split,
        label=video.task,
        start_seconds=video.start_seconds,
        end_seconds=video.end_seconds,
        extra=extra,
        source=video.where,
    )
