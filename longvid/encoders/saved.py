"""Weights learned here, with their input and their projector.

`build_encoder(name, weights="best.safetensors")` reads both: frames, size and rate become the encoder's own unless they
are given, and with a projector the encoder's tokens are in the space of the teacher it was distilled from.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from longvid.encoders.base import Encoder, EncoderOutput
from longvid.errors import WeightsError
from longvid.validation import made
from longvid.weights import state_sha256
from longvid.weights.fit import fit_state
from longvid.weights.saved import HEADER, read_weights, save_weights

HUGGINGFACE = "huggingface"
"""Architecture that files of Hugging Face models name."""


@dataclass(frozen=True)
class InputRecord:
    """The clips that weights were learned on."""

    frames: int
    size: int
    """Pixels per side."""
    fps: float
    pooling: str | None = None
    """Tokens that a distillation matched, which are the default then; None: the encoder's own."""


@dataclass(frozen=True)
class ProjectorRecord:
    """What a projector that stays with a student is for."""

    teacher: str
    """Name of the teacher's encoder."""
    pooling: str
    """How the teacher's features were pooled; `embedding`: they share their space with text."""


def save_learned(
    encoder: nn.Module,
    path: str | Path,
    *,
    architecture: str,
    config: Any,
    input_record: InputRecord | None,
    beside: Mapping[str, nn.Module],
    extra: Mapping[str, Any] | None,
) -> Path:
    """Write the weights with what they were learned on; `beside`: a head, or a projector, by name."""
    noted = dict(extra or {}) | ({"input": asdict(input_record)} if input_record is not None else {})
    return save_weights(encoder, path, architecture=architecture, config=config, extra=noted, beside=beside)


def recorded_options(weights: str | None) -> dict[str, Any]:
    """Frames, size and rate that a file of ours was learned on; nothing for any other weights."""
    if weights is None or not is_learned(weights):
        return {}
    noted = read_weights(weights).extra.get("input")
    try:
        options = {} if noted is None else asdict(made(InputRecord, noted))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{weights}: its header is not what longvid writes ({error}); save it again") from None
    options.pop("pooling", None)
    return options


def is_learned(weights: str | Path) -> bool:
    """Whether the path is a safetensors file that longvid wrote."""
    path = Path(weights)
    return path.suffix == ".safetensors" and path.is_file() and HEADER in _header(path)


def _header(path: Path) -> Mapping[str, str]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except Exception:  # noqa: BLE001 -- whoever reads the weights says what is wrong with them
        return {}


def as_learned(encoder: Encoder, weights: str | None) -> Encoder:
    """The encoder with the pooling that was matched, in the teacher's space if the file holds a projector."""
    if weights is None or not is_learned(weights):
        return encoder
    extra = read_weights(weights).extra
    kept, noted = extra.get("projector"), extra.get("input")
    pooling = noted.get("pooling") if isinstance(noted, dict) else None
    if pooling in encoder.spec.poolings:
        encoder.spec = replace(encoder.spec, default_pooling=pooling)
    if kept is None:
        return encoder
    state = {
        name.removeprefix("projector."): tensor
        for name, tensor in read_weights(weights).beside.items()
        if name.startswith("projector.")
    }
    if set(state) != {"weight", "bias"} or state["weight"].ndim != 2:
        raise WeightsError(f"{weights}: its projector is not a linear layer; save it again")
    projector = nn.Linear(state["weight"].shape[1], state["weight"].shape[0])
    fit_state(projector, state, source=f"{weights}: projector")
    try:
        record = made(ProjectorRecord, kept)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{weights}: its header is not what longvid writes ({error}); save it again") from None
    return Projected(encoder, projector, record)


class Projected(Encoder):
    """A student whose tokens are taken into its teacher's space by the linear layer it was distilled with.

    Means of tokens are the projections of means, so `mean` and `spatial` are what distillation matched. With a teacher
    whose vectors share a space with text, `embedding` is the mean.
    """

    def __init__(self, encoder: Encoder, projector: nn.Linear, record: ProjectorRecord) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.record = record
        poolings = ("tokens", "spatial", "temporal", "mean")
        self.spec = replace(
            encoder.spec,
            default_pooling="spatial" if encoder.spec.default_pooling == "spatial" else "mean",
            poolings=(*poolings, "embedding") if record.pooling == "embedding" else poolings,
            config={**encoder.spec.config, "projector": asdict(record) | {"dim": projector.out_features}},
            weights_sha256=state_sha256(self.state_dict()),
        )

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """The student's tokens in the teacher's space."""
        tokens = self.projector(self.encoder(clips).tokens)
        embedding = tokens.mean(dim=(1, 2)) if self.record.pooling == "embedding" else None
        return EncoderOutput(tokens, embedding=embedding)


def fit_learned(encoder: Encoder, path: str | Path, *, architecture: str) -> None:
    """Fit the weights that were learned here into an encoder that was built from its configuration alone."""
    weights = read_weights(path)
    if weights.architecture != architecture:
        raise WeightsError(f"{path}: architecture {weights.architecture!r} is not {architecture}; name its own encoder")
    if weights.config.get("model") != encoder.spec.config.get("model"):
        raise WeightsError(f"{path}: these weights are for a model other than {encoder.spec.name}")
    fit_state(encoder, weights.state, source=str(path))
    digest = state_sha256(encoder.state_dict())
    encoder.spec = replace(encoder.spec, weights=str(path), weights_sha256=digest, weights_seed=None)
