"""One decoder for several tasks: loss, selection, runs of the parts.

After training, the run's folder has one folder per part, such as `runs/lvu/all/relationship`: an ordinary run with the
part's task, videos and outputs, which can be evaluated, reported and compared like any other.
"""

import csv
import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from longvid.decoders import Decoder
from longvid.errors import AnnotationError
from longvid.files import write_bytes, write_json
from longvid.hub import local_run
from longvid.metrics.items import baseline_scores, mean_by_item, probabilities, score
from longvid.paths import inside
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.data import TrainingData
from longvid.pipelines.training.module import DecoderModule
from longvid.pipelines.training.ranks import ALONE, Rank
from longvid.pipelines.training.results import SeedResult, TrainResult
from longvid.pipelines.training.run_folder import RunFolder, RunRecord, SeedFolder, save_weights
from longvid.pipelines.training.scoring import WindowScores
from longvid.plain import as_json
from longvid.tasks import Manifest, Task
from longvid.tasks.joint import JointTask
from longvid.trained import load_trained
from longvid.windows import WindowDataset


class JointModule(DecoderModule):
    """A `DecoderModule` whose task is a `JointTask`; the best epoch is the one with the highest mean skill."""

    def __init__(
        self,
        decoder: Decoder,
        config: TrainConfig,
        val: WindowDataset,
        *,
        seed: int,
        steps: int,
        train: WindowDataset,
        rank: Rank = ALONE,
    ) -> None:
        super().__init__(decoder, config, val, seed=seed, steps=steps, rank=rank)
        assert isinstance(val.task, JointTask)
        self.joint = val.task
        self.train_targets = train.targets()

    def loss(self, logits: Float[Tensor, "batch outputs"], targets: Float[Tensor, "batch parts"]) -> Float[Tensor, ""]:
        """Mean loss over all labels of the batch, of any task."""
        return joint_loss(logits, targets, self.joint)

    def counted(self, targets: Tensor) -> Tensor | int:
        """The known labels of a batch, of any task."""
        return (~torch.isnan(targets)).sum()

    def on_validation_epoch_start(self) -> None:
        """Start a new set of scores: logits, which become scores part by part."""
        self._found = WindowScores("regression")

    def validation_metrics(self) -> dict[str, float]:
        """Metrics of each part over its videos, and the mean of their skills."""
        windows, videos = np.stack(self._found.scores), np.concatenate(self._found.videos)
        return joint_metrics(windows, videos, self.val.targets(), self.train_targets, self.joint)


def joint_loss(
    logits: Float[Tensor, "batch outputs"], targets: Float[Tensor, "batch parts"], task: JointTask
) -> Float[Tensor, ""]:
    """Sum of the cross-entropies and squared errors of all known labels, divided by their number."""
    total = logits.new_zeros(())
    for index, (part, columns) in enumerate(zip(task.parts, task.columns(), strict=True)):
        known = ~torch.isnan(targets[:, index])
        own, wanted = logits[known, columns].float(), targets[known, index]
        if part.kind == "classification":
            total = total + functional.cross_entropy(own, wanted.long(), reduction="sum")
        else:
            total = total + functional.mse_loss(own[:, 0], wanted, reduction="sum")
    return total / (~torch.isnan(targets)).sum().clamp(min=1)


def joint_metrics(
    windows: Float[np.ndarray, "windows outputs"],
    videos: np.ndarray,
    targets: Float[np.ndarray, "videos parts"],
    train_targets: Float[np.ndarray, "listed parts"],
    task: JointTask,
) -> dict[str, float]:
    """`<part's column>/<metric>` of every part from the logits of windows, and their mean `skill`."""
    found: dict[str, float] = {}
    skills = []
    for index, (part, columns) in enumerate(zip(task.parts, task.columns(), strict=True)):
        scores = mean_by_item(probabilities(windows[:, columns], part.kind), videos, len(targets))
        known = ~np.isnan(targets[:, index])
        wanted, trained = (_own(values[:, index], part) for values in (targets[known], train_targets))
        metrics = score(part.metrics, scores[known], wanted)
        answer = baseline_scores(part.kind, trained, len(wanted), part.outputs)
        skills.append(skill(metrics[part.metrics[0]], score(part.metrics[:1], answer, wanted)[part.metrics[0]], part))
        found |= {f"{part.column}/{metric}": value for metric, value in metrics.items()}
    return {"skill": float(np.mean(skills))} | found


