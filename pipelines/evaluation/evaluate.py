"""Scores of a trained run on a split, beside a baseline without video.

result = evaluate("runs/order", split="test")
print(result.metrics["accuracy"].mean, result.baseline["accuracy"], result.coverage)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from longvid.decoders import Decoder
from longvid.decoders.own import Builder
from longvid.errors import AnnotationError, ConfigError
from longvid.files import write_json
from longvid.hub import local_run
from longvid.metrics.calibration import KINDS as CALIBRATED
from longvid.metrics.calibration import Calibration, calibration, fit_temperature, with_temperature
from longvid.metrics.intervals import Interval
from longvid.metrics.items import ClassRow, baseline_scores, confusion_matrix, per_class, per_label
from longvid.metrics.localisation import class_precisions
from longvid.metrics.videos import proposals_and_truth, readings
from longvid.notebook import Cell, html_list, html_table
from longvid.pipelines.evaluation.prediction_files import refuse_format, targets_along, write_predictions
from longvid.pipelines.evaluation.score_files import write_scores
from longvid.pipelines.evaluation.timeline import timeline
from longvid.pipelines.evaluation.uncertainty import split_intervals, split_strata, window_intervals
from longvid.pipelines.training.config import kept_config
from longvid.pipelines.training.data import eval_loader
from longvid.pipelines.training.joining import opened_again, shown_missing
from longvid.pipelines.training.recipe_files import is_elsewhere
from longvid.pipelines.training.results import Summary, summarise
from longvid.pipelines.training.run_folder import RunFolder, RunRecord, StoreRecord, torch_device
from longvid.pipelines.training.scoring import SplitScores, score_windows
from longvid.pipelines.training.shown import metric_rows
from longvid.plain import as_json
from longvid.stores import FeatureStore
from longvid.tasks import Task
from longvid.tasks.frame_labels import UNLABELLED
from longvid.trained import GivenDecoder, read_made
from longvid.trained import trained_decoder as load_trained_decoder
from longvid.validation import made
from longvid.windows import JoinedStores, WindowDataset, Windows, split_by_presence
from longvid.windows.dataset import Features

MAX_TIMELINES, MAX_WRONG = 6, 2
"""Videos whose scores over time are kept for the report, and wrongly answered videos beside them."""


@dataclass(frozen=True)
class SeedEvaluation:
    """Metrics of one seed, over videos and over single windows (empty for dense tasks)."""

    seed: int
    metrics: dict[str, float]
    window_metrics: dict[str, float]


@dataclass(frozen=True)
class VideoTimeline:
    """The first seed's scores along one video."""

    key: str
    path: str | None
    target: int | float | list[Any] | None
    """Class number, value, or flags; for dense tasks the class number of each row of the timeline, or None."""
    timeline: dict[str, Any]
    """`longvid.pipelines.evaluation.timeline.Timeline.to_dict()`."""


