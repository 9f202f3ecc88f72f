"""Loggers by name: Lightning's own, one or several at once.

    loggers=[csv, tensorboard]
    loggers=[csv, {name: wandb, project: lvu, offline: true}, {name: mlflow, uri: sqlite:///all.db}]

Each seed is one run of a logger. A training that goes on continues the same run in wandb and mlflow, a further folder
of csv, and the same folder of TensorBoard. Of several processes the first logs.
"""

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from longvid.errors import BackendUnavailable, ConfigError
from longvid.files import write_json
from longvid.paths import inside
from longvid.pipelines.training.logger_settings import LoggerSettings

PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}
"""Logger -> the package, and the extra of longvid, that it needs beside those of training."""
PROJECT = "longvid"
RUNS_FILE = "loggers.json"
"""Names that wandb and mlflow gave to a seed's run, to go on with it."""


def asked_loggers(loggers: Sequence[LoggerSettings], *, tensorboard: bool) -> tuple[LoggerSettings, ...]:
    """The loggers of a recipe; where it lists none, TensorBoard if it says so."""
    return tuple(loggers) or ((LoggerSettings(name="tensorboard"),) if tensorboard else ())


def refuse_missing_packages(loggers: Sequence[LoggerSettings]) -> None:
    """Raise `BackendUnavailable` for a logger whose package is not installed."""
    for logger in loggers:
        package = PACKAGES.get(logger.name)
        if package is not None and find_spec(package) is None:
            raise BackendUnavailable(
                f"loggers: {logger.name} needs {package}, which is not installed: pip install 'longvid[{package}]'"
            )


@contextmanager
def open_loggers(
    loggers: Sequence[LoggerSettings], folder: Path, *, home: Path, name: str, settings: dict[str, Any]
) -> Iterator[list[Logger]]:
    """Lightning's loggers for one training in `folder`, started, and ended when it ends.

    home: folder of all seeds, for mlflow's own database. name: the run's name. settings: what is noted beside it.
    Raises `ConfigError` in one line for a logger that cannot start, as one that is not logged in.
    """
    known = _known_runs(folder)
    made: list[Logger] = []
    try:
        for logger in loggers:
            there = known.get(logger.name)
            try:
                made.append(_made(logger, folder, home=home, name=name, run=there))
                _ = made[-1].experiment  # type: ignore[attr-defined]
                if there is None and logger.name != "tensorboard":
                    made[-1].log_hyperparams(settings)
            except Exception as error:  # whatever the package raises: its text goes into the one line
                said = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(f"loggers: {logger.name} cannot start: {said[:300]}{_remedy(logger)}") from error
            run = _run_of(made[-1])
            if run is not None:
                known[logger.name] = run
        if known:
            write_json(inside(folder, RUNS_FILE), known)
        yield made
    finally:
        for one in made:
            if isinstance(one, WandbLogger):
                one.experiment.finish()  # the next seed would go on in the same run


def _made(logger: LoggerSettings, folder: Path, *, home: Path, name: str, run: str | None) -> Logger:
    project = logger.project or PROJECT
    match logger.name:
        case "csv":
            inside(folder, "csv")
            return CSVLogger(folder, name="csv", flush_logs_every_n_steps=1)
        case "tensorboard":
            inside(folder, "tensorboard")
            return TensorBoardLogger(folder, name="", version="tensorboard")
        case "wandb":
            from wandb import Settings

            inside(folder, "wandb").mkdir(parents=True, exist_ok=True)
            quiet = Settings(silent=True, console="off")
            run = run or secrets.token_hex(8)
            return WandbLogger(
                name=name,
                save_dir=folder,
                offline=logger.offline,
                id=run,
                project=project,
                settings=quiet,
                resume=None if logger.offline else "allow",
            )
        case "mlflow":
            place = logger.uri or os.environ.get("MLFLOW_TRACKING_URI")
            files = None if place else inside(home, "mlflow-files").absolute().as_uri()
            place = place or f"sqlite:///{inside(home, 'mlflow.db').absolute()}"
            return MLFlowLogger(project, run_name=name, tracking_uri=place, artifact_location=files, run_id=run)


def _run_of(logger: Logger) -> str | None:
    """The name that a service gave to a run; None for loggers of files."""
    if isinstance(logger, WandbLogger):
        return str(logger.experiment.id)
    return str(logger.run_id) if isinstance(logger, MLFlowLogger) else None


def _known_runs(folder: Path) -> dict[str, str]:
    file = inside(folder, RUNS_FILE)
    if not file.is_file():
        return {}
    try:
        return {str(name): str(run) for name, run in json.loads(file.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, RecursionError):
        raise ConfigError(f"{file}: is damaged; delete it to log this seed as a new run") from None


def _remedy(logger: LoggerSettings) -> str:
    if logger.name == "wandb":
        return "; log in by `wandb login`, or give {name: wandb, offline: true}"
    return "; see to its uri, or leave it out" if logger.name == "mlflow" else ""
