"""Settings of a fine-tuning and of a distillation.

    config = load_finetuning("motion", ["epochs=4"])
    config = load_distillation("video-mobile-former-500m", ["store=teacher.zarr"])

What they share with the training of a decoder (optimiser, schedule, loss, precision, devices) has the same names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, field_validator, model_validator

from longvid.errors import ConfigError
from longvid.pipelines.recipes import encoder_recipe, read_settings
from longvid.pipelines.training.logger_settings import Loggers, refuse_loggers
from longvid.pipelines.training.recipe_files import is_elsewhere, is_recipe_file
from longvid.pipelines.training.sections import EarlyStoppingSettings, OptimiserSettings, ScheduleSettings, Stores
from longvid.pipelines.training.settings import Settings, apply_override, checked_settings

Share = Annotated[float, Field(ge=0, lt=1)]


class EncoderSettings(Settings):
    """The encoder that learns."""

    name: str = "video-mobile-former-500m"
    """A name that `longvid encoders` lists, or a Hugging Face model."""
    options: dict[str, Any] = Field(default={})
    """Options of that encoder, as for `longvid extract --option`: frames, size, fps."""
    weights: str | None = "random"
    """Where it starts: `random`, a checkpoint of the authors' or of ours, an image model's file, which is inflated as
    in the papers; null: a Hugging Face model's own."""
    keep_head: bool = True
    """Keep the class layer of the weights where it has as many classes; false: it starts anew."""
    drop_path: Share | None = None
    """Chance that a residual branch of the last block is left out in training; none: the architecture's own."""
    head_dropout: Share | None = None
    """Dropout before the class layer; none: the architecture's own."""


class LearningOptimiser(OptimiserSettings):
    """The optimiser of an encoder: AdamW, or SGD as X-ViT's authors use it."""

    name: Literal["adamw", "sgd"] = "adamw"
    """`sgd`: with Nesterov's momentum."""
    momentum: Share = 0.9
    """Momentum of `sgd`."""
    decay_all: bool = False
    """Weight decay on norms, biases and tables too, as X-ViT's authors have it."""
    body_factor: float = Field(default=1.0, gt=0)
    """Factor on the rate of everything below the head (DualFormer: 0.1)."""
    full_rate: list[str] = Field(default=[])
    """Parts of the body, by name, with the full rate and without weight decay (DualFormer: `position`)."""


class ClipLossSettings(Settings):
    """Loss of a fine-tuning."""

    label_smoothing: Share = 0.0
    """Share of each target that is spread over all classes."""
    token_labels: str | None = None
    """DualFormer's token-label loss: file of the weights of the larger DualFormer that labels every position."""
    token_label_encoder: str = "dualformer-base"
    """Name of that larger DualFormer."""
    gamma: float = Field(default=0.5, ge=0, le=1)
    """Weight of the clips' own labels beside those of the positions."""


class HeldOut(Settings):
    """Videos that choose the best epoch, where the manifest has no validation split; never from test."""

    fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training videos that is set aside."""
    seed: int = 0
    """Another seed sets other videos aside."""
    every_epochs: int = Field(default=1, ge=1)
    """Epochs from one validation to the next."""
    choose: Literal["best", "last"] = "best"
    """The epoch whose weights are kept."""


class ClipSettings(Settings):
    """How training clips are drawn from videos, augmented and mixed (`longvid.recognition`)."""

    sampling: dict[str, Any] = Field(default={})
    """Fields of `longvid.recognition.TrainingSampling`; what is not given follows the encoder's own sampling."""
    augmentation: dict[str, Any] = Field(default={})
    """Fields of `longvid.recognition.Augmentation`: crop, area, flip, policy, erase, repeats."""
    mixing: dict[str, Any] = Field(default={})
    """Fields of `longvid.recognition.Mixing`: mixup, cutmix, partner."""


