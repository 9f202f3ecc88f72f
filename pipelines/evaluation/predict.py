"""Answers over time for a video file: both stages, with a trained run.

    prediction = predict("runs/order", "holiday.mp4")
    print(prediction.answer, prediction.scores)
    for segment in prediction.segments:  # dense tasks
        print(segment.label, segment.start_seconds, segment.end_seconds, segment.confidence)

The encoder is built again from the recipe of the features that the run was trained on (`longvid.pipelines.rebuilding`
says what is followed there and what is not). It must be the same encoder: the sha256 of its weights and all settings
must agree.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from longvid.decoders import Decoder
from longvid.decoders.own import Builder
from longvid.errors import ConfigError, UnreadableVideo
from longvid.files import write_bytes, write_json
from longvid.hub import local_run
from longvid.metrics.predicted import PredictedSegment, predicted_segments
from longvid.notebook import Span, html_list, html_strip, html_table
from longvid.pipelines.evaluation.evaluate import trained_decoder
from longvid.pipelines.evaluation.prediction_files import mstcn_text, refuse_frame_labels
from longvid.pipelines.evaluation.timeline import Timeline, timeline
from longvid.pipelines.extraction import VideoRequest, extract
from longvid.pipelines.extraction.coordinating import Progress
from longvid.pipelines.extraction.together import Target
from longvid.pipelines.rebuilding import Given, rebuilt
from longvid.pipelines.training.config import kept_config
from longvid.pipelines.training.data import eval_loader
from longvid.pipelines.training.joining import opened_again
from longvid.pipelines.training.run_folder import RunFolder, RunRecord, torch_device
from longvid.pipelines.training.scoring import answers_of, window_scores
from longvid.stores import FeatureStore, Recipe
from longvid.stores.layout import DEFAULT_CLIPS_PER_SHARD
from longvid.tasks import ManifestRow, Task
from longvid.tasks.manifest_files import write_records
from longvid.trained import GivenDecoder
from longvid.video.storage import Storage, without_secrets
from longvid.windows import WindowDataset
from longvid.windows.dataset import Features

VIDEO = "video"
"""Key of the one video in the store that a prediction makes."""
BATCH_SIZE = 8
"""Windows per batch."""
_SHOWN_OUTPUTS = 8
"""Outputs that a notebook lists."""
PREDICTION_SUFFIXES = (".csv", ".jsonl", ".parquet", ".json", ".txt")

Names = str | Sequence[str | None] | None
"""A name, or for a run with several stores one per store."""
Options = dict[str, Any] | Sequence[dict[str, Any] | None] | None


@dataclass(frozen=True)
class Prediction:
    """A run's answer for one video; scores are means over its seeds."""

    video: str
    run: str
    task: Task
    answer: str | list[str] | list[float]
    """The class, the labels with at least 0.5, the values in the label's own unit, or the labels of `segments`."""
    total: dict[str, float]
    """Score of each output for the whole video."""
    kind: str
    """What a row of `scores` is: `windows`, `so far` or `clips`; see `longvid.pipelines.evaluation.timeline`."""
    seconds: Float[np.ndarray, "rows 2"]
    scores: Float[np.ndarray, "rows outputs"]
    seeds: tuple[int, ...]
    untrained_seeds: tuple[int, ...] = ()
    """Seeds of the recipe that are not fully trained and not part of the scores."""
    segments: tuple[PredictedSegment, ...] = ()
    """Dense tasks: what happens when, in order of time."""
    damaged: tuple[str, ...] = ()
    """Clips that are not part of the scores because the file is damaged there: their seconds, and why."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Class names, or the names of the values."""
        return self.task.output_names

    def _repr_html_(self) -> str:
        answer = self.answer if isinstance(self.answer, str) else ", ".join(map(str, self.answer[:_SHOWN_OUTPUTS]))
        table = html_table(self.video, [("run", self.run), ("answer", answer), ("seeds", len(self.seeds))])
        highest = sorted(self.total.items(), key=lambda item: -item[1])[:_SHOWN_OUTPUTS]
        if self.task.kind in ("classification", "dense"):
            spans = [
                (float(start), float(end), self.outputs[int(row.argmax())])
                for (start, end), row in zip(self.seconds, self.scores, strict=True)
            ]
            table += html_strip(spans if self.kind != "so far" else _parts(spans), self.outputs)
        damaged = html_list(("damaged",), [(text,) for text in self.damaged]) if self.damaged else ""
        return table + html_list(("", "score"), highest) + damaged

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; one object per row of scores."""
        rows = [
            {"start_seconds": round(start, 3), "end_seconds": round(end, 3), "scores": _named(self.outputs, row)}
            for (start, end), row in zip(self.seconds.tolist(), self.scores, strict=True)
        ]
        return {
            "video": self.video,
            "run": self.run,
            "task": self.task.name,
            "answer": self.answer,
            "scores": self.total,
            **({"segments": [_rounded(segment) for segment in self.segments]} if self.kind == "clips" else {}),
            "kind": self.kind,
            "seeds": list(self.seeds),
            "untrained_seeds": list(self.untrained_seeds),
            "damaged": list(self.damaged),
            "timeline": rows,
        }


def _parts(spans: list[Span]) -> list[Span]:
    """Answers so far, which all start where the video does, each from where the one before it ends."""
    return [(spans[max(0, i - 1)][1] if i else start, end, name) for i, (start, end, name) in enumerate(spans)]


def _rounded(segment: PredictedSegment) -> dict[str, str | float]:
    return {name: round(v, 6) if isinstance(v, float) else v for name, v in asdict(segment).items()}


def refuse_file(path: Path, task: Task) -> None:
    """Raise `ConfigError` for a file that `write_prediction` cannot write, before any work is done for it."""
    if path.suffix.lower() not in PREDICTION_SUFFIXES:
        raise ConfigError(f"{path}: the name of a prediction's file ends in {', '.join(PREDICTION_SUFFIXES)}")
    if path.suffix.lower() == ".txt":
        if task.kind != "dense":
            raise ConfigError(f"{path}: frame labels are for dense tasks, {task.name!r} is a {task.kind}; choose .json")
        refuse_frame_labels(task.classes, task.labels_per_second, str(path))


def write_prediction(path: Path, prediction: Prediction) -> None:
    """Write a prediction as its suffix says.

    `.csv`, `.jsonl`, `.parquet`: a row per window or clip, with its seconds; `.json`: everything; `.txt`: a label per
    frame, as MS-TCN writes them, for dense tasks.
    """
    task = prediction.task
    refuse_file(path, task)
    suffix = path.suffix.lower()
    if suffix == ".json":
        write_json(path, prediction.to_dict())
    elif suffix == ".txt":
        num_frames = max(1, round(float(prediction.seconds[-1, 1]) * float(task.labels_per_second or 1)))
        write_bytes(path, mstcn_text(prediction.seconds, prediction.scores, task, num_frames).encode())
    else:
        write_records(path, list(_rows(prediction)))


def _rows(prediction: Prediction) -> Iterator[dict[str, Any]]:
    """A record per row of scores."""
    names, one_class = prediction.outputs, prediction.task.kind in ("classification", "dense")
    for (start, end), scores in zip(prediction.seconds.tolist(), prediction.scores, strict=True):
        record: dict[str, Any] = {"start_seconds": round(start, 6), "end_seconds": round(end, 6)}
        record |= {"predicted": names[int(scores.argmax())]} if one_class else {}
        yield record | {f"score {name}": round(float(score), 6) for name, score in zip(names, scores, strict=True)}


def predict(
    run_dir: str | Path,
    video: str | Path,
    *,
    weights: Names = None,
    encoder: Names = None,
    encoder_options: Options = None,
    decoder: str | Builder | None = None,
    decoder_options: dict[str, Any] | None = None,
    device: str = "auto",
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    progress: Progress | None = None,
    out: str | Path | None = None,
    storage: Storage | None = None,
) -> Prediction:
    """Answers of a trained run along a video file, also written to `out` where it is given (`write_prediction`).

    `video` may be a URL that extraction takes; `storage` says how it is reached, the environment where it is not given.
    `allow_damaged` uses the sound clips of a damaged file; `Prediction.damaged` names the others.
    `weights`: the encoder's weights file, if it has moved since the extraction. `encoder` and `encoder_options` are
    needed for your own encoder (a run's files never make longvid import code), for one that has moved, and for a hub's
    encoder whose weights are not on this machine; `decoder` and `decoder_options` likewise for a decoder of your own.
    For a run with several stores each of the three about encoders is a list with one entry per store, None where there
    is nothing to say; one decoding of the file feeds all encoders.
    Raises `EncoderError` if `encoder` is needed and `DecoderError` if `decoder` is, `ConfigError` for another encoder
    than that of the features and for a run without a trained seed, `VideoError` for a file that cannot be read,
    `WeightsError` for damaged weights, `DecoderError` for a video that is too short for the decoder.
    """
    run = RunFolder(local_run(run_dir))
    record, seeds = run.record(), run.trained_seeds()
    if not seeds:
        raise ConfigError(f"{run.path}: no seed is trained to the end; run the same `longvid train` again")
    if out is not None:
        refuse_file(Path(out), record.the_task())
    on = torch_device(device)
    decoders = [trained_decoder(run, record, seed, given=GivenDecoder(decoder, decoder_options)) for seed in seeds]
    given = given_encoders(record, encoder, encoder_options, weights)
    with extracted(
        run,
        record,
        video,
        given,
        device=on,
        allow_truncated=allow_truncated,
        allow_damaged=allow_damaged,
        storage=storage,
        progress=progress,
    ) as (stores, features):
        lines = [_along(own, record, features, on) for own in decoders]
        damaged = tuple(dict.fromkeys(str(part) for store in stores for part in store.video(VIDEO).damaged))
    prediction = replace(_prediction(without_secrets(str(video)), run, record, lines, seeds), damaged=damaged)
    if out is not None:
        write_prediction(Path(out), prediction)
    return prediction


@contextmanager
def extracted(
    run: RunFolder,
    record: RunRecord,
    video: str | Path,
    given: list[Given],
    *,
    device: torch.device,
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    storage: Storage | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[list[FeatureStore], Features]]:
    """The features of a file as a run was trained on them, under the key `VIDEO`, until the block ends.

    One store per encoder, and what a decoder reads. Raises as `predict`.
    """
    built = [
        rebuilt(Recipe.from_dict(store.recipe), store.made_with, one, source=str(run.path), device=str(device))
        for store, one in zip(record.stores, given, strict=True)
    ]
    reached = storage or Storage()
    with TemporaryDirectory(prefix="longvid-predict-") as folder:
        targets = [
            Target(
                replace(job, allow_truncated=allow_truncated, allow_damaged=allow_damaged, storage=reached),
                Path(folder) / f"{number}.zarr",
                DEFAULT_CLIPS_PER_SHARD,
                encoder=encoder,
            )
            for number, (job, encoder) in enumerate(built)
        ]
        stores = features_of(str(video), targets, progress)
        yield stores, opened_again(stores, record.joined)


def given_encoders(record: RunRecord, encoder: Names, options: Options, weights: Names) -> list[Given]:
    """What the caller says about the encoder of each store; `ConfigError` where it is not told which it is about."""
    names = ", ".join(str(store.recipe.get("encoder")) for store in record.stores)

    def each(what: str, value: Any) -> list[Any]:
        values = list(value) if isinstance(value, list | tuple) else [value]
        if value is not None and len(values) != len(record.stores):
            raise ConfigError(
                f"{len(values)} of {what} given, for a run with {len(record.stores)} encoders ({names}): give one for "
                "each store, in this order"
            )
        return values if value is not None else [None] * len(record.stores)

    given = (each("encoder", encoder), each("options", options), each("weights", weights))
    return [Given(name, chosen, file) for name, chosen, file in zip(*given, strict=True)]


def features_of(video: str, targets: list[Target], progress: Progress | None) -> list[FeatureStore]:
    """The video's features in new stores, made as extraction makes them; each frame is decoded once for all."""
    first, *others = targets
    # inline: the encoder is loaded here already, and there is no other video that a crash could cost
    report = extract(
        [VideoRequest(VIDEO, video)],
        first.job,
        first.location,
        encoder=first.encoder,
        scheduler="inline",
        progress=progress,
        others=others,
    )
    if report.failed:
        raise UnreadableVideo(report.failed[0].reason)
    return [FeatureStore.open(target.location) for target in targets]


def _along(decoder: Decoder, record: RunRecord, store: Features, device: torch.device) -> Timeline:
    """A decoder's scores along the store's only video: a data set of one row, scored as evaluation scores many."""
    data = WindowDataset(store, [ManifestRow(VIDEO)], record.the_windows())
    loader = eval_loader(data, BATCH_SIZE, workers=0, device=device)
    found = window_scores(decoder, loader, data, task=record.the_task(), device=device)
    return timeline(decoder, answers_of(found, data), data)


def _prediction(video: str, run: RunFolder, record: RunRecord, lines: list[Timeline], seeds: list[int]) -> Prediction:
    task = record.the_task()
    total = np.mean([line.total for line in lines], axis=0)
    scores, seconds = np.mean([line.scores for line in lines], axis=0), lines[0].seconds
    segments = predicted_segments(seconds, scores, task) if task.kind == "dense" else []
    return Prediction(
        video=video,
        run=str(run.path),
        task=task,
        answer=_answer(total, task) if task.kind != "dense" else [segment.label for segment in segments],
        total=_named(task.output_names, total),
        kind=lines[0].kind,
        seconds=seconds,
        scores=scores,
        seeds=tuple(seeds),
        untrained_seeds=run.untrained_seeds(kept_config(run.recipe_file).seeds),
        segments=tuple(segments),
    )


def _answer(total: np.ndarray, task: Task) -> str | list[str] | list[float]:
    if task.kind == "classification":
        return task.classes[int(total.argmax())]
    if task.kind == "multilabel":
        return [name for name, value in zip(task.classes, total, strict=True) if value >= 0.5]
    return [round(float(value), 6) for value in task.transform.inverse(total)]


def _named(outputs: tuple[str, ...], scores: np.ndarray) -> dict[str, float]:
    return {name: round(float(score), 6) for name, score in zip(outputs, scores, strict=True)}
