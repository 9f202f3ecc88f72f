"""Settings of loggers, and what a recipe file may not say about them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from longvid.errors import ConfigError
from longvid.pipelines.training.settings import Settings


class LoggerSettings(Settings):
    """Where the numbers of a training are logged, beside the run's own history (`loggers`)."""

    name: Literal["csv", "tensorboard", "wandb", "mlflow"]
    """One of Lightning's loggers."""
    project: str | None = None
    """wandb: the project; mlflow: the experiment; none: `longvid`."""
    uri: str | None = None
    """mlflow: where its server or its files are; none: MLFLOW_TRACKING_URI, or a SQLite file in the run's folder."""
    offline: bool = False
    """wandb: write into the run's folder, for `wandb sync`."""

    @model_validator(mode="after")
    def _used(self) -> "LoggerSettings":
        if self.project is not None and self.name not in ("wandb", "mlflow"):
            raise ValueError(f"project is for wandb and mlflow, not for {self.name}; leave it out")
        if self.uri is not None and self.name != "mlflow":
            raise ValueError(f"uri is for mlflow, not for {self.name}; leave it out")
        if self.offline and self.name != "wandb":
            raise ValueError(f"offline is for wandb; {self.name} writes where you say anyway")
        return self


def logger_list(value: Any) -> Any:
    """Loggers given by name, or as one, as a list of settings."""
    given = value if isinstance(value, list) else [] if value is None else [value]
    made = [{"name": one} if isinstance(one, str) else one for one in given]
    names = [one.get("name") if isinstance(one, dict) else getattr(one, "name", None) for one in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice} is listed twice")
    return made


Loggers = Annotated[list[LoggerSettings], BeforeValidator(logger_list)]
"""Loggers by name or with settings, `[csv, tensorboard, {name: wandb, offline: true}]`."""


def refuse_loggers(settings: dict[str, Any], path: Path, overrides: Sequence[str]) -> None:
    """Raise `ConfigError` where the file names a logger that may send the run's numbers to another machine."""
    given = {override.partition("=")[0].strip() for override in overrides}
    loggers = settings.get("loggers")
    for one in loggers if isinstance(loggers, list) and "loggers" not in given else [loggers]:
        name = one.get("name") if isinstance(one, dict) else one
        if "loggers" not in given and name in ("wandb", "mlflow"):
            raise ConfigError(
                f"{path}: loggers: {name} may send numbers elsewhere, which is not done just because a file names it; "
                f"give loggers=[{name}]"
            )