class LearningConfig(Settings):
    """What fine-tuning and distillation share."""

    encoder: EncoderSettings = EncoderSettings()
    optimiser: LearningOptimiser = LearningOptimiser(weight_decay=0.05)
    schedule: ScheduleSettings = ScheduleSettings()
    batch_size: int = Field(default=16, ge=1)
    """Clips per step, over all devices."""
    eval_batch_size: int = Field(default=32, ge=1)
    """Clips per batch of validation."""
    epochs: int = Field(default=30, ge=1)
    """Passes over the training clips."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of weights, order, augmentation and dropout."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of training."""
    checkpointing: bool = False
    """Compute the blocks' activations again in the backward pass: less memory, a third more arithmetic."""
    compile: bool = False
    """Compile the model with torch.compile."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto: on CUDA if there is a device."""
    devices: int = Field(default=1, ge=1)
    """Devices (GPUs, or processes on the CPU) that share every batch."""
    workers: int = Field(default=2, ge=0)
    """Processes that decode and augment clips."""
    early_stopping: EarlyStoppingSettings | None = None
    validation: HeldOut = HeldOut()
    tensorboard: bool = False
    """Write TensorBoard logs into the run's folder, where `loggers` lists none."""
    loggers: Loggers = Field(default=[])
    """As for `longvid train`."""
    note: str = ""
    """Where the settings come from."""
    name: str = "run"
    """Name of the run."""
    out: str = "runs/encoder"
    """Folder of the run; its best.safetensors is what `longvid extract --weights` reads."""

    @model_validator(mode="after")
    def _supported(self) -> "LearningConfig":
        if self.schedule.name == "plateau":
            raise ValueError("schedule.name=plateau: encoders learn by cosine or constant rates; use one of these")
        if self.devices > 1 and self.optimiser.accumulate > 1:
            raise ValueError(f"devices={self.devices} trains without optimiser.accumulate; use devices=1")
        if self.optimiser.final_weight_decay is not None:
            raise ValueError("optimiser.final_weight_decay is for decoders; leave it out")
        return self

    def to_yaml(self) -> str:
        """Every setting, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class FinetuneConfig(LearningConfig):
    """Settings of one fine-tuning. Frozen; `load_finetuning` makes it."""

    manifest: str = "clips.jsonl"
    """Videos, splits and labels, as `longvid prepare` writes them."""
    task: str | None = None
    """Data set of the labels; one whose classes tell left from right forbids flips."""
    classes: list[str] = Field(default=[])
    """Class names in the order of their numbers; empty: those of the labels, in alphabetical order."""
    made_up: int = Field(default=0, ge=0)
    """Where the manifest does not exist, draw this many made-up clips of sixteen motions beside it; 0: none."""
    clips: ClipSettings = ClipSettings()
    loss: ClipLossSettings = ClipLossSettings()

    @model_validator(mode="after")
    def _labelled(self) -> "FinetuneConfig":
        if self.loss.token_labels is not None and self.clips.mixing:
            raise ValueError("loss.token_labels: positions are labelled for one clip each; leave clips.mixing out")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a class is named twice")
        return self


class MatchSettings(Settings):
    """How a student's vectors are compared with the teacher's."""

    loss: Literal["cosine", "smooth-l1"] = "cosine"
    """1 - cosine, or smooth L1; both on targets that are standardised over the store's training clips."""
    similarity: float = Field(default=0.0, ge=0)
    """Weight of the loss on the batch's matrix of similarities (MobileCLIP); for batches of 256 and more."""
    temperature: float = Field(default=0.01, gt=0)
    """Temperature of that matrix: similarities are divided by it before the softmax (MobileCLIP: 1/100)."""
    frames: float = Field(default=1.0, ge=0)
    """Weight of the vectors per time step, where the store has them."""
    pooled: float = Field(default=1.0, ge=0)
    """Weight of the clip's mean vector."""


