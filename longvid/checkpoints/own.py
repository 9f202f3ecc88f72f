"""Longvid's own weights: safetensors with the configuration inside."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longvid.checkpoints.official import OFFICIAL, official_layout
from longvid.errors import WeightsError
from longvid.weights.files import read_safetensors
from longvid.weights.fit import fit_shapes, fit_state

HEADER = "longvid"
"""Key of the header entry that marks a file as longvid's."""

FORMAT = 1


@dataclass(frozen=True)
class OwnWeights:
    """The content of a file that `save_weights` wrote."""

    architecture: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    extra: dict[str, Any]
    """Other notes of the writer: data set, epoch, score."""


def save_weights(
    module: nn.Module, path: str | Path, *, architecture: str, config: Any, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write the module's state and how to build the module again; the file appears whole or not at all.

    `config`: a dataclass or a dict of plain JSON values.
    """
    from safetensors.torch import save_file

    target = Path(path)
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: longvid writes weights as .safetensors files; give it that suffix")
    settings = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    header = {"format": FORMAT, "architecture": architecture, "config": settings, "extra": dict(extra or {})}
    # clones, because safetensors refuses tensors that share memory; tied weights are loaded by name anyway
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    partial = target.with_name(f".{target.name}.partial")
    save_file(state, partial, metadata={HEADER: json.dumps(header, sort_keys=True)})
    return partial.replace(target)


def read_weights(path: str | Path) -> OwnWeights:
    """Architecture, configuration and state of a file that `save_weights` wrote."""
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
    return OwnWeights(architecture, config, checkpoint.state, extra)


def load_weights(path: str | Path) -> nn.Module:
    """The module that `save_weights` saved, built from the configuration in the file, in evaluation mode."""
    weights = read_weights(path)
    try:
        # on the meta device first: sizes in a false header take no memory then; HiPPO's start needs real numbers
        with suppress(NotImplementedError), torch.device("meta"):
            fit_shapes(_build(weights, path), weights.state, source=str(path))
        module = _build(weights, path)
    except WeightsError:
        raise
    except Exception as error:  # impossible sizes fail wherever the model first uses them
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise WeightsError(
            f"{path}: this longvid cannot build {weights.architecture} from the configuration inside ({reason}); "
            "it was written by another version, or is damaged"
        ) from error
    fit_state(module, weights.state, source=str(path))
    return module.eval()


def _build(weights: OwnWeights, path: str | Path) -> nn.Module:
    """The module: an encoder from its official layout, a decoder from its entry in `DECODERS`."""
    from longvid.decoders import DECODERS

    if weights.architecture in OFFICIAL:
        return official_layout(weights.architecture).from_config(weights.config)
    if weights.architecture in DECODERS:
        entry = DECODERS[weights.architecture]
        return entry.module(entry.config(**weights.config))
    known = ", ".join(sorted({*OFFICIAL, *DECODERS}))
    raise WeightsError(f"{path}: architecture {weights.architecture!r} is not one of {known}")
