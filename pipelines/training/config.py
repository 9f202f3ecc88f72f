"""Settings of a training run, from a YAML recipe and overrides.

    config = load_config("recipe.yaml", ["store=features.zarr", "decoder.name=mean-linear", "seeds=[0, 1, 2]"])

Overrides are `key=value` words. Every impossible or unknown setting is a `ConfigError` of one line that names the
setting. Paths in a recipe file are relative to that file, paths in overrides to the working directory.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from longvid.benchmarks.protocols import find_protocol
from longvid.errors import ConfigError
from longvid.pipelines.training.combinations import Combination, combinations, flat
from longvid.pipelines.training.logger_settings import Loggers, refuse_loggers
from longvid.pipelines.training.recipe_files import (
    PATHS,
    each_place,
    is_recipe_file,
    read_recipe,
    refuse_code,
    refuse_elsewhere,
)
from longvid.pipelines.training.sections import (
    AugmentSettings,
    DecoderSettings,
    EarlyStoppingSettings,
    FeatureSettings,
    JoinSettings,
    LossSettings,
    OptimiserSettings,
    RefinementSettings,
    ScheduleSettings,
    SmoothingSettings,
    Stores,
    TaskSettings,
    ValidationSettings,
    WindowSettings,
)
from longvid.pipelines.training.settings import Settings, apply_override, checked_settings
from longvid.validation import as_type


class TrainConfig(Settings):
    """Settings of one training run. Frozen; `load_config` makes it from a file."""

    name: str = "run"
    """Name of the run, in results."""
    store: Stores
    """Feature store: folder or URL; several as a list, which are joined by measured seconds."""
    join: JoinSettings = JoinSettings()
    """How several stores are joined."""
    manifest: str
    """Videos, splits and labels: .jsonl, .csv or .parquet."""
    features: FeatureSettings | None = None
    """The features that the recipe is meant for; none: any."""
    protocol: str | None = None
    """A protocol that `longvid tasks --protocols` lists; it sets `window`; the recipe's own settings override it."""
    as_published: bool = False
    """Whether quirks of published code (`validation.on_test`, `schedule.backwards`) are allowed."""
    split_column: str | None = None
    """Manifest column that holds the splits, for manifests with several; none: its own `split`."""
    folds: list[str] = Field(default=[])
    """Split columns that are trained one after the other and averaged, where `split_column` is none."""
    key_column: str | None = None
    """Manifest column that holds the videos' keys in the store, for stores made elsewhere; none: `key`."""
    span: Literal["listed", "whole"] = "listed"
    """Part of each video that is used: between the manifest's start_seconds and end_seconds, or all of it."""
    task: TaskSettings = TaskSettings()
    joint: list[str] = Field(default=[])
    """Known tasks that one decoder learns together; their labels are in `task.column`, by task."""
    decoder: DecoderSettings = DecoderSettings()
    refinement: RefinementSettings | None = None
    """Stages that refine the decoder's answers; none: there are none. For dense tasks."""
    smoothing: SmoothingSettings | None = None
    """Loss that makes neighbouring clips answer alike; none: there is none. For dense tasks."""
    standardise: bool | list[bool] = False
    """Scale features to mean 0 and deviation 1 over the training videos, for encoders without a final norm; with
    several stores also one answer per store."""
    window: WindowSettings = WindowSettings()
    batch_size: int = Field(default=16, ge=1)
    """Windows per training step."""
    eval_batch_size: int = Field(default=32, ge=1)
    """Windows per batch in validation and evaluation."""
    epochs: int = Field(default=50, ge=1)
    """Passes over the training videos."""
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    grid: dict[str, list[Any]] = Field(default={})
    """Values to try of settings of the optimiser and the schedule, `{optimiser.learning_rate: [1e-3, 1e-4]}`: every
    combination is trained side by side on one reading of the store, and validation chooses (`combinations`)."""
    early_stopping: EarlyStoppingSettings | None = None
    validation: ValidationSettings = ValidationSettings()
    seeds: list[int] = Field(default=[0], min_length=1)
    """One training per seed; results are mean and standard deviation over seeds."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto: on CUDA if there is a device."""
    devices: int = Field(default=1, ge=1)
    """Devices (GPUs, or processes on the CPU) that share every batch; more than one train by Lightning's DDP."""
    workers: int = Field(default=0, ge=0)
    """Processes that read windows; 0 reads in the training process, which is enough for small windows."""
    allow_missing: bool = False
    """Train and evaluate on the videos that are in the store; otherwise a missing video is an error."""
    tensorboard: bool = True
    """Write TensorBoard logs into the run's folder, where `loggers` lists none."""
    loggers: Loggers = Field(default=[])
    """Loggers in place of TensorBoard, by name or with settings: `[csv, tensorboard, {name: wandb, offline: true}]`."""
    out: str = "runs/run"
    """Folder of the run: weights, logs, results."""

    @model_validator(mode="before")
    @classmethod
    def _with_protocol(cls, settings: Any) -> Any:
        """Take the protocol's window settings where the recipe gives none."""
        if not isinstance(settings, dict) or not isinstance(settings.get("protocol"), str):
            return settings
        window, given = dict(find_protocol(settings["protocol"]).window), settings.get("window") or {}
        return settings | {"window": window | given if isinstance(given, dict) else given}

    @property
    def stores(self) -> tuple[str, ...]:
        """The feature stores, one or several."""
        return (self.store,) if isinstance(self.store, str) else tuple(self.store)

    @field_validator("standardise", mode="before")
    @classmethod
    def _answers(cls, value: Any) -> Any:
        try:
            return as_type(list[bool] if isinstance(value, list) else bool, value)
        except ValueError:
            raise ValueError("should be true or false, or a list of one answer per store") from None

    @model_validator(mode="after")
    def _joined(self) -> "TrainConfig":
        if isinstance(self.standardise, list) and len(self.standardise) != len(self.stores):
            raise ValueError(
                f"standardise has {len(self.standardise)} answers for {len(self.stores)} stores; give one per store"
            )
        if len(self.stores) == 1 and self.join != JoinSettings():
            raise ValueError("join is for several stores; give store=[a.zarr,b.zarr]")
        return self

    @model_validator(mode="after")
    def _together(self) -> "TrainConfig":
        """Refuse settings that are each possible, but not with each other."""
        if self.devices > 1 and self.smoothing is not None and self.smoothing.reading != "valid":
            raise ValueError(
                f"smoothing.reading={self.smoothing.reading} counts padding, which each of several devices has its "
                "own of; use reading=valid, or devices=1"
            )
        if self.decoder.init is not None and len(self.stores) > 1:
            raise ValueError("decoder.init starts from a pretraining on one store's features; give one store")
        return self

    @model_validator(mode="after")
    def _frozen_from_something(self) -> "TrainConfig":
        if self.decoder.frozen and self.decoder.init is None:
            raise ValueError("decoder.frozen=true needs decoder.init, the pretraining whose layers are kept")
        return self

    @model_validator(mode="after")
    def _honest(self) -> "TrainConfig":
        for name, wanted in {
            "validation.on_test": self.validation.on_test,
            "schedule.backwards": self.schedule.backwards,
        }.items():
            if wanted and not self.as_published:
                raise ValueError(f"{name} repeats a mistake of published code; it needs as_published=true")
        return self

    @field_validator("grid", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        return flat(value)

    @model_validator(mode="after")
    def _possible_grid(self) -> "TrainConfig":
        if not self.grid:
            return self
        for combination in self.combinations():
            if combination.sections["schedule"].name == "plateau":
                raise ValueError("grid: schedule.name=plateau follows one validation score; use cosine or constant")
        if self.validation.on_test:
            raise ValueError("grid: a combination is chosen by validation videos, never by test; leave out on_test")
        if self.validation.choose != "best" or self.validation.metric is not None:
            raise ValueError("grid: keeps the best epoch by the task's first metric; leave out choose and metric")
        if self.precision == "float16":
            raise ValueError("grid: precision=float16 scales all losses together; use bfloat16 or float32")
        return self

    def combinations(self) -> list[Combination]:
        """The combinations of the grid; without one, the recipe's own settings as the only one."""
        return combinations(self.grid, {"optimiser": self.optimiser, "schedule": self.schedule})

    @property
    def several_folds(self) -> bool:
        """Whether the recipe is trained on each of `folds`."""
        return bool(self.folds) and self.split_column is None

    @property
    def protocol_changes(self) -> tuple[str, ...]:
        """Where the recipe's window differs from its protocol's, `stride_seconds: 1.0 -> 5.0`."""
        if self.protocol is None:
            return ()
        published = WindowSettings(**find_protocol(self.protocol).window).model_dump()
        own = self.window.model_dump()
        return tuple(f"{name}: {published[name]} -> {own[name]}" for name in own if own[name] != published[name])

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, value: Any) -> Any:
        return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value) or min(value) < 0 or max(value) >= 2**32:
            raise ValueError("must be distinct numbers from 0 to 4294967295")
        return value

    @classmethod
    def of(cls, settings: dict[str, Any], *, source: str = "recipe") -> "TrainConfig":
        """The config of plain nested values; `ConfigError` with all faults in one line."""
        return checked_settings(cls, settings, source=source)

    def absolute(self) -> "TrainConfig":
        """The same with absolute paths, so that the recipe kept in a run's folder means the same files there."""
        paths: dict[str, Any] = {name: each_place(getattr(self, name), _absolute) for name in PATHS}
        if self.decoder.init is not None:
            paths["decoder"] = self.decoder.model_copy(update={"init": _absolute(self.decoder.init)})
        return self.model_copy(update=paths)

    def to_yaml(self) -> str:
        """The whole recipe, defaults included; `load_config` gives the config back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_config(path: str | Path | None, overrides: Sequence[str] = (), *, allow_code: bool = False) -> TrainConfig:
    """The config of a YAML recipe with `dotted.key=value` overrides; a path of None starts from the defaults.

    Values are read as YAML: `epochs=20`, `seeds=[0, 1, 2]`, `early_stopping=null`, `optimiser.learning_rate=1e-3`.
    A recipe file may name folders and files on this machine; a URL, or an `out` that is neither beside the file nor
    below the working folder, has to be an override. So has a decoder that is code (`module:callable`), with its
    options, unless the file is the user's own (`allow_code`).
    """
    settings: dict[str, Any] = {} if path is None else read_recipe(Path(path))
    if path is not None and is_recipe_file(path):
        refuse_elsewhere(settings, Path(path), overrides)
        if not allow_code:
            refuse_code(settings, Path(path), overrides)
            refuse_loggers(settings, Path(path), overrides)
    for override in overrides:
        apply_override(settings, override)
    source = "overrides" if path is None else str(path)
    absent = [name for name in ("store", "manifest") if name not in settings]
    if absent:
        remedy = " ".join(f"{name}=..." for name in absent)
        raise ConfigError(f"{source}: no {' and no '.join(absent)} is given; add `{remedy}`")
    return TrainConfig.of(settings, source=source)


def kept_config(path: Path) -> TrainConfig:
    """The config in a run's own recipe.yaml, for its settings; no path or URL in it is opened."""
    return TrainConfig.of(read_recipe(path), source=str(path))


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def load_features(recipe: str | Path, *, allow_code: bool = False) -> FeatureSettings:
    """The feature settings of a recipe file, or of the recipe of that name; `ConfigError` if it has none.

    `allow_code`: the file is the user's own, and may name an encoder that is code (`module:callable`), which will be
    imported; without it that is an `EncoderError`.
    """
    settings = read_recipe(Path(recipe))
    if settings.get("features") is None:
        raise ConfigError(f"{recipe}: has no feature settings; give --encoder, or read in the recipe how they are made")
    placeholders = {"store": "store", "manifest": "manifest"}
    features = TrainConfig.of(settings | placeholders, source=str(recipe)).features
    assert features is not None
    if not allow_code:
        from longvid.encoders.registry import refuse_code

        remedy = f"give --encoder {features.encoder}, or --allow-code if the file is your own"
        refuse_code(features.encoder, source=str(recipe), remedy=remedy)
    return features
