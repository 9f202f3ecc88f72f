"""Settings of a pretraining, from stores, a YAML file and overrides.

config = load_pretraining(["a.zarr", "b.zarr"], None, ["decoder.name=lv-mae", "epochs=150"])
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from longvid.errors import ConfigError
from longvid.pipelines.recipes import read_settings
from longvid.pipelines.training.logger_settings import Loggers, refuse_loggers
from longvid.pipelines.training.recipe_files import is_elsewhere
from longvid.pipelines.training.sections import DecoderSettings, OptimiserSettings, ScheduleSettings, listed_stores
from longvid.pipelines.training.settings import Settings, apply_override, checked_settings
from longvid.pretraining.objective import Objective


class ObjectiveSettings(Settings):
    """What is predicted; `longvid.pretraining.objective.Objective` says what each setting means."""

    name: Literal["masked", "next-clip"] = "masked"
    mask: Literal["random", "semantic", "spans"] = "spans"
    """`random` and `semantic` as in LV-MAE; `spans`: stretches of clips, for decoders that see their neighbours."""
    ratio: float = 0.5
    mean_span: float = 6.0
    target: Literal["unit-length", "standardised"] = "standardised"
    loss: Literal["mse", "cosine", "channel-mse"] = "mse"
    horizons: tuple[int, ...] = (1, 4, 16)
    token_weight: float = 0.5

    @model_validator(mode="after")
    def _possible(self) -> "ObjectiveSettings":
        self.objective()
        return self

    def objective(self) -> Objective:
        """The objective."""
        return Objective(**self.model_dump())


class StretchSettings(Settings):
    """Length of the windows: drawn evenly between `shortest` and `clips` for every video of an epoch, as in LV-MAE."""

    clips: int = Field(default=256, ge=2)
    """The longest window, in clips."""
    shortest: int | None = Field(default=None, ge=1)
    """The shortest; none: the shortest that the decoder and the objective can use. Shorter videos are left out."""
    repeat_below: int = Field(default=0, ge=0)
    """A window of fewer clips is repeated three times (5 in LV-MAE's code); 0: none is."""


class HeldOutSettings(Settings):
    """Videos that are only validated on; they choose nothing."""

    fraction: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0
    every_epochs: int = Field(default=1, ge=1)


class PretrainConfig(Settings):
    """Settings of one pretraining. Frozen; `load_pretraining` makes it."""

    name: str = "pretraining"
    stores: list[str] = Field(min_length=1)
    """Feature stores of one recipe: folders or URLs."""
    manifest: str | None = None
    """Videos and splits; none: every complete video of the stores."""
    splits: tuple[str, ...] = ("train",)
    """With a manifest: the splits whose videos are used."""
    decoder: DecoderSettings = DecoderSettings()
    standardise: bool = False
    """As for `longvid train`, which must then say the same."""
    objective: ObjectiveSettings = ObjectiveSettings()
    window: StretchSettings = StretchSettings()
    batch_size: int = Field(default=16, ge=1)
    eval_batch_size: int = Field(default=32, ge=1)
    epochs: int = Field(default=100, ge=1)
    optimiser: OptimiserSettings = OptimiserSettings(betas=(0.9, 0.95), weight_decay=0.05)
    schedule: ScheduleSettings = ScheduleSettings(warmup=0.1)
    validation: HeldOutSettings = HeldOutSettings()
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = Field(default=0, ge=0)
    tensorboard: bool = False
    loggers: Loggers = Field(default=[])
    """As for `longvid train`."""
    out: str = "runs/pretrained"

    @field_validator("stores", mode="before")
    @classmethod
    def _places(cls, value: Any) -> Any:
        places = listed_stores(value)
        return [places] if isinstance(places, str) else places

    @model_validator(mode="after")
    def _unlabelled(self) -> "PretrainConfig":
        if self.schedule.name == "plateau":
            raise ValueError("schedule.name=plateau: nothing is chosen by validation here; use cosine or constant")
        optimiser = self.optimiser
        asked = [name for name in ("average", "final_weight_decay") if getattr(optimiser, name) is not None]
        asked += ["layer_decay"] if optimiser.layer_decay < 1 else []
        if asked:
            raise ValueError(
                f"optimiser.{asked[0]} is a setting of `longvid train`, not of a pretraining; leave it out"
            )
        if self.decoder.init is not None or self.decoder.frozen:
            raise ValueError("decoder.init and decoder.frozen are settings of `longvid train`, not of a pretraining")
        return self

    @classmethod
    def of(cls, settings: dict[str, Any], *, source: str = "pretraining") -> "PretrainConfig":
        """The config of plain nested values; `ConfigError` with all faults in one line."""
        for name in ("optimiser", "schedule"):  # what is not said keeps this class's default, not training's
            if isinstance(settings.get(name), dict):
                settings = settings | {name: cls.model_fields[name].default.model_dump() | settings[name]}
        return checked_settings(cls, settings, source=source)

    def to_yaml(self) -> str:
        """Every setting, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_pretraining(stores: Sequence[str], path: str | Path | None, overrides: Sequence[str] = ()) -> PretrainConfig:
    """The config of stores, an optional YAML file and `dotted.key=value` overrides."""
    settings: dict[str, Any] = {} if path is None else dict(read_settings(Path(path)))
    named = settings.get("stores")
    if path is not None and not stores and named is not None:
        places = [named] if isinstance(named, str) else named
        if not isinstance(places, list) or any(is_elsewhere(str(place)) for place in places):
            raise ConfigError(f"{path}: stores={named}: a place on the network is not opened because a file names it")
        settings["stores"] = [str(Path(path).parent / str(place)) for place in places]
    if path is not None:
        refuse_loggers(settings, Path(path), overrides)
    if stores:
        settings["stores"] = list(stores)
    for override in overrides:
        apply_override(settings, override)
    if not settings.get("stores"):
        raise ConfigError("no store is given; write longvid pretrain STORE [STORE...] [name=value...]")
    return PretrainConfig.of(settings, source="overrides" if path is None else str(path))