class DistilConfig(LearningConfig):
    """Settings of one distillation. Frozen; `load_distillation` makes it."""

    store: Stores
    """Store of the teacher's features; several as a list, each with a projector of its own."""
    videos: list[str] = Field(default=[])
    """The videos' files or folders, as they were given to `longvid extract`; a store keeps their fingerprints only."""
    manifest: str | None = None
    """The manifest that they were extracted by, instead of `videos`."""
    splits: tuple[str, ...] = ("train",)
    """With a manifest: the splits whose videos are used."""
    match: MatchSettings = MatchSettings()
    projector: Literal["dropped", "kept"] = "dropped"
    """`kept`: the first store's projector stays with the student, whose features then are in the teacher's space."""
    frames_kept: Literal["memory", "disk"] = "memory"
    """Where decoded clips stay, at the student's size, so that every frame is decoded once: in memory, or in the run's
    folder `frames`."""

    @property
    def stores(self) -> tuple[str, ...]:
        """The teachers' stores."""
        return (self.store,) if isinstance(self.store, str) else tuple(self.store)

    @field_validator("videos", mode="before")
    @classmethod
    def _some_videos(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _videos_are_somewhere(self) -> "DistilConfig":
        if bool(self.videos) == (self.manifest is not None):
            raise ValueError(
                "a store does not say where its videos are; give videos=FOLDER or manifest=..., as to `longvid extract`"
            )
        return self

    @model_validator(mode="after")
    def _comparable(self) -> "DistilConfig":
        if not (self.match.frames or self.match.pooled or self.match.similarity):
            raise ValueError("match: every weight is 0, so nothing would be learned")
        return self


Config = TypeVar("Config", bound=LearningConfig)


def config_of(model: type[Config], settings: dict[str, Any], *, source: str = "settings") -> Config:
    """The config of plain nested values; `ConfigError` with all faults in one line."""
    for name in ("optimiser", "schedule"):  # what is not said keeps this class's default
        if isinstance(settings.get(name), dict):
            settings = settings | {name: model.model_fields[name].default.model_dump() | settings[name]}
    return checked_settings(model, settings, source=source)


def load_finetuning(recipe: str | None, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """The config of a recipe (a file, or the name of one of longvid's) with `dotted.key=value` overrides."""
    settings: dict[str, Any] = {} if recipe is None else read_learning_recipe(recipe)
    return _overridden(FinetuneConfig, settings, overrides, source=recipe or "overrides")


def load_distillation(student: str, overrides: Sequence[str] = ()) -> DistilConfig:
    """The config of a student (an encoder's name, or a recipe file) with `dotted.key=value` overrides."""
    settings = read_learning_recipe(student) if is_recipe_file(student) else {"encoder": {"name": student}}
    given = [override.partition("=")[0].strip() for override in overrides]
    if "store" not in settings and "store" not in given:
        raise ConfigError(f"{student}: no store of a teacher is given; add `store=teacher.zarr`")
    return _overridden(DistilConfig, settings, overrides, source=student)


def _overridden(model: type[Config], settings: dict[str, Any], overrides: Sequence[str], *, source: str) -> Config:
    if is_recipe_file(source):
        refuse_loggers(settings, Path(source), overrides)
    for override in overrides:
        apply_override(settings, override)
    return config_of(model, settings, source=source)


def read_learning_recipe(recipe: str) -> dict[str, Any]:
    """The settings of a recipe; places in a file are relative to it, and a network place is refused."""
    if not is_recipe_file(recipe):
        return encoder_recipe(recipe)
    path = Path(recipe)
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe file")
    settings = dict(read_settings(path))
    for name in ("manifest", "out", "store"):
        value = settings.get(name)
        if isinstance(value, str):
            if is_elsewhere(value):
                raise ConfigError(
                    f"{path}: {name}: {value} is not opened just because a file names it; give {name}={value}"
                )
            settings[name] = str((path.parent / Path(value).expanduser()).absolute())
    encoder = settings.get("encoder")
    weights = encoder.get("weights") if isinstance(encoder, dict) else None
    if isinstance(weights, str) and weights != "random":
        assert isinstance(encoder, dict)
        settings["encoder"] = encoder | {"weights": str((path.parent / Path(weights).expanduser()).absolute())}
    return settings


def kept_settings(model: type[Config], path: Path) -> Config:
    """The config in a run's own recipe.yaml; no place in it is opened."""
    return checked_settings(model, dict(read_settings(path)), source=str(path))
