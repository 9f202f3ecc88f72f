"""Weights that longvid saved: safetensors with a model's settings."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longvid.errors import WeightsError, short_reason
from longvid.files import replacing
from longvid.weights.digest import state_sha256
from longvid.weights.files import Checkpoint, read_safetensors
from longvid.weights.fit import fit_shapes, fit_state

HEADER = "longvid"
"""Key of the header entry that marks a file as ours."""

BESIDE = "beside:"
"""Start of the names of entries that are not the module's own: a head, a projector."""

FORMAT = 1


@dataclass(frozen=True)
class OwnWeights:
    """What a file of ours holds."""

    architecture: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    extra: dict[str, Any]
    """Whatever else the writer noted: data set, epoch, score."""
    beside: dict[str, Tensor] = field(default_factory=dict)
    """Entries that are not the module's own, `head.1.weight`."""


def save_weights(
    module: nn.Module,
    path: str | Path,
    *,
    architecture: str,
    config: Any,
    extra: Mapping[str, Any] | None = None,
    beside: Mapping[str, nn.Module] | None = None,
) -> Path:
    """Write the module's state and how to build it again; the file appears whole or not at all.

    `config`: a dataclass or a dict of plain JSON values. `beside`: other modules whose state stands beside it, by name.
    """
    from safetensors.torch import save_file

    target = Path(path)
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: our weights are .safetensors files; give it that suffix")
    settings = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    header = {"format": FORMAT, "architecture": architecture, "config": settings, "extra": dict(extra or {})}
    # a clone each: safetensors refuses tensors that share memory, and tied weights are loaded by name anyway
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    for part, other in (beside or {}).items():
        for name, tensor in other.state_dict().items():
            state[f"{BESIDE}{part}.{name}"] = tensor.detach().cpu().contiguous().clone()
    header = json.loads(json.dumps(header))  # as it is read again
    header["sha256"] = _digest(header, state)
    with replacing(target) as temporary:
        save_file(state, temporary, metadata={HEADER: json.dumps(header, sort_keys=True)})
    return target


def _digest(header: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Sha256 (hex) of all that a file holds: settings, names, shapes, numbers."""
    settings = json.dumps({name: value for name, value in header.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256(f"{settings}\n{state_sha256(state)}".encode()).hexdigest()


def read_weights(path: str | Path) -> OwnWeights:
    """Architecture, configuration and state of a file that `save_weights` wrote; what stands beside it apart.

    Raises `WeightsError` for what `save_weights` did not write, or not so: a bit that has changed is noticed.
    """
    checkpoint = read_safetensors(Path(path))
    text = checkpoint.beside.get(HEADER)
    if text is None:
        raise WeightsError(f"{path}: not written by longvid (no configuration in its header); use load_official")
    try:
        header = json.loads(text)
        written, architecture = header["format"], header["architecture"]
        config, extra = header["config"], header["extra"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: its header is not what longvid writes ({error!r:.200}); save it again") from error
    if written != FORMAT:
        raise WeightsError(f"{path}: weights format {written!r:.80}, this longvid reads {FORMAT}: update longvid")
    if not (isinstance(architecture, str) and isinstance(config, dict) and isinstance(extra, dict)):
        raise WeightsError(f"{path}: its header is not what longvid writes (types of its fields); save it again")
    # the first files of this format have no digest
    if "sha256" in header and header["sha256"] != _digest(header, checkpoint.state):
        raise WeightsError(f"{path}: is damaged, it is not what was saved (another sha256); copy or save it again")
    state = {name: tensor for name, tensor in checkpoint.state.items() if not name.startswith(BESIDE)}
    others = {name.removeprefix(BESIDE): checkpoint.state[name] for name in checkpoint.state.keys() - state.keys()}
    return OwnWeights(architecture, config, state, extra, others)


def is_saved(checkpoint: Checkpoint) -> bool:
    """Whether `save_weights` wrote the file."""
    return HEADER in checkpoint.beside


def load_saved(path: str | Path, builders: Mapping[str, Callable[[dict[str, Any]], nn.Module]]) -> nn.Module:
    """The module that `save_weights` wrote, built by its architecture's builder, in evaluation mode.

    `builders`: from an architecture's name to a function of its configuration. Raises `WeightsError` for another
    architecture, and for a configuration or weights that do not fit.
    """
    weights = read_weights(path)
    if weights.architecture not in builders:
        known = ", ".join(sorted(builders))
        raise WeightsError(
            f"{path}: holds weights of another architecture ({weights.architecture}), not of {known}; give weights of "
            "this one, or name the encoder that they are for"
        )
    build = builders[weights.architecture]
    try:
        # first without memory for its numbers, whatever sizes the header claims
        with torch.device("meta"):
            fit_shapes(build(weights.config), weights.state, source=str(path))
        module = build(weights.config)
    except WeightsError:
        raise
    except Exception as error:  # impossible sizes fail wherever the model first meets them
        raise WeightsError(
            f"{path}: this longvid cannot build {weights.architecture} from the configuration inside "
            f"({short_reason(error)}); it was written by another version, or is damaged"
        ) from error
    fit_state(module, weights.state, source=str(path))
    return module.eval()
