"""Reading a pretraining run, and starting a decoder from it.

    record = read_pretrained("runs/pre")
    take_over(decoder, "runs/pre", record)         # everything below the head
    model = load_pretrained("runs/pre")            # with its objective, for surprise over time

The folder is only data, as that of a training (`longvid.trained`): the weights must have the sha256 that was recorded.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from longvid.decoders import DECODERS, Decoder
from longvid.decoders.depth import in_any
from longvid.decoders.segmentation.refined import Refined
from longvid.decoders.standardise import Standardised
from longvid.errors import ConfigError, DecoderError, WeightsError
from longvid.hub import local_run
from longvid.paths import inside
from longvid.pretraining.models import PretrainingModel, pretraining_model
from longvid.pretraining.objective import Objective
from longvid.trained import DecoderRecord, read_made
from longvid.validation import made
from longvid.weights import state_sha256
from longvid.weights.files import read_safetensors, read_shapes
from longvid.weights.fit import fit_shapes, fit_state

FORMAT = 1
"""Version of the format of a pretraining's folder (`pretrain.json`)."""
RECORD_FILE, WEIGHTS_FILE, RESULT_FILE = "pretrain.json", "pretrained.safetensors", "result.json"
TRAIN_AGAIN = "pretrain again with `longvid pretrain`"


@dataclass(frozen=True)
class PretrainedRecord:
    """What was pretrained on what: enough to build the model again."""

    decoder: DecoderRecord
    objective: dict[str, Any]
    num_tokens: int
    store_recipe: dict[str, Any]
    """How the features were made (`stores.Recipe`); all stores of a pretraining have the same."""
    stores: list[str]
    videos: dict[str, list[str]]
    """Keys of the videos by part: `train` and `val`, and `short`, which were left out."""
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def build(self) -> PretrainingModel:
        """The model, freshly initialised."""
        objective = Objective(**self.objective)
        return pretraining_model(self.decoder.build(), objective, dim=self.decoder.dim, num_tokens=self.num_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def read_pretrained(run: str | Path) -> PretrainedRecord:
    """What a pretraining run says about itself. Raises `ConfigError` for a folder without one."""
    folder = local_run(run)
    if not inside(folder, RECORD_FILE).is_file():
        other = " (it holds a training run)" if inside(folder, "run.json").is_file() else ""
        raise ConfigError(
            f"{folder}: holds no pretraining run{other}; make one with `longvid pretrain STORE out={folder}`"
        )

    def parts(values: dict[str, Any]) -> PretrainedRecord:
        if values.get("format") != FORMAT:
            raise ConfigError(f"{folder}: pretraining of format {values.get('format')!r}, this version reads {FORMAT}")
        return made(PretrainedRecord, values)

    record = read_made(inside(folder, RECORD_FILE), parts, remedy=TRAIN_AGAIN)
    if record.decoder.name not in DECODERS:
        raise DecoderError(
            f"{folder} names the decoder {record.decoder.name!r}, which is not one of {', '.join(DECODERS)}; nothing "
            "is imported because a file names it: put one of your own into longvid.DECODERS first"
        )
    return record


def load_pretrained(run: str | Path) -> PretrainingModel:
    """The pretrained model with its objective, in evaluation mode.

    Raises `ConfigError` for a run that is not finished, `WeightsError` for weights that are not those it ended with.
    """
    folder = local_run(run)
    record = read_pretrained(folder)
    if not inside(folder, RESULT_FILE).is_file():
        raise ConfigError(f"{folder}: its pretraining is not finished; run the same `longvid pretrain` again")
    noted = read_made(inside(folder, RESULT_FILE), lambda values: values["weights_sha256"], remedy=TRAIN_AGAIN)
    weights = inside(folder, WEIGHTS_FILE)
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such file; {TRAIN_AGAIN}")
    held = sum(tensor.numel() for tensor in read_shapes(weights).values())
    largest = max([record.decoder.dim, record.decoder.outputs, *_counts(record.decoder.options)])
    if largest > max(2**16, held):
        raise ConfigError(f"{folder}: its decoder counts {largest}, too much for the {held:,} numbers of {weights}")
    model = record.build()
    fit_state(model, read_safetensors(weights).state, source=str(weights))
    if state_sha256(model.state_dict()) != noted:
        raise WeightsError(
            f"{weights}: is not what was pretrained (another sha256); copy the run again, or {TRAIN_AGAIN}"
        )
    return model.eval()


def _counts(options: dict[str, Any]) -> list[int]:
    return [value for value in options.values() if isinstance(value, int)]


def take_over(decoder: Decoder, run: str | Path) -> list[str]:
    """Copy everything below the head from a pretraining run; returns the names of what keeps its own start.

    Raises `WeightsError` in one line if the decoder has other parts or sizes than the pretrained one.
    """
    state = load_pretrained(run).decoder.state_dict()
    heads = decoder.head_names
    state = {_place_in(decoder, name): tensor for name, tensor in state.items()}
    body = {name: tensor for name, tensor in state.items() if not in_any(name, heads)}
    own = [name for name in decoder.state_dict() if in_any(name, heads)]
    fit_shapes(decoder, body, source=str(run), optional=own)
    fit_state(decoder, body, source=str(run), optional=own)
    return own


def _place_in(decoder: Decoder, name: str) -> str:
    """The name of a pretrained tensor in a decoder that refinement stages may follow."""
    prefix = "decoder." if isinstance(decoder, Standardised) else ""
    refined = isinstance(decoder.get_submodule("decoder") if prefix else decoder, Refined)
    return f"{prefix}decoder.{name.removeprefix(prefix)}" if refined and name.startswith(prefix) else name


def freeze_body(decoder: Decoder) -> None:
    """Leave only the head to be trained."""
    for name, parameter in decoder.named_parameters():
        if not in_any(name, decoder.head_names):
            parameter.requires_grad_(False)


def keep_frozen_still(decoder: Decoder) -> None:
    """Evaluation mode for every part without a trained parameter: no dropout before the head."""
    for module in decoder.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
