"""From a video file straight to answers over time: both stages on one video, with a trained run.

    prediction = predict("runs/order", "holiday.mp4")
    print(prediction.answer, prediction.scores)

The encoder is built again from the recipe of the features the run was trained on (`longvid.pipelines.rebuilding` says
what is followed there and what is not), and refused unless it is that very one: the sha256 of its weights and every
setting must agree.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float

from longvid.encoders import Encoder
from longvid.errors import ConfigError, UnreadableVideo
from longvid.pipelines.evaluation.evaluate import clip_reader, trained_decoder
from longvid.pipelines.evaluation.timeline import Timeline, timeline
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.run import Progress
from longvid.pipelines.rebuilding import Given, rebuilt
from longvid.pipelines.training.config import kept_config
from longvid.pipelines.training.run_folder import RunFolder, RunRecord, torch_device
from longvid.stores import FeatureStore, PresentClips, Recipe
from longvid.tasks import Task


@dataclass(frozen=True)
class Prediction:
    """What a run says about one video; scores are means over its seeds."""

    video: str
    run: str
    task: str
    outputs: tuple[str, ...]
    """Class names, or the names of the values."""
    answer: str | list[str] | list[float] | None
    """The class, the labels at 0.5, or the values in the label's own unit; None for dense tasks."""
    total: dict[str, float]
    """Score of each output for the whole video."""
    kind: str
    """What a row of `scores` is: `windows`, `so far` or `clips` (`longvid.pipelines.evaluation.timeline`)."""
    seconds: Float[np.ndarray, "rows 2"]
    scores: Float[np.ndarray, "rows outputs"]
    seeds: tuple[int, ...]
    untrained_seeds: tuple[int, ...] = ()
    """Seeds of the recipe that are not trained to the end, and so have no part in the scores."""
    damaged: tuple[str, ...] = ()
    """Clips that no score rests on, because the file is damaged there: their seconds, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; one object a row of scores."""
        rows = [
            {"start_seconds": round(start, 3), "end_seconds": round(end, 3), "scores": _named(self.outputs, row)}
            for (start, end), row in zip(self.seconds.tolist(), self.scores, strict=True)
        ]
        return {
            "video": self.video,
            "run": self.run,
            "task": self.task,
            "answer": self.answer,
            "scores": self.total,
            "kind": self.kind,
            "seeds": list(self.seeds),
            "untrained_seeds": list(self.untrained_seeds),
            "damaged": list(self.damaged),
            "timeline": rows,
        }


def predict(
    run_dir: str | Path,
    video: str | Path,
    *,
    weights: str | None = None,
    encoder: str | None = None,
    encoder_options: dict[str, Any] | None = None,
    device: str = "auto",
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Answers of a trained run along a video file.

    `allow_damaged` answers from what is sound of a damaged file, and `Prediction.damaged` says what is not.
    `weights` is the encoder's weights file where it is not where it was at the extraction. `encoder` and
    `encoder_options` are needed for an encoder of your own, which a run can name and nothing but you can have imported,
    for one that moved, and for a hub's whose weights are not on this machine. Raises `EncoderError` where it is needed,
    `ConfigError` for an encoder other than the features' and for a run without a trained seed, `VideoError` for a file
    that cannot be read, `WeightsError` for damaged weights, `DecoderError` for a video too short for the decoder.
    """
    run = RunFolder(Path(run_dir))
    record, seeds = run.record(), run.trained_seeds()
    if not seeds:
        raise ConfigError(f"{run.path}: no seed is trained to the end; run the same `longvid train` again")
    recipe = Recipe.from_dict(record.store_recipe)
    given = Given(encoder, encoder_options, weights)
    job, built = rebuilt(recipe, record.made_with, given, source=str(run.path), device=str(torch_device(device)))
    job = replace(job, allow_truncated=allow_truncated, allow_damaged=allow_damaged)
    with TemporaryDirectory(prefix="longvid-predict-") as folder:
        store = _features(str(video), job, built, Path(folder) / "features.zarr", progress)
        lines = [_along(run, record, seed, store, torch_device(device)) for seed in seeds]
        damaged = tuple(map(str, store.video("video").damaged))
    return replace(_prediction(str(video), run, record, lines, seeds), damaged=damaged)


def _features(
    video: str, job: ExtractionJob, encoder: Encoder, location: Path, progress: Progress | None
) -> FeatureStore:
    """The video's features in a store of its own, made as extraction makes them."""
    # inline: the encoder is loaded here already, and there is no other video that one that crashes could take along
    report = extract(
        [VideoRequest("video", video)], job, location, encoder=encoder, scheduler="inline", progress=progress
    )
    if report.failed:
        raise UnreadableVideo(report.failed[0].reason)
    return FeatureStore.open(location)


def _along(run: RunFolder, record: RunRecord, seed: int, store: FeatureStore, device: Any) -> Timeline:
    decoder = trained_decoder(run, record, seed).to(device)
    video = PresentClips(store.video("video"))
    read = clip_reader(video, decoder)
    return timeline(decoder, read, video.seconds, task=record.the_task(), windows=record.the_windows())


def _prediction(video: str, run: RunFolder, record: RunRecord, lines: list[Timeline], seeds: list[int]) -> Prediction:
    task = record.the_task()
    total = np.mean([line.total for line in lines], axis=0)
    return Prediction(
        video=video,
        run=str(run.path),
        task=task.name,
        outputs=task.output_names,
        answer=_answer(total, task),
        total=_named(task.output_names, total),
        kind=lines[0].kind,
        seconds=lines[0].seconds,
        scores=np.mean([line.scores for line in lines], axis=0),
        seeds=tuple(seeds),
        untrained_seeds=run.untrained_seeds(kept_config(run.recipe_file).seeds),
    )


def _answer(total: np.ndarray, task: Task) -> str | list[str] | list[float] | None:
    if task.kind == "classification":
        return task.classes[int(total.argmax())]
    if task.kind == "multilabel":
        return [name for name, value in zip(task.classes, total, strict=True) if value >= 0.5]
    if task.kind == "regression":
        return [round(float(value), 6) for value in task.transform.inverse(total)]
    return None


def _named(outputs: tuple[str, ...], scores: np.ndarray) -> dict[str, float]:
    return {name: round(float(score), 6) for name, score in zip(outputs, scores, strict=True)}
