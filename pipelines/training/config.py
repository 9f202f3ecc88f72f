"""Settings of a training run, from a YAML recipe and overrides.

    config = load_config("recipe.yaml", ["store=features.zarr", "decoder.name=mean-linear", "seeds=[0, 1, 2]"])

Overrides are `key=value` words. Every impossible or unknown setting is a `ConfigError` of one line that names the
setting. Paths in a recipe file are relative to that file, paths in overrides to the working directory.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from longvid.benchmarks.protocols import find_protocol
from longvid.clips.sampling import Sampling
from longvid.code_names import is_code
from longvid.errors import ConfigError
from longvid.pipelines.recipes import read_settings, recipe_settings
from longvid.pipelines.training.combinations import Combination, combinations, flat
from longvid.safe_yaml import parse_yaml
from longvid.validation import SHOWN_CHARACTERS, as_type, in_words, shown
from longvid.windows.rule import Windows

_PATHS = ("store", "manifest", "out")
Checked = TypeVar("Checked", bound=BaseModel)


class Settings(BaseModel):
    """A part of a recipe; frozen; unknown settings are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,  # `longvid train --settings` shows them
    )


class DecoderSettings(Settings):
    """The long-range decoder."""

    name: str = "vis4mer"
    """A name that `longvid decoders` lists, or `module:callable` for a decoder of your own (`longvid.decoders.own`)."""
    options: dict[str, Any] = {}
    """Fields of that decoder's config; width, outputs and usual length follow from the store, task and window."""
    init: str | None = None
    """Folder of a pretraining (`longvid pretrain`): the decoder starts from it, with its name and its options."""
    frozen: bool = False
    """Train the head alone, on what the pretrained layers give; needs `init`."""


class WindowSettings(Settings):
    """What a decoder sees at once: one of `clips`, `seconds` and `segments`; without any, the whole video."""

    clips: int | None = Field(default=None, gt=0)
    """Clips in a window."""
    seconds: float | None = Field(default=None, gt=0)
    """Length of a window in time."""
    segments: int | None = Field(default=None, gt=0)
    """Clips picked from the whole video, evenly in evaluation, at random in training."""
    stride: int | None = Field(default=None, gt=0)
    """Clips from one evaluated window to the next; none: they do not overlap."""
    stride_seconds: float | None = Field(default=None, gt=0)
    """The same in time, for windows given in seconds."""
    shortest_seconds: float | None = Field(default=None, gt=0)
    """A window that the video's end cuts short is kept if it lasts this long; none: it is moved to end there."""
    short: Literal["masked", "padded", "drop"] = "masked"
    """How a video with fewer clips than a window is filled: masked, or with zero clips that count (ViS4mer); drop:
    masked, and a video that is too short for the decoder is left out and named."""
    draw: Literal["videos", "windows"] = "videos"
    """Windows of a training epoch: a random one of every video, or as many drawn from all windows (LVU)."""

    @model_validator(mode="after")
    def _possible(self) -> "WindowSettings":
        self.windows()
        return self

    def windows(self) -> Windows:
        """The rule that cuts videos into windows."""
        return Windows(**self.model_dump(exclude={"draw"}))


class RefinementSettings(Settings):
    """Stages that refine the answers of a dense task (`longvid.decoders.segmentation.refined`)."""

    stages: int = Field(default=3, ge=1)
    """Stages after the decoder."""
    layers: int = Field(default=10, ge=1)
    """Dilated convolutions of each: layer i has dilation 2^i, so that ten see 2,047 clips."""
    width: int = Field(default=64, ge=1)
    """Channels of each stage."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of numbers set to zero in training."""
    shared: bool = False
    """One set of weights for all stages, as in a variant of the MS-TCN++ paper (not in its code)."""


class SmoothingSettings(Settings):
    """The truncated smoothing loss beside the cross-entropy of a dense task, in one of its readings."""

    reading: Literal["valid", "ms-tcn", "ltcontext", "fact"] = "valid"
    """Whether padding counts and earlier steps are pulled (`longvid.decoders.segmentation.smoothing`)."""
    weight: float | None = Field(default=None, ge=0)
    """Factor; none: the authors', for 15 clips per second. Fewer clips per second need a smaller one."""