@dataclass(frozen=True)
class Calibrated:
    """How far the scores can be taken at their word, before and after temperature scaling; all seeds together."""

    before: Calibration
    after: Calibration | None = None
    """With the temperatures; None where there are no validation videos to fit them on."""
    temperatures: dict[int, float] = field(default_factory=dict)
    """By seed: logits divided by this fit the validation labels best. Above 1: the model is too sure."""
    fitted_on: int = 0
    """Validation videos that the temperatures were fitted on."""


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of one run on one split, with the number of videos that they rest on."""

    JSON_PROPERTIES: ClassVar = ("metrics", "window_metrics")

    run: str
    name: str
    decoder: str
    split: str
    seeds: tuple[SeedEvaluation, ...]
    baseline: dict[str, float]
    """Metrics of a constant answer that ignores the video."""
    baseline_answer: str
    """That answer, in words."""
    listed: int
    evaluated: int
    windows: int
    missing: tuple[str, ...] = ()
    partial: dict[str, int] = field(default_factory=dict)
    """Evaluated videos that lack clips, because their files are damaged, and how many: the others are scored."""
    confusion: list[list[int]] | None = None
    """Rows true, columns predicted, summed over seeds; None for multilabel and regression."""
    per_class: list[ClassRow] = field(default_factory=list)
    timelines: list[VideoTimeline] = field(default_factory=list)
    features: dict[str, int | float | None] = field(default_factory=dict)
    """Size of the store: videos, clips, seconds, bytes."""
    untrained_seeds: tuple[int, ...] = ()
    """Seeds of the recipe that are not fully trained and not counted here."""
    predictions: tuple[str, ...] = ()
    """The files of all predictions (`longvid.pipelines.evaluation.prediction_files`)."""
    too_short: tuple[str, ...] = ()
    """Videos that are too short for the decoder, and not scored (`window.short=drop`)."""
    zero_shot: dict[str, float] = field(default_factory=dict)
    """Metrics of the classes' names alone (`longvid.pipelines.evaluation.zero_shot`), where they were asked for."""
    readings: dict[str, dict[str, float]] = field(default_factory=dict)
    """Segmentation metrics in every way that published numbers were counted, means over seeds."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Where each metric lies with 95 % confidence, by a bootstrap over videos and seeds; empty in older runs."""
    window_intervals: dict[str, Interval] = field(default_factory=dict)
    """The same for the metrics of single windows."""
    stratified: bool = False
    """Whether videos were drawn class by class, because the split was."""
    calibration: Calibrated | None = None
    """None for regression."""

    @property
    def metrics(self) -> dict[str, Summary]:
        """Metrics over videos (clips for dense tasks), mean and deviation over seeds."""
        return summarise([seed.metrics for seed in self.seeds])

    @property
    def window_metrics(self) -> dict[str, Summary]:
        """Metrics with every window counted on its own."""
        return summarise([seed.window_metrics for seed in self.seeds])

    @property
    def coverage(self) -> str:
        """`all 42 videos` or `40 of 42 videos`."""
        if self.evaluated == self.listed:
            return f"all {self.listed} videos"
        return f"{self.evaluated} of {self.listed} videos"

    def _repr_html_(self) -> str:
        facts: list[tuple[str, Cell]] = [
            ("decoder", self.decoder),
            ("videos", self.coverage),
            ("seeds", len(self.seeds)),
        ]
        facts += [("answer without video", self.baseline_answer)]
        table = html_table(f"{self.name} on {self.split}", facts)
        return table + html_list(("", "score", "answer without video"), metric_rows(self.metrics, self.baseline))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "EvaluationResult":
        """The result of plain values."""
        return made(cls, values)


def evaluate(
    run_dir: str | Path,
    *,
    split: str = "test",
    store: str | Sequence[str] | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    allow_missing: bool | None = None,
    predictions: str = "csv",
    decoder: str | Builder | None = None,
    decoder_options: dict[str, Any] | None = None,
    zero_shot: str | None = None,
    encoder: str | None = None,
) -> EvaluationResult:
    """Score a trained run on a split; the result and all predictions are also written to `evaluation/` in its folder.

    `store`, `batch_size`, `workers` and `allow_missing` are the recipe's unless given; `predictions` is the format of
    the predictions: csv, jsonl or parquet, for dense tasks also json or mstcn. `decoder`, with `decoder_options`, is
    needed for a decoder of your own: a run's files never make longvid import code. `zero_shot`: a template such as "a
    video of {}", for one more baseline by the text tower of the features' model (`encoder`, if it has moved).
    Raises `ConfigError` if the folder holds no trained seed or the store has another recipe, `AnnotationError` for a
    split without videos, without labels or with missing videos.
    """
    run = RunFolder(local_run(run_dir))
    record, config = run.record(), kept_config(run.recipe_file)
    if record.task["kind"] == "joint":
        raise ConfigError(f"{run.path} has several tasks; evaluate its parts, {run.path}/*, one by one")
    seeds = run.trained_seeds()
    if not seeds:
        raise ConfigError(f"{run.path}: no seed is trained to the end; run the same `longvid train` again")
    refuse_format(predictions, record.the_task())
    features = open_run_store(record, store)
    allowed = config.allow_missing if allow_missing is None else allow_missing
    dataset, missing, too_short = _dataset(run, record, features, split, allow_missing=allowed)
    on = torch_device(device)
    loader = eval_loader(
        dataset,
        batch_size or config.eval_batch_size,
        workers=config.workers if workers is None else workers,
        device=on,
    )
    given = GivenDecoder(decoder, decoder_options)
    decoders = {seed: trained_decoder(run, record, seed, given=given).to(on) for seed in seeds}
    scored = {seed: score_windows(decoder, loader, dataset, device=on) for seed, decoder in decoders.items()}
    result = _result(run, record, split, scored, dataset, missing, decoders[seeds[0]])
    if zero_shot is not None:
        words = _zero_shot(scored[seeds[0]], dataset, record.the_task(), zero_shot, encoder)
        result = replace(result, zero_shot=words)
    written = write_predictions(run, split, scored, dataset, predictions)
    write_scores(run, split, scored, dataset)
    validation = None if split == "val" else _validation(run, record, features)
    held_out: dict[int, SplitScores] = {}
    if validation is not None:
        batches = eval_loader(
            validation, loader.batch_size or config.eval_batch_size, workers=loader.num_workers, device=on
        )
        held_out = {seed: score_windows(own, batches, validation, device=on) for seed, own in decoders.items()}
    result = replace(
        result,
        calibration=_calibrated(record.the_task(), scored, held_out, len(validation.rows) if validation else 0),
        listed=result.listed + len(too_short),
        too_short=tuple(too_short),
        untrained_seeds=run.untrained_seeds(config.seeds),
        predictions=tuple(map(str, written)),
    )
    write_json(run.evaluation_file(split), as_json(result))
    return result


