"""Models from their authors' checkpoints.

Each architecture's module defines an `OfficialLayout` named `LAYOUT`: how to read the model's sizes from a checkpoint,
and a table from the authors' names to ours. `OFFICIAL` names that module, so that it is imported only when it is used;
a new architecture is one line here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from longvid.errors import WeightsError
from longvid.weights.files import Checkpoint, read_checkpoint
from longvid.weights.fit import fit_state

OFFICIAL: dict[str, str] = {
    "dualformer": "longvid.encoders.dualformer.official",
    "mobile_former": "longvid.encoders.mobile_former.official",
    "vis4mer": "longvid.decoders.vis4mer_official",
    "xvit": "longvid.encoders.xvit.official",
}
"""Architecture -> the module whose `LAYOUT` describes its published checkpoints."""


def _same(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state


@dataclass(frozen=True)
class OfficialLayout:
    """The names that one group of authors gave their weights, and how to build our module from them."""

    build: Callable[..., nn.Module]
    """build(checkpoint, **config) -> a module of the right sizes, in any mode and with any weights.

    Sizes come from the checkpoint's shapes where possible. What neither these nor the checkpoint's own configuration
    text show must be in `config`; otherwise it raises a `WeightsError` that names the option.
    """
    from_config: Callable[[dict[str, Any]], nn.Module]
    """from_config(config) -> the module, from the plain JSON values that `save_weights` stores."""
    renames: tuple[tuple[str, str], ...]
    """(regular expression for the start of the official name, its replacement); the first that matches is used."""
    unused: tuple[str, ...] = ()
    """Regular expressions for whole official names that are known but not needed by the model."""
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] = field(default=_same)
    """Changes official tensors before they are renamed: splits and merges them, makes complex numbers of pairs."""
    optional: tuple[str, ...] = ()
    """Regular expressions for our names that a checkpoint need not hold (counters, buffers we compute)."""

    def rename(self, name: str) -> str | None:
        """Our name for an official entry; None for a known unused one. Raises `LookupError` for an unknown name."""
        if any(re.fullmatch(pattern, name) for pattern in self.unused):
            return None
        for pattern, ours in self.renames:
            renamed, hits = re.subn(rf"\A(?:{pattern})", ours, name)
            if hits:
                return renamed
        raise LookupError(name)


def official_layout(name: str) -> OfficialLayout:
    """The layout of an architecture's published checkpoints."""
    if name not in OFFICIAL:
        raise WeightsError(f"{name!r}: no official weights layout; there are {', '.join(sorted(OFFICIAL))}")
    layout: OfficialLayout = import_module(OFFICIAL[name]).LAYOUT
    return layout


def load_official(name: str, source: str | Path | Mapping[str, Any], **config: Any) -> nn.Module:
    """The model of architecture `name` with the weights of its authors' checkpoint, in evaluation mode.

    `source`: a path (.safetensors, .pth, .pyth, .pt), or the loaded state dict, bare or in its container
    (`model_state`, `state_dict`, `model`, `state_dict_ema`; a common `module.` prefix is dropped). `config`: what the
    weights do not show, see the architecture's `build`. Raises a `WeightsError` that lists every missing, unknown and
    wrongly shaped entry, or says that a pickle holds more than tensors.
    """
    layout = official_layout(name)
    checkpoint = read_checkpoint(source)
    module = layout.build(checkpoint, **config)
    fit_official(module, layout, checkpoint)
    return module.eval()


def fit_official(module: nn.Module, layout: OfficialLayout, checkpoint: Checkpoint) -> None:
    """Rename the checkpoint's entries by `layout` and copy them into `module`, strictly."""
    renamed: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in layout.prepare(dict(checkpoint.state)).items():
        try:
            ours = layout.rename(name)
        except LookupError:
            unknown.append(name)
            continue
        if ours in renamed:
            unknown.append(f"{name} (a second {ours})")
        elif ours is not None:
            renamed[ours] = tensor
    optional = [name for name in module.state_dict() if any(re.fullmatch(part, name) for part in layout.optional)]
    fit_state(module, renamed, source=checkpoint.source, optional=optional, unknown=unknown)
