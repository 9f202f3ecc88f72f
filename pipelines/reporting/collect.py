"""The data of a report, read from the folders of its runs."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from longvid.encoders.origin import WeightsOrigin
from longvid.errors import ConfigError
from longvid.pipelines.evaluation.evaluate import EvaluationResult, read_evaluation
from longvid.pipelines.recipes import read_settings
from longvid.pipelines.training.results import TrainResult
from longvid.pipelines.training.run_folder import RunFolder, RunRecord, StoreRecord
from longvid.tasks import Task
from longvid.trained import read_made


@dataclass(frozen=True)
class Curve:
    """One column of a seed's history."""

    epochs: list[int]
    values: list[float]


@dataclass(frozen=True)
class Run:
    """One run with its evaluation."""

    label: str
    record: RunRecord
    trained: TrainResult
    evaluated: EvaluationResult
    recipe_yaml: str
    recipe: dict[str, Any]
    history: dict[int, dict[str, Curve]]
    """Curves by seed and column."""

    @property
    def task(self) -> Task:
        """The task of the run."""
        return self.record.the_task()

    @property
    def chosen_on_test(self) -> bool:
        """Whether the best epoch was chosen on the test videos, as in some published code."""
        return bool(self.recipe.get("validation", {}).get("on_test", False))


def collect_runs(run_dirs: list[Path], split: str) -> tuple[list[Run], list[str]]:
    """Every run with its evaluation on the split, and a line about each folder that has none, which is left out.

    Raises `ConfigError` if there is no run with one.
    """
    if not run_dirs:
        raise ConfigError("a report needs at least one run folder")
    runs, paths, left_out = [], [], []
    for path in run_dirs:
        try:
            runs.append(_collect(RunFolder(path), split))
            paths.append(path)
        except (ConfigError, OSError) as error:
            if len(run_dirs) == 1:
                raise
            left_out.append(" ".join(str(error).split()))
    if not runs:
        raise ConfigError(f"none of the {len(run_dirs)} folders holds a run to report: {left_out[0]}")
    labels = [run.label for run in runs]
    labelled = [
        run if labels.count(run.label) == 1 else _relabelled(run, f"{run.label} ({path.name})")
        for run, path in zip(runs, paths, strict=True)
    ]
    return labelled, left_out


def _collect(folder: RunFolder, split: str) -> Run:
    record = folder.record()
    if not folder.result_file.is_file():
        raise ConfigError(f"{folder.path}: training is not finished; run the same `longvid train` again")
    if not folder.evaluation_file(split).is_file():
        raise ConfigError(f"{folder.path}: not evaluated on {split!r}; run `longvid evaluate {folder.path}` first")
    remedy = f"run the same `longvid train` again into {folder.path}"
    trained = read_made(folder.result_file, TrainResult.from_dict, remedy=remedy)
    return Run(
        label=record.decoder.name,
        record=record,
        trained=trained,
        evaluated=read_evaluation(folder, split),
        recipe_yaml=folder.recipe_file.read_text("utf-8"),
        recipe=read_settings(folder.recipe_file),
        history={seed.seed: _history(folder.seed(seed.seed).history_file) for seed in trained.seeds},
    )


def _relabelled(run: Run, label: str) -> Run:
    return replace(run, label=label)


def _history(path: Path) -> dict[str, Curve]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        columns = [name for name in rows[0] if name not in ("epoch", "seconds")]
        return {name: _curve([row for row in rows if row[name] != ""], name) for name in columns}
    except (OSError, ValueError, TypeError, LookupError, csv.Error) as error:
        raise ConfigError(
            f"{path}: is not a training history ({error!r}); delete {path.parent}, then train again"
        ) from None


def _curve(rows: list[dict[str, str]], column: str) -> Curve:
    return Curve([int(row["epoch"]) + 1 for row in rows], [float(row[column]) for row in rows])


def facts_of_features(record: RunRecord) -> list[tuple[str, str]]:
    """How the features were made, in words; random weights are named as such."""
    facts = [fact for store in record.stores for fact in _facts_of_store(store)]
    if record.joined is not None:
        rate = (
            "the coarsest store's steps" if record.joined.rate is None else f"{record.joined.rate:g} steps per second"
        )
        facts.append(("Stores joined", f"{record.joined.how}, {rate}"))
    return [*facts, ("Manifest", record.manifest)]


def _facts_of_store(store: StoreRecord) -> list[tuple[str, str]]:
    recipe = store.recipe
    config: dict[str, Any] = recipe["encoder_config"]
    origin, digest = WeightsOrigin.of_recipe(config), recipe["weights_sha256"]
    weights = "not recorded" if origin is None else origin.phrase
    if origin is not None and origin.kind == "loaded" and digest:
        weights = f"loaded, sha256 {digest[:12]}…"
    return [
        ("Encoder", str(recipe["encoder"])),
        ("Encoder weights", weights),
        (
            "Tokens",
            f"{recipe['num_tokens']} × {recipe['dim']} per clip, {recipe['dtype']}, pooling {recipe['pooling']}",
        ),
        ("Sampling", _in_one_line(recipe["sampling"])),
        ("Preprocessing", _in_one_line(recipe["preprocessing"])),
        ("Store", store.store),
    ]


def has_random_weights(record: RunRecord) -> bool:
    """Whether an encoder was never trained."""
    origins = [WeightsOrigin.of_recipe(store.recipe["encoder_config"]) for store in record.stores]
    return any(origin is not None and origin.kind == "random" for origin in origins)


def _in_one_line(values: dict[str, Any]) -> str:
    text = yaml.safe_dump({k: v for k, v in values.items() if v is not None}, default_flow_style=True, width=10_000)
    return text.strip().strip("{}")