def _zero_shot(
    scored: SplitScores, dataset: WindowDataset, task: Task, template: str, encoder: str | None
) -> dict[str, float]:
    """Metrics of the names of the classes alone, on the videos that were scored."""
    # evaluation alone needs no package that reads videos
    from longvid.pipelines.evaluation.zero_shot import zero_shot_scores
    from longvid.pipelines.rebuilding import Given

    return replace(scored, scores=zero_shot_scores(dataset, task, template, Given(encoder))).metrics(task)


def read_evaluation(run: RunFolder, split: str) -> EvaluationResult:
    """The result that `evaluate` wrote for a split; `ConfigError` if it is damaged."""
    path, remedy = run.evaluation_file(split), f"run `longvid evaluate {run.path}` again"

    def whole(values: dict[str, Any]) -> EvaluationResult:
        found = EvaluationResult.from_dict(values)
        if not found.seeds:
            raise ValueError("seeds: none")
        named = set(found.baseline)
        if not named or any(not named <= set(seed.metrics) for seed in found.seeds):
            raise ValueError("baseline: metrics that the seeds have not")
        size = len(found.confusion or ())
        if found.confusion is not None and (not size or any(len(row) != size for row in found.confusion)):
            raise ValueError("confusion: not as many columns as rows")
        return found

    return read_made(path, whole, remedy=remedy)


def open_run_store(record: RunRecord, location: str | Sequence[str] | None = None) -> Features:
    """The stores that a run was trained on, or others of the same recipes; `ConfigError` names what differs.

    The run's own store is opened only if it is a folder on this machine; a URL has to be given as `location`. Of
    several stores all are given, in the order of the training.
    """
    given = [None] * len(record.stores) if location is None else [location] if isinstance(location, str) else location
    if len(given) != len(record.stores):
        names = " ".join(f"--store {one.store}" for one in record.stores)
        raise ConfigError(
            f"{len(given)} stores are given, the run was trained on {len(record.stores)}: give all of them ({names})"
        )
    stores = [_open_like(one, place) for one, place in zip(record.stores, given, strict=True)]
    return opened_again(stores, record.joined)


def _open_like(record: StoreRecord, location: str | None) -> FeatureStore:
    if location is None and is_elsewhere(record.store):
        raise ConfigError(
            f"the run was trained on the store {record.store}, which is not opened just because a file names it: "
            f"give --store {record.store} (in Python store=)"
        )
    store = FeatureStore.open(location or record.store)
    if store.recipe.to_dict() != record.recipe:
        trained = type(store.recipe).from_dict(record.recipe)
        differences = "; ".join(trained.differences(store.recipe))
        raise ConfigError(
            f"{store.location}: features differ from those of the training (trained != here: {differences}); "
            "give a store that was made with the same settings as the training's"
        )
    return store


def trained_decoder(run: RunFolder, record: RunRecord, seed: int, *, given: GivenDecoder | None = None) -> Decoder:
    """The decoder with the best weights of a seed, their digest checked, in evaluation mode."""
    return load_trained_decoder(record.decoder, run.seed(seed).path, source=str(run.path), given=given)


