"""Parts of a training recipe, each a class of settings."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from longvid.clips.sampling import Sampling
from longvid.pipelines.training.settings import Settings
from longvid.windows.rule import Windows


def listed_stores(value: Any) -> Any:
    """One place, or a list of several distinct ones."""
    places = value if isinstance(value, list) else [value]
    if not places or any(isinstance(place, list | dict) or place is None for place in places):
        raise ValueError("should be a folder or URL, or a list of them")
    if len({str(place) for place in places}) < len(places):
        raise ValueError("the same store is listed twice")
    return str(places[0]) if len(places) == 1 else [str(place) for place in places]


Stores = Annotated[str | list[str], BeforeValidator(listed_stores)]
"""One feature store, a folder or URL, or several as a list."""


class DecoderSettings(Settings):
    """The long-range decoder."""

    name: str = "vis4mer"
    """A name that `longvid decoders` lists, or `module:callable` for a decoder of your own (`longvid.decoders.own`)."""
    options: dict[str, Any] = Field(default={})
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
    classes: list[str] = Field(default=[])
    """Class names, in the order of their numbers; empty: those of the labels."""
    outputs: int = Field(default=0, ge=0)
    """Number of classes or values, where labels are numbers; 0: one per class, or one value."""
    metrics: list[str] = Field(default=[])
    """Metrics, the first of which chooses the best epoch; empty: those of the kind."""
    column: str = "label"
    """Manifest column that holds the labels."""
    transform: dict[str, Any] = Field(default={})
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
    options: dict[str, Any] = Field(default={})
    """Options of the encoder."""
    sampling: dict[str, Any] | None = None
    """Fields of `longvid.Sampling`; none: the encoder's own."""
    preprocessing: dict[str, Any] = Field(default={})
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