class OptimiserSettings(Settings):
    """Settings of AdamW; state-space dynamics have their own parameter groups (`Decoder.param_groups`)."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Highest learning rate; `schedule` says how it changes."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's weight decay; state-space dynamics have none."""
    final_weight_decay: float | None = Field(default=None, ge=0)
    """Weight decay that half a cosine reaches at the last step (V-JEPA: 1e-6); none: it stays as it is."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """AdamW's decay rates of the running means of gradients and of their squares."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; none: gradients are not clipped."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per step: their mean gradient is that of a batch so many times as large (Goyal et al., arXiv 1706.02677).
    The last step of an epoch may have fewer, and is as much smaller."""
    average: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of a moving average of the weights, which is validated and kept in place of them (Polyak and
    Juditsky, SIAM 1992); none: the weights themselves. The decay starts as (1 + steps) / (10 + steps), as in timm."""

    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the learning rate from each layer to the one below it, the head having the full rate; 1: all alike.
    For fine-tuning (`decoder.init`): 0.65 to 0.9, as in BEiT and MAE."""

    @model_validator(mode="after")
    def _decays(self) -> "OptimiserSettings":
        if self.final_weight_decay and not self.weight_decay:
            raise ValueError("final_weight_decay needs a weight_decay above 0 to start from")
        return self


class LossSettings(Settings):
    """What the loss does about small and unequal classes; for classification and dense tasks."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target that is spread over all classes (Szegedy et al., arXiv 1512.00567, section 7)."""
    class_weights: Literal["equal", "balanced"] = "equal"
    """`balanced`: an item weighs items / (classes x items of its class), counted over the training videos and the
    classes in them (King and Zeng, Political Analysis 2001; scikit-learn's rule). Other classes weigh 1."""

    @property
    def plain(self) -> bool:
        """Whether nothing differs from the usual loss."""
        return self == LossSettings()


class AugmentSettings(Settings):
    """Random changes of the training windows, in the space of features (`augmenting`); none by default."""

    token_drop: float = Field(default=0.0, ge=0, lt=1)
    """Chance of each clip to be left out of a window with all its tokens, so that windows get shorter (PatchDropout,
    Liu et al., arXiv 2208.07220)."""
    time_jitter: int = Field(default=0, ge=0)
    """Clips by which each place of a window may read an earlier or a later clip instead of its own; the order stays
    (the jitter in time of TSN's sampling, Wang et al., arXiv 1608.00859)."""
    time_stretch: float = Field(default=0.0, ge=0, le=4)
    """A window is played at a tempo drawn between 1 / (1 + this) and 1 + this, by leaving out or repeating clips (speed
    perturbation, Ko et al., Interspeech 2015)."""
    window_mask: float = Field(default=0.0, ge=0, lt=1)
    """Largest share of a window that one span of clips, drawn for each window, is replaced by the window's mean (time
    masking of SpecAugment, Park et al., arXiv 1904.08779)."""
    mixup: float = Field(default=0.0, ge=0)
    """Windows and their targets are mixed in pairs, with a share drawn from Beta(this, this); 0.2 is usual, 0: none are
    (mixup, Zhang et al., arXiv 1710.09412)."""


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


class ScheduleSettings(Settings):
    """How the learning rate changes."""

    name: Literal["cosine", "cosine-ahead", "plateau", "constant"] = "cosine"
    """Half a cosine to zero, a drop whenever validation stops improving, or no change. `cosine-ahead`: one step further
    down the cosine, so that the last step has the final rate (V-JEPA 2)."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps over which the rate rises (not with `plateau`)."""
    start: float = Field(default=0.0, ge=0, le=1)
    """Where the rise starts, as a share of the rate."""
    final: float = Field(default=0.0, ge=0, le=1)
    """Where the cosine ends, as a share of the rate."""
    factor: float = Field(default=0.2, gt=0, lt=1)
    """`plateau`: factor on the rate when validation has not improved for `patience` validations."""
    patience: int = Field(default=5, ge=0)
    """`plateau`: validations without improvement before the rate drops."""
    backwards: bool = False
    """`plateau` as in ViS4mer's code: a rising accuracy counts as no improvement, so the rate falls while the model
    learns. Only for its published schedule; for regression it makes no difference."""


class JoinSettings(Settings):
    """How several stores are put along one clock (`longvid.windows.joined`)."""

    how: Literal["features", "streams"] = "features"
    """`features`: numbers side by side in each token; `streams`: tokens side by side, each store with a code."""
    rate: float | None = Field(default=None, gt=0)
    """Steps per second; none: those of the coarsest store."""
    width: int | None = Field(default=None, ge=1)
    """`streams`: width that the tokens of every store are projected to; none: the widest store's."""

    @model_validator(mode="after")
    def _used(self) -> "JoinSettings":
        if self.width is not None and self.how != "streams":
            raise ValueError("width is for token streams; give how=streams too")
        return self


