"""The settings of one extraction, as plain values that workers receive."""

from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

from longvid.clips.sampling import Sampling
from longvid.encoders import ENCODERS, Encoder, EncoderSpec, build_encoder
from longvid.encoders.pooling import POOLINGS
from longvid.encoders.registry import names_code
from longvid.encoders.wrapping import Autocast
from longvid.errors import ConfigError, EncoderError
from longvid.validation import Count, Whole, settings
from longvid.video.storage import Storage

Precision = Literal["float32", "bfloat16", "float16"]
StoredType = Literal["float16", "float32", "int8"]


@settings(ConfigError)
class ExtractionJob:
    """Every choice of an extraction that a worker needs; two equal jobs make equal features.

    `encoder` is a name that `build_encoder` knows, or a callable that builds an `Encoder` (pickled by value for
    workers); None if `extract(..., encoder=...)` is given a built one.
    """

    encoder: str | Callable[..., Encoder] | None = None
    encoder_options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    seed: Whole = 0
    """Seed of random weights, used where no weights are given."""
    sampling: Sampling | None = None
    """None: the encoder's own default."""
    pooling: str | None = None
    """None: the encoder's own default."""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    """Fields of `longvid.Preprocessing` other than the encoder's own."""
    dtype: StoredType = "float16"
    precision: Precision = "float32"
    """Type of the encoder's arithmetic; types other than float32 run under autocast."""
    batch_clips: Count = 8
    backend: str = "auto"
    allow_truncated: bool = False
    allow_damaged: bool = False
    """Keep what is sound of a damaged video: clips that need a lost or broken frame are marked as not there."""
    full_hash: bool = False
    """Also identify each file by the sha256 of all its bytes; reads it once more when it is planned."""
    device: str = "auto"
    """A torch device; `auto`: the first CUDA device this process sees, else the CPU."""
    torch_threads: Count | None = None
    """CPU threads per encoder; None: torch's own choice."""
    fetch: bool = True
    """Whether weights that are not on this machine may be fetched; False where only a file names the encoder."""
    storage: Storage = field(default_factory=Storage, repr=False, compare=False)
    """How videos at URLs are reached, and a store at one; credentials among it are shown nowhere."""

    def __post_init__(self) -> None:
        if self.pooling is not None and self.pooling not in POOLINGS:
            raise EncoderError(f"pooling={self.pooling!r} is not one of {', '.join(POOLINGS)}")

    def build(self) -> Encoder:
        """The encoder, in evaluation mode, on this process's device."""
        if self.encoder is None:
            raise ConfigError("the job names no encoder: ExtractionJob(NAME), or extract(..., encoder=built)")
        if isinstance(self.encoder, str):
            given = {"weights": self.weights, "seed": self.seed, "dtype": self.precision, **self.encoder_options}
            encoder = build_encoder(self.encoder, **(given | {"fetch": self.fetch}))
        else:
            encoder = self.encoder(**self.encoder_options)
            encoder = encoder if self.precision == "float32" else Autocast(encoder, self.precision)
        if self.preprocessing:
            encoder.spec = prepared_spec(encoder.spec, self.preprocessing)
        return self.place(encoder)

    def place(self, encoder: Encoder) -> Encoder:
        """A built encoder, in evaluation mode, on this process's device."""
        return encoder.eval().requires_grad_(False).to(self.resolve_device())

    def made_with(self) -> dict[str, str]:
        """The folder, module or weights file of an encoder that cannot be found again by its name in the recipe."""
        said = {}
        if isinstance(self.encoder, str) and self.encoder not in ENCODERS:
            folder = Path(self.encoder.removeprefix("hf:")).expanduser()
            if names_code(self.encoder):
                said["encoder"] = self.encoder
            elif folder.is_dir():
                said["encoder"] = str(folder.absolute())
        if self.weights is not None and Path(self.weights).expanduser().exists():
            said["weights"] = str(Path(self.weights).expanduser().absolute())
        return said

    def resolve_device(self) -> str:
        """The name of the device in torch."""
        if self.device != "auto":
            return self.device
        import torch

        return "cuda:0" if torch.cuda.is_available() else "cpu"

    def sampling_for(self, spec: EncoderSpec) -> Sampling:
        """The sampling in force: the job's, else the encoder's default."""
        return self.sampling if self.sampling is not None else spec.sampling

    def pooling_for(self, spec: EncoderSpec) -> str:
        """The pooling in force: the job's, else the encoder's default. Raises `EncoderError` if it has none such."""
        pooling = self.pooling if self.pooling is not None else spec.default_pooling
        if pooling not in spec.poolings:
            raise EncoderError(f"{spec.name}: pooling={pooling!r} is not one of its {', '.join(spec.poolings)}")
        return pooling


def prepared_spec(spec: EncoderSpec, changes: dict[str, Any]) -> EncoderSpec:
    """The spec with other preprocessing; `ConfigError` for a field that does not exist or has an impossible value."""
    return replace(spec, preprocessing=replace(spec.preprocessing, **changes))
