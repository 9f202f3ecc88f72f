"""Reading checkpoint files: tensors only, never code.

The state dict is found inside whatever container the training program put it into.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.errors import WeightsError, short_reason

CONTAINERS = ("model_state", "state_dict_ema", "state_dict", "model_ema", "model", "module")
"""Keys under which training programs (PySlowFast, timm, mmcv, fairseq) keep the weights; the first present one wins."""

LISTS = ("classifiers",)
"""Keys under which a program that trains several models side by side (V-JEPA 2's probes) keeps a list of weights."""

PREFIXES = ("module.", "_orig_mod.")
"""What data-parallel training and torch.compile put before every name."""

HARMLESS = ("Detected pickle protocol", "TypedStorage is deprecated")
"""Starts of what torch warns of while it reads a file that is in order; any other warning is shown."""

COMPLEX = {"C64": torch.complex64}
"""Complex types, by their name in a safetensors header."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one checkpoint, and what the file held beside them."""

    state: dict[str, Tensor]
    beside: dict[str, Any] = field(default_factory=dict)
    """Other entries of the container (epoch, configuration text), or the header metadata of a safetensors file."""
    source: str = "the state given"
    listed: tuple[dict[str, Tensor], ...] = ()
    """Every state dict of a file that holds a list of them; `state` is the first."""


def read_checkpoint(source: str | Path | Mapping[str, Any]) -> Checkpoint:
    """The state dict of a file (safetensors, or a torch file with tensors only) or of a loaded container.

    A folder means the `model.safetensors` in it. A prefix that all names share (`module.`) is dropped.

    Raises `WeightsError` for a missing file, one that is not a checkpoint, a pickle with code, and a container
    without a state dict.
    """
    if isinstance(source, Mapping):
        return _unwrap(source, "the state given")
    path = Path(source)
    if path.is_dir():
        path = path / "model.safetensors"
    if path.suffix == ".safetensors":
        checkpoint = read_safetensors(path)
        return replace(checkpoint, state=_strip(checkpoint.state))
    return _unwrap(read_torch(path), str(path))


def read_safetensors(path: Path) -> Checkpoint:
    """The tensors and the header metadata of a safetensors file, unchanged."""
    with _opened(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        beside = dict(file.metadata() or {})
    _refuse_unheld(state, str(path))
    return Checkpoint(state, beside, str(path))


def read_shapes(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file without their numbers: on the meta device, from the header alone."""
    with _opened(path) as file:
        stored = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return {
            name: torch.empty(part.get_shape(), device="meta", dtype=COMPLEX.get(part.get_dtype()))
            for name, part in stored.items()
        }


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, open; `WeightsError` if there is none, or if anything in it cannot be read."""
    from safetensors import safe_open

    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except Exception as error:  # SafetensorError, and torch's own for shapes and types it does not know
        raise WeightsError(
            f"{path}: not a safetensors file, or cut short ({short_reason(error)}); copy or fetch it again"
        ) from error


def read_torch(path: Path) -> Mapping[str, Any]:
    """What the file holds, if that is tensors and plain values; the unpickler knows no other types."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _refuse_packed(path)
        with warnings.catch_warnings():
            for message in HARMLESS:
                warnings.filterwarnings("ignore", message=message)
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds Python objects beside tensors, and loading them would run code from the file; save its "
            f"state dict alone, as .safetensors, where you trust it{_forbidden(error)}"
        ) from error
    except Exception as error:  # damaged bytes make an unpickler raise anything, MemoryError included
        raise WeightsError(
            f"{path}: not a checkpoint torch can read ({short_reason(error)}); copy or fetch it again"
        ) from error
    if not isinstance(held, Mapping):
        raise WeightsError(f"{path}: holds a {type(held).__name__}, not a state dict")
    if not all(isinstance(name, str) for name in held):
        raise WeightsError(f"{path}: holds entries without a name, so it is not a state dict")
    return held


def _refuse_packed(path: Path) -> None:
    """Raises `WeightsError` for an archive with compressed entries: torch writes none, and a zip bomb needs them."""
    with zipfile.ZipFile(path) as archive:
        packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise WeightsError(
            f"{path}: not a torch checkpoint ({packed[0]!r} in it is compressed); load it where you trust it and "
            "save its state dict as .safetensors"
        )


def _refuse_unheld(state: Mapping[str, Any], source: str) -> None:
    """Raises `WeightsError` for a tensor that is sparse, or whose shape has more numbers than the file holds for it.

    A stored tensor may repeat one number by a stride of 0, so a few bytes could claim any shape.
    """
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            continue
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            raise WeightsError(f"{source}: {name!r} is not a plain tensor; save the state dict as .safetensors")
        claimed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if claimed > held:
            raise WeightsError(
                f"{source}: {name!r} claims {claimed:,} bytes of shape {tuple(tensor.shape)}, holds {held:,}"
            )


def _forbidden(error: pickle.UnpicklingError) -> str:
    """What the file wanted to import, where torch's message names it."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    return f" (it asks for {asked[1]})" if asked else ""


def _unwrap(container: Mapping[str, Any], source: str) -> Checkpoint:
    """The state dict inside its container, and the other entries; a bare state dict is its own container."""
    for name in CONTAINERS:
        inner = container.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            beside = {key: value for key, value in container.items() if key != name}
            return Checkpoint(_strip(_tensors(inner, source)), beside, source)
    for name in LISTS:
        several = container.get(name)
        if isinstance(several, list | tuple) and several and all(isinstance(one, Mapping) for one in several):
            listed = tuple(_strip(_tensors(one, source)) for one in several)
            beside = {key: value for key, value in container.items() if key != name}
            return Checkpoint(listed[0], beside, source, listed)
    return Checkpoint(_strip(_tensors(container, source)), {}, source)


def _tensors(state: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others or not state:
        what = f"entries that are not tensors: {', '.join(others[:8])}" if others else "no entries"
        raise WeightsError(f"{source}: no state dict under {', '.join(CONTAINERS)}, and by itself it has {what}")
    unnamed = [name for name in state if not isinstance(name, str)]
    if unnamed:
        raise WeightsError(f"{source}: its state dict has the entry {unnamed[0]!r:.80}, which is not a name")
    _refuse_unheld(state, source)
    return dict(state)


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without the prefixes that all of its names share."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _strip({name.removeprefix(prefix): tensor for name, tensor in state.items()}) if state else state
    return state