class EarlyStoppingSettings(Settings):
    """Stops training when validation has not improved."""

    patience: int = Field(default=10, ge=1)
    """Validations without improvement."""
    min_delta: float = Field(default=0.0, ge=0)
    """Smallest gain that counts as an improvement."""


class ValidationSettings(Settings):
    """How validation videos are taken from the training videos where the manifest has none; never from test."""

    fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of the training videos set aside, in whole groups and within each class."""
    seed: int = 0
    """Another seed sets other videos aside."""
    every_epochs: int = Field(default=1, ge=1)
    """Epochs from one validation to the next."""
    choose: Literal["best", "last"] = "best"
    """The epoch whose weights are kept: the best one, or the last, as MS-TCN and ASFormer do."""
    metric: str | None = None
    """The metric that finds the best epoch, or several joined by `+` (their sum); none: the task's first."""
    on_test: bool = False
    """Choose the best epoch by the test videos, as some authors did. Needs `as_published: true`; the run and its
    results carry a label."""


class TaskSettings(Settings):
    """The task; without `kind` it is inferred from the manifest's labels (`longvid.tasks.infer_task`)."""

    name: str = "labels"
    """Name of the task; one that `longvid tasks` lists brings its classes and metrics."""
    kind: Literal["classification", "multilabel", "regression", "dense"] | None = None
    """What a label is: one class, several, values, or classes along the video; null: inferred from the labels."""
    classes: list[str] = []
    """Class names, in the order of their numbers; empty: those of the labels."""
    outputs: int = Field(default=0, ge=0)
    """Number of classes or values, where labels are numbers; 0: one per class, or one value."""
    metrics: list[str] = []
    """Metrics, the first of which chooses the best epoch; empty: those of the kind."""
    column: str = "label"
    """Manifest column that holds the labels."""
    transform: dict[str, Any] = {}
    """regression: target = scale * f(label) + shift; fields: function (identity, log), scale, shift."""
    labels_per_second: float | None = Field(default=None, gt=0)
    """dense: lines per second in the files that `label_path` names."""
    reading: str = "pooled"
    """How segments are counted (`longvid.metrics.segmentation.READINGS`); a protocol's own reading goes before."""

    @model_validator(mode="after")
    def _stated(self) -> "TaskSettings":
        loose = [name for name in ("outputs", "transform", "labels_per_second") if getattr(self, name)]
        if loose and self.kind is None and not self.classes:
            raise ValueError(f"{loose[0]} needs `kind`; give the task's kind too")
        return self


class FeatureSettings(Settings):
    """How stage one makes the features: `longvid extract --recipe` does; training notes where a store differs."""

    encoder: str
    """A name that `longvid extract --encoder` accepts."""
    options: dict[str, Any] = {}
    """Options of the encoder."""
    sampling: dict[str, Any] | None = None
    """Fields of `longvid.Sampling`; none: the encoder's own."""
    preprocessing: dict[str, Any] = {}
    """Fields of `longvid.Preprocessing` other than the encoder's own."""
    pooling: str | None = None
    """Tokens that are stored (`longvid extract --pooling`); null: the encoder's own choice."""
    dtype: Literal["float16", "float32", "int8"] = "float16"
    """Stored type."""

    def the_sampling(self) -> Sampling | None:
        """The sampling; `ConfigError` for a field that does not exist."""
        return None if self.sampling is None else Sampling.from_dict(self.sampling)

    def differences(self, made: dict[str, Any]) -> list[str]:
        """Differences of a store's recipe (`Recipe.to_dict()`) from these settings, `pooling: class, not mean`."""
        wanted = {"encoder": self.encoder, "dtype": self.dtype} | ({"pooling": self.pooling} if self.pooling else {})
        for part, fields in (("sampling", self.sampling), ("preprocessing", self.preprocessing)):
            wanted |= {f"{part}.{name}": value for name, value in (fields or {}).items()}
        found = dict(made)
        for part in ("sampling", "preprocessing"):
            found |= {f"{part}.{name}": value for name, value in made.get(part, {}).items()}
        return [f"{name}: {found.get(name)}, not {want}" for name, want in wanted.items() if found.get(name) != want]


