"""Going on with a run, or starting it again: what stays, what is removed.

A seed that is trained to the end goes on if more epochs are asked for now than it was trained, unless early stopping
has ended it. What was computed from its old weights (results, evaluations) is removed first, so that nothing disagrees
with the weights.
"""

import shutil
from pathlib import Path
from typing import Any

from longvid.errors import ConfigError, WeightsError
from longvid.paths import inside
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.results import SeedResult
from longvid.pipelines.training.run_folder import RunFolder, SeedFolder
from longvid.pipelines.training.sections import EarlyStoppingSettings
from longvid.weights.files import read_torch

WRITTEN = ("recipe.yaml", "run.json", "manifest.jsonl", "result.json")
"""Files that a training writes beside its seeds' folders."""


def only_more(name: str, before: Any, now: Any) -> bool:
    """Whether a changed setting only asks for more of the same training: more epochs, or more patience."""
    if name == "epochs":
        more: bool = now > before
        return more
    if name == "early_stopping":
        return before is not None and (
            now is None or (now["patience"] > before["patience"] and now["min_delta"] == before["min_delta"])
        )
    return False


def goes_on(folder: SeedFolder, result: SeedResult, config: TrainConfig, best: str) -> bool:
    """Whether a seed with that result has epochs left to train. `best`: the key of `BestWeights` in the resume point.

    Raises `ConfigError` if there is no resume point to go on from.
    """
    if result.epochs >= config.epochs:
        return False
    if not folder.resume_file.is_file():
        if config.early_stopping is not None:  # it was ended early, as far as anything here tells
            return False
        raise ConfigError(
            f"{folder.path}: trained {result.epochs} epochs, and resume.ckpt is gone, so that it cannot go on to "
            f"{config.epochs}; choose another folder by out=..., or give --overwrite to train it from the start"
        )
    return not _was_stopped(folder, config.early_stopping, best)


def _was_stopped(folder: SeedFolder, early_stopping: EarlyStoppingSettings | None, best: str) -> bool:
    if early_stopping is None:
        return False
    try:
        waited = int(read_torch(folder.resume_file)["callbacks"][best]["waited"])
    except (WeightsError, LookupError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder.resume_file}: is damaged, or was not written by longvid ({type(error).__name__}); "
            "delete it to keep the seed as it is"
        ) from None
    return waited >= early_stopping.patience


def forget_results(run: RunFolder, seed: SeedFolder) -> None:
    """Remove what was computed from a seed's weights, before they change."""
    seed.result_file.unlink(missing_ok=True)
    run.result_file.unlink(missing_ok=True)
    for folder in [run.path, *_parts(run)]:
        evaluated = inside(folder, "evaluation")
        if evaluated.is_dir():
            shutil.rmtree(evaluated)


def clear(run: RunFolder) -> None:
    """Remove what a training and its evaluation wrote into a folder; anything else in it stays.

    Raises `ConfigError` for a folder that is not a run's.
    """
    if not run.path.exists():
        return
    if not run.record_file.is_file():
        if any(run.path.iterdir()):
            raise ConfigError(f"{run.path}: holds no training run (no run.json), so nothing of it is overwritten")
        return
    for part in _parts(run):
        clear(RunFolder(part))
        if not any(part.iterdir()):
            part.rmdir()
    for folder in [*run.path.glob("seed-*"), run.path / "evaluation"]:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
    for name in WRITTEN:
        inside(run.path, name).unlink(missing_ok=True)


def _parts(run: RunFolder) -> list[Path]:
    """The folders of a joint run's parts."""
    return [inside(run.path, path.parent.name) for path in run.path.glob("*/run.json")]