def _dataset(
    run: RunFolder, record: RunRecord, store: Features, split: str, *, allow_missing: bool
) -> tuple[WindowDataset, list[str], list[str]]:
    """The videos to score, and the keys of those that are not in the store and of those that are too short."""
    manifest = run.manifest()
    rows = manifest.split(split)
    if not rows:
        counts = ", ".join(f"{name} {count}" for name, count in manifest.counts().items())
        raise AnnotationError(f"{record.manifest}: split {split!r} lists no videos (there are: {counts})")
    found, missing = split_by_presence(store, rows)
    absent = [row.key for row in missing]
    if not found or (absent and not allow_missing):
        raise AnnotationError(
            f"{len(absent)} of {len(rows)} {split} videos are not complete in {store.location}: "
            f"{shown_missing(store, absent)}; "
            "extract them, or evaluate without them (allow_missing=true)"
        )
    windows, task, fewest = record.the_windows(), record.the_task(), record.fewest_clips
    short = set(WindowDataset(store, found, windows, fewest_clips=fewest).too_short) if fewest > 1 else set()
    scored = [row for row in found if row.key not in short]
    if not scored:
        raise AnnotationError(
            f"every video of split {split!r} in {store.location} is shorter than the {fewest} clips that the decoder "
            "needs; nothing is left to score"
        )
    return WindowDataset(store, scored, windows, task=task, fewest_clips=fewest), absent, sorted(short)


def _result(
    run: RunFolder,
    record: RunRecord,
    split: str,
    scored: dict[int, SplitScores],
    dataset: WindowDataset,
    missing: list[str],
    decoder: Decoder,
) -> EvaluationResult:
    task = record.the_task()
    first = next(iter(scored.values()))
    answer = _baseline(run, task, dataset)
    strata = split_strata(dataset.rows, run.manifest(), task)
    drawn: dict[str, Any] = {"num_videos": len(dataset.rows), "strata": strata}
    confusion = None
    if task.kind in ("classification", "dense"):
        confusion = np.sum([confusion_matrix(found.scores, found.targets) for found in scored.values()], axis=0)
    return EvaluationResult(
        run=str(run.path),
        name=record.name,
        decoder=record.decoder.name,
        split=split,
        seeds=tuple(
            SeedEvaluation(seed, found.metrics(task), found.window_metrics(task)) for seed, found in scored.items()
        ),
        baseline=first.answering(answer).metrics(task),
        baseline_answer=_in_words(answer, task),
        listed=len(dataset.rows) + len(missing),
        evaluated=len(dataset.rows),
        windows=len(dataset),
        missing=tuple(missing),
        partial=dataset.partial,
        confusion=None if confusion is None else confusion.tolist(),
        per_class=_class_table(task, confusion, first),
        timelines=list(_timelines(decoder, first, dataset, task)),
        features=_size(dataset.store),
        readings=_readings(scored, task),
        intervals=split_intervals(list(scored.values()), task, **drawn),
        window_intervals=window_intervals(list(scored.values()), task, **drawn),
        stratified=strata is not None,
    )


def _validation(run: RunFolder, record: RunRecord, store: Features) -> WindowDataset | None:
    """The validation videos that the store holds, to fit temperatures on; None without any, or for regression."""
    task, windows, fewest = record.the_task(), record.the_windows(), record.fewest_clips
    rows = split_by_presence(store, run.manifest().split("val"))[0]
    if task.kind not in CALIBRATED or not rows:
        return None
    short = set(WindowDataset(store, rows, windows, fewest_clips=fewest).too_short) if fewest > 1 else set()
    labelled = [row for row in rows if task.kind == "dense" or row.value(task.column) is not None]
    kept = [row for row in labelled if row.key not in short]
    return WindowDataset(store, kept, windows, task=task, fewest_clips=fewest) if kept else None


def _calibrated(
    task: Task, scored: dict[int, SplitScores], held_out: dict[int, SplitScores], fitted_on: int
) -> Calibrated | None:
    if task.kind not in CALIBRATED:
        return None
    targets = np.concatenate([found.targets for found in scored.values()])
    before = calibration(np.concatenate([found.scores for found in scored.values()]), targets, kind=task.kind)
    if not held_out:
        return Calibrated(before)
    fitted = {seed: fit_temperature(found.scores, found.targets, kind=task.kind) for seed, found in held_out.items()}
    scaled = [with_temperature(found.scores, fitted[seed], task.kind) for seed, found in scored.items()]
    return Calibrated(before, calibration(np.concatenate(scaled), targets, kind=task.kind), fitted, fitted_on)