class TrainConfig(Settings):
    """Settings of one training run. Frozen; `load_config` makes it from a file."""

    name: str = "run"
    """Name of the run, in results."""
    store: str | list[str]
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
    folds: list[str] = []
    """Split columns that are trained one after the other and averaged, where `split_column` is none."""
    key_column: str | None = None
    """Manifest column that holds the videos' keys in the store, for stores made elsewhere; none: `key`."""
    span: Literal["listed", "whole"] = "listed"
    """Part of each video that is used: between the manifest's start_seconds and end_seconds, or all of it."""
    task: TaskSettings = TaskSettings()
    joint: list[str] = []
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
    grid: dict[str, list[Any]] = {}
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
    loggers: list[LoggerSettings] = []
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

    @field_validator("store", mode="before")
    @classmethod
    def _some_store(cls, value: Any) -> Any:
        places = value if isinstance(value, list) else [value]
        if not places or any(isinstance(place, list | dict) or place is None for place in places):
            raise ValueError("should be a folder or URL, or a list of them")
        if len({str(place) for place in places}) < len(places):
            raise ValueError("the same store is listed twice")
        return str(places[0]) if len(places) == 1 else [str(place) for place in places]

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

    @field_validator("loggers", mode="before")
    @classmethod
    def _loggers(cls, value: Any) -> Any:
        return logger_list(value)

    @field_validator("grid", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        return flat(value)

    @model_validator(mode="after")
    def _possible_grid(self) -> "TrainConfig":
        if not self.grid:
            return self
        for name in ("accumulate", "average"):
            if f"optimiser.{name}" in self.grid:
                raise ValueError(f"grid: optimiser.{name} is one for all combinations; give it outside of the grid")
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
        paths: dict[str, Any] = {name: _each(getattr(self, name), _absolute) for name in _PATHS}
        if self.decoder.init is not None:
            paths["decoder"] = self.decoder.model_copy(update={"init": str(Path(self.decoder.init).absolute())})
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
        _refuse_elsewhere(settings, Path(path), overrides)
        if not allow_code:
            _refuse_code(settings, Path(path), overrides)
            refuse_loggers(settings, Path(path), overrides)
    for override in overrides:
        apply_override(settings, override)
    source = "overrides" if path is None else str(path)
    absent = [name for name in ("store", "manifest") if name not in settings]
    if absent:
        remedy = " ".join(f"{name}=..." for name in absent)
        raise ConfigError(f"{source}: no {' and no '.join(absent)} is given; add `{remedy}`")
    return TrainConfig.of(settings, source=source)


def checked_settings(model: type[Checked], settings: dict[str, Any], *, source: str) -> Checked:
    """Settings of plain nested values; `ConfigError` with all faults in one line."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        faults = "; ".join(_fault(fault, model) for fault in error.errors())
        raise ConfigError(f"{source}: {faults}") from None


def kept_config(path: Path) -> TrainConfig:
    """The config in a run's own recipe.yaml, for its settings; no path or URL in it is opened."""
    return TrainConfig.of(read_recipe(path), source=str(path))


def _each(place: Any, change: Callable[[str], str]) -> Any:
    """A place, or every place of a list, changed; what is no text is left for the check of the settings."""
    if isinstance(place, list):
        return [change(one) if isinstance(one, str) else one for one in place]
    return change(place) if isinstance(place, str) else place


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def is_elsewhere(place: str) -> bool:
    """Whether a place is on another machine: a URL or a network share."""
    return ("://" in place and not place.startswith("file://")) or "::" in place or place.startswith(("//", "\\\\"))


def is_recipe_file(recipe: str | Path) -> bool:
    """Whether a recipe is a file, which anybody may have written; the others come with longvid, by name."""
    return Path(recipe).is_file() or Path(recipe).suffix in (".yaml", ".yml")


def _refuse_elsewhere(settings: dict[str, Any], path: Path, overrides: Sequence[str]) -> None:
    """Raise `ConfigError` for a place in a recipe file that is on the network, or for an `out` far from the file.

    As an override (`store=...`, `out=...`) any place is accepted.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    for name in _PATHS:
        given_places = settings.get(name)
        places = given_places if isinstance(given_places, list) else [given_places]
        for value in places:
            if name not in given and isinstance(value, str):
                _refuse_place(name, value, path)


def _refuse_place(name: str, value: str, path: Path) -> None:
    if is_elsewhere(value):
        raise ConfigError(f"{path}: {name}: {value} is not opened just because a file names it; give {name}={value}")
    folders = [path.parent.resolve(), Path.cwd()]
    if name == "out" and not any(Path(value).resolve().is_relative_to(folder) for folder in folders):
        raise ConfigError(
            f"{path}: out: {value} is neither beside the file nor below the working folder; give out={value}"
        )


def _refuse_code(settings: dict[str, Any], path: Path, overrides: Sequence[str]) -> None:
    """Raise `ConfigError` where the file names a decoder that is code, or has options for one that the user names."""
    words = (override.partition("=") for override in overrides)
    given = {key.strip(): value.strip(" '\"") for key, _, value in words}
    decoder = settings.get("decoder")
    if not isinstance(decoder, dict) or "decoder" in given:
        return
    name = str(decoder.get("name", ""))
    if "decoder.name" not in given and is_code(name):
        raise ConfigError(
            f"{path} names the decoder {name!r}, which is code; what a file names is never imported: give "
            f"decoder.name={name}, or --allow-code if the file is your own"
        )
    options = decoder.get("options")
    if not is_code(given.get("decoder.name", "")) or not isinstance(options, dict) or "decoder.options" in given:
        return
    kept = [option for option in options if f"decoder.options.{option}" not in given]
    if kept:
        raise ConfigError(
            f"{path}: has options for its decoder ({', '.join(map(str, kept))}), and {given['decoder.name']} is code; "
            f"give decoder.options.{kept[0]}=... too, or --allow-code if the file is your own"
        )


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


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings of a recipe file, or of longvid's recipe of that name."""
    if not is_recipe_file(path):
        return recipe_settings(path.as_posix())
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe file")
    settings = read_settings(path)

    def beside(place: str) -> str:
        return place if "://" in place else str((path.parent / Path(place).expanduser()).absolute())

    for name in _PATHS:
        if name in settings:
            settings[name] = _each(settings[name], beside)
    decoder = settings.get("decoder")
    if isinstance(decoder, dict) and isinstance(decoder.get("init"), str):
        settings["decoder"] = decoder | {"init": str((path.parent / Path(decoder["init"]).expanduser()).absolute())}
    return settings


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Put one `dotted.key=value` into nested settings."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {shown(override)} is not of the form key=value")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"override {shown(override)}: the value cannot be read as YAML ({error})") from None
    *parents, last = key.strip().split(".")
    for parent in parents:
        if settings.get(parent) is None:
            settings[parent] = {}
        if not isinstance(settings[parent], dict):
            raise ConfigError(
                f"override {shown(override)}: {parent} is {shown(settings[parent])}, which has no settings"
            )
        settings = settings[parent]
    settings[last] = value