def joint_baseline(
    targets: Float[np.ndarray, "videos parts"], train_targets: Float[np.ndarray, "listed parts"], task: JointTask
) -> dict[str, float]:
    """The `joint_metrics` of answers that ignore the video; their skill is 0.

    Raises `AnnotationError` for a part without a label in any training or in any validation video.
    """
    for split, labels in (("training", train_targets), ("validation", targets)):
        unasked = [p.name for p, none in zip(task.parts, np.isnan(labels).all(axis=0), strict=True) if none]
        if unasked:
            raise AnnotationError(
                f"joint task {task.name!r}: no {split} video in the store has a label of "
                f"{', '.join(unasked)}; extract some, or leave it out of `joint`"
            )
    found = {"skill": 0.0}
    for index, part in enumerate(task.parts):
        wanted, trained = _own(targets[:, index], part), _own(train_targets[:, index], part)
        answer = baseline_scores(part.kind, trained, len(wanted), part.outputs)
        found |= {f"{part.column}/{name}": value for name, value in score(part.metrics, answer, wanted).items()}
    return found


def skill(value: float, baseline: float, part: Task) -> float:
    """A part's score between the baseline (0) and all answers right (1); negative if the baseline is better."""
    if part.kind == "regression":
        return 1 - value / baseline if baseline > 0 else 0.0
    return (value - baseline) / (1 - baseline) if baseline < 1 else 0.0


def _own(targets: Float[np.ndarray, " videos"], part: Task) -> np.ndarray:
    """A part's known targets in the form that its metrics take."""
    known: np.ndarray = targets[~np.isnan(targets)]
    return known.astype(np.int64) if part.kind == "classification" else known[:, None]


def write_parts(run: RunFolder, data: TrainingData, config: TrainConfig, result: TrainResult) -> list[Path]:
    """Write an ordinary run for each part of a trained joint run; return their folders."""
    assert isinstance(data.task, JointTask)
    folders = []
    for part, columns in zip(data.task.parts, data.task.columns(), strict=True):
        rows = [row for row in data.manifest if part.column in row.value(data.task.column)]
        manifest = Manifest(tuple(rows), name=data.manifest.name)
        record = _part_record(data.record, part, columns, manifest)
        folder = RunFolder(run.path / part.column)
        folder.write_record(record, manifest, _part_config(config, part, folder.path).absolute().to_yaml())
        seeds = tuple(
            _write_seed(run.seed(s.seed), folder.seed(s.seed), s, data.record, record, part) for s in result.seeds
        )
        of_part = replace(
            result,
            out=str(folder.path),
            name=record.name,
            task=part.name,
            seeds=seeds,
            listed=record.listed,
            found={split: record.found(split) for split in record.listed},
            notes=tuple(record.notes),
            baseline={metric: result.baseline[f"{part.column}/{metric}"] for metric in part.metrics},
        )
        write_json(folder.result_file, as_json(of_part))
        folders.append(folder.path)
    return folders


def _part_record(record: RunRecord, part: Task, columns: slice, manifest: Manifest) -> RunRecord:
    keys = {row.key for row in manifest}
    return replace(
        record,
        name=f"{record.name}/{part.column}",
        task=as_json(part),
        decoder=replace(record.decoder, part=[columns.start, columns.stop]),
        listed={split: count for split, count in manifest.counts().items() if split},
        missing={split: [key for key in absent if key in keys] for split, absent in record.missing.items()},
        notes=[*record.notes, f"One decoder answers this and the other tasks of {record.name}."],
    )


def _part_config(config: TrainConfig, part: Task, out: Path) -> TrainConfig:
    settings = config.model_dump() | {"joint": [], "out": str(out), "name": f"{config.name}/{part.column}"}
    return TrainConfig.of(settings | {"task": {"name": part.name}})


def _write_seed(
    joint: SeedFolder, own: SeedFolder, result: SeedResult, record: RunRecord, part_record: RunRecord, part: Task
) -> SeedResult:
    own.path.mkdir(parents=True, exist_ok=True)
    decoder = part_record.decoder.build()
    whole: Decoder = decoder.get_submodule("decoder")  # type: ignore[assignment]
    load_trained(joint.weights_file, whole, sha256=result.weights_sha256)
    save_weights(own.weights_file, decoder)
    write_bytes(own.history_file, _part_history(joint.history_file, part).encode())
    seed = replace(result, metrics={metric: result.metrics[f"{part.column}/{metric}"] for metric in part.metrics})
    write_json(own.result_file, asdict(seed))
    return seed


def _part_history(path: Path, part: Task) -> str:
    """The joint run's history with the part's metrics under their own names and without other parts' metrics."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    names = {f"{part.column}/{metric}": metric for metric in part.metrics}
    kept = [i for i, name in enumerate(rows[0]) if name in names or ("/" not in name and name != "skill")]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([names.get(rows[0][i], rows[0][i]) for i in kept])
    writer.writerows([[row[i] for i in kept] for row in rows[1:]])
    return out.getvalue()


def part_folders(run_dir: str | Path) -> list[Path]:
    """The folder itself, or for a joint run the folders of its parts."""
    folder = local_run(run_dir)
    if RunFolder(folder).record().task.get("kind") != "joint":
        return [folder]
    return sorted(inside(folder, path.parent.name) for path in folder.glob("*/run.json"))
