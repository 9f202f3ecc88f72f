"""Audit of a benchmark: is it long, clean, and large enough.

found = audit(load_config(None, ["store=demo.zarr", "manifest=demo.jsonl"]))
print(found.context.verdicts)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from longvid.benchmarks.benchmark import SplitSet
from longvid.benchmarks.leaks import find_leaks
from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.auditing.context import Context, Part, ProbeSettings, context_of
from longvid.pipelines.auditing.duplicates import Copies, Threshold, calibrated, find_copies, stretch_clips
from longvid.pipelines.auditing.features import ClipFeatures, Reducer
from longvid.pipelines.auditing.noise import Noise, noise_of
from longvid.pipelines.evaluation.uncertainty import split_strata
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.data import open_training_data
from longvid.tasks import ManifestRow, Task
from longvid.windows import split_by_presence

Say = Callable[[str], Any]


@dataclass(frozen=True)
class Cleanness:
    """Videos that are in two places."""

    threshold: Threshold | None
    """How near a copy must be, of test videos to training videos; None where no videos are known to be different."""
    copies: tuple[Copies, ...]
    """Between test and training, test and validation, and within each split."""
    by_name: tuple[str, ...]
    """What ids and groups of the manifest show already."""


@dataclass(frozen=True)
class Audit:
    """What was found."""

    store: str
    manifest: str
    task: str
    kind: str
    videos: dict[str, int]
    """Videos of each split that were looked at."""
    clean: Cleanness
    noise: Noise
    context: Context | None
    """None for dense and joint tasks, whose answers lie along the video."""
    notes: tuple[str, ...] = ()


def audit(config: TrainConfig, *, probe: ProbeSettings | None = None, say: Say = lambda line: None) -> Audit:
    """Look at the store and the manifest that a recipe names; nothing is written.

    Videos that the store does not hold are left out, and counted in the notes. Raises what `train` raises for bad data,
    and `AnnotationError` without test videos.
    """
    data = open_training_data(config.model_copy(update={"allow_missing": True}))
    task, store = data.task, data.train.store
    if task.kind == "joint":
        raise ConfigError("an audit asks about one task; give one of the joint tasks by task.name=...")
    test_rows = split_by_presence(store, data.manifest.split("test"))[0]
    if not test_rows:
        raise AnnotationError(
            f"{config.manifest}: no video of split 'test' is in {store.location}; an audit needs test videos"
        )
    say("reading features")
    reducer = Reducer(store, data.train.rows)
    rows = {"train": data.train.rows, "val": data.val.rows, "test": tuple(test_rows)}
    parts = {name: reducer.read(store, own) for name, own in rows.items()}
    missing = sum(len(keys) for keys in data.record.missing.values())
    notes = [
        *data.record.notes,
        *([f"{missing} listed videos are not in the store and were left out."] if missing else []),
    ]
    if reducer.explained < 1:
        notes.append(
            f"Features were reduced to {len(parts['train'].clips[0][0])} of {reducer.dim} numbers per clip, which hold "
            f"{100 * reducer.explained:.0f} % of their variance."
        )
    clean = _cleanness(parts, data.manifest, task, say)
    context = None
    if task.kind == "dense":
        notes.append("Length is not measured: the answers of a dense task lie along the video, one per clip.")
    else:
        sides = {name: Part(own, _targets(own.rows, task)) for name, own in parts.items()}
        strata = split_strata(parts["test"].rows, data.manifest, task)
        context = context_of(
            sides["train"], sides["val"], sides["test"], task, strata=strata, probe=probe or ProbeSettings(), say=say
        )
    best = None if context is None else max(context.points[-1].probe.value, context.points[-1].linear.value)
    return Audit(
        store=str(store.location),
        manifest=config.manifest,
        task=task.name,
        kind=task.kind,
        videos={name: len(own) for name, own in rows.items()},
        clean=clean,
        noise=noise_of(task, len(test_rows), best),
        context=context,
        notes=tuple(notes),
    )


def _targets(rows: tuple[ManifestRow, ...], task: Task) -> np.ndarray:
    return np.stack([np.asarray(task.target(row)) for row in rows])


def _cleanness(parts: dict[str, ClipFeatures], manifest: Any, task: Task, say: Say) -> Cleanness:
    clips = stretch_clips(list(parts.values()))
    comparisons = [("test", "train"), ("test", "val"), ("test", "test"), ("train", "train"), ("val", "val")]
    first: Threshold | None = None
    found = []
    for one, other in comparisons:
        say(f"copies of {one} videos " + (f"among {other} videos" if one != other else "among themselves"))
        threshold = calibrated(parts[one], parts[other], clips=clips, column=task.column)
        if (one, other) == ("test", "train"):
            first = threshold
        threshold = threshold or first
        if threshold is not None:
            found.append(
                find_copies(parts[one], parts[other], threshold, clips=clips, splits=(one, other), column=task.column)
            )
    leaks = find_leaks(manifest, [SplitSet("split", task, across=False)])
    return Cleanness(first, tuple(found), tuple(map(str, leaks)))