def _readings(scored: dict[int, SplitScores], task: Task) -> dict[str, dict[str, float]]:
    """The segmentation metrics in every known way to count, averaged over seeds; empty for other tasks."""
    seeds = [readings(found.along, task) for found in scored.values()]
    return {
        name: {metric: float(np.mean([seed[name][metric] for seed in seeds])) for metric in own}
        for name, own in seeds[0].items()
    }


def _size(features: Features) -> dict[str, int | float | None]:
    """Size of the store; of several, the videos that all hold, and the clips and bytes of all."""
    infos = [store.info() for store in (features.stores if isinstance(features, JoinedStores) else [features])]
    sizes = [info.token_bytes if info.file_bytes is None else info.file_bytes for info in infos]
    return {
        "videos": len(features.keys()) if isinstance(features, JoinedStores) else infos[0].complete_videos,
        "clips": sum(info.num_clips for info in infos),
        "seconds": min(info.seconds for info in infos),
        "bytes": sum(sizes),
    }


def _baseline(run: RunFolder, task: Task, dataset: WindowDataset) -> np.ndarray:
    """Scores (outputs,) of the constant answer that follows from the training labels and ignores the video."""
    rows = split_by_presence(dataset.store, run.manifest().split("train"))[0]
    train = WindowDataset(dataset.store, rows, Windows(), task=task).targets()
    answer: np.ndarray = baseline_scores(task.kind, train, 1, task.outputs)[0]
    return answer


def _in_words(answer: np.ndarray, task: Task) -> str:
    if task.kind in ("classification", "dense"):
        return f"always {task.classes[int(answer.argmax())]!r}, the most frequent class in training"
    if task.kind == "multilabel":
        return "how often each label occurs in training"
    return "the mean of the training targets, " + ", ".join(f"{value:.4g}" for value in answer)


def _class_table(task: Task, confusion: np.ndarray | None, first: SplitScores) -> list[ClassRow]:
    if confusion is not None:
        rows = per_class(confusion, task.classes)
        located = [name for name in task.metrics if name.startswith("map@")]
        return _with_precisions(rows, first, task, int(located[0].removeprefix("map@"))) if located else rows
    return per_label(first.scores, first.targets, task.classes) if task.kind == "multilabel" else []


def _with_precisions(rows: list[ClassRow], first: SplitScores, task: Task, iou: int) -> list[ClassRow]:
    """The table with each class's average precision of localisation at an overlap of `iou` percent."""
    precisions = class_precisions(*proposals_and_truth(first.along, task), iou / 100)
    return [replace(row, average_precision=precisions.get(number)) for number, row in enumerate(rows)]


def _timelines(decoder: Decoder, scores: SplitScores, data: WindowDataset, task: Task) -> Iterator[VideoTimeline]:
    for video in _shown_videos(scores, task, len(data.rows)):
        row, along = data.rows[video], timeline(decoder, scores, data, video)
        if task.kind == "dense":
            labels = targets_along(data, video, scores.along[video])
            target = [None if label == UNLABELLED else label for label in labels]
        else:
            target = np.asarray(scores.targets[video]).tolist()
        yield VideoTimeline(row.key, row.path, target, along.to_dict())


def _shown_videos(scores: SplitScores, task: Task, num_videos: int) -> list[int]:
    """A few videos to show: up to two wrong ones, then one of every class in turn, the same for any run."""
    if task.kind != "classification":
        return list(range(min(MAX_TIMELINES, num_videos)))
    rank_in_class = [int((scores.targets[:video] == scores.targets[video]).sum()) for video in range(num_videos)]
    by_turns = sorted(range(num_videos), key=lambda video: (rank_in_class[video], int(scores.targets[video])))
    wrong = np.flatnonzero(scores.scores.argmax(axis=1) != scores.targets)[:MAX_WRONG].tolist()
    return list(dict.fromkeys([*wrong, *by_turns[:MAX_TIMELINES]]))