def _fault(fault: Any, model: type[BaseModel]) -> str:
    """One pydantic error as `setting: what is wrong and what would be right`."""
    location = [str(part) for part in fault["loc"]]
    where = ".".join(location)
    if not location:
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known = _known_settings(location[:-1], model)
        near = _meant(location, model)
        remedy = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        return f"{where} is not a setting; {remedy}"
    if fault["type"] == "missing":
        return f"{where} must be given"
    value = "" if isinstance(fault["input"], dict) else f"={' '.join(str(fault['input']).split())[:SHOWN_CHARACTERS]}"
    if fault["type"] in ("model_type", "model_attributes_type"):
        inner = _known_settings(location, model)
        if "name" in inner:
            return f"{where}{value}: {where} has several settings; write {where}.name{value}"
        return f"{where}{value}: {where} has several settings: {', '.join(f'{where}.{name}' for name in inner)}"
    if fault["type"] == "list_type":
        return f"{where}{value}: should be a list; write {where}=[{value[1:]}]"
    return f"{where}{value}: {in_words(fault)}"


def _meant(location: list[str], model: type[BaseModel]) -> list[str]:
    """Dotted names of the settings that a wrong name may mean.

    First similar names in the same part of the recipe; else settings elsewhere of that name or those initials (`lr` is
    optimiser.learning_rate); else similar names elsewhere.
    """
    wrong, prefix = location[-1], ".".join([*location[:-1], ""])
    beside = difflib.get_close_matches(wrong, _known_settings(location[:-1], model), 1)
    if beside:
        return [f"{prefix}{beside[0]}"]
    leaves: dict[str, list[str]] = {}
    for place in _all_settings(model):
        leaves.setdefault(place.rpartition(".")[2], []).append(place)
    named = [p for leaf, places in leaves.items() for p in places if wrong in (leaf, _initials(leaf))]
    alike = difflib.get_close_matches(wrong, leaves, 1)
    return named or [place for leaf in alike for place in leaves[leaf]]


def _initials(name: str) -> str:
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def _all_settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings."""
    for name in model.model_fields:
        inner = settings_of(model, name)
        yield f"{prefix}{name}"
        if inner is not None:
            yield from _all_settings(inner, f"{prefix}{name}.")


def settings_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The class of a setting that has inner settings, else None."""
    annotation = model.model_fields[name].annotation
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _known_settings(location: list[str], model: type[BaseModel]) -> list[str]:
    for part in location:
        if part.isdigit():  # a place in a list of settings
            continue
        inner = settings_of(model, part)
        assert inner is not None
        model = inner
    return list(model.model_fields)
