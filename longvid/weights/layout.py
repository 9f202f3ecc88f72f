"""Published checkpoints: what their authors called the weights.

A model's `official` module holds one `OfficialLayout` named `LAYOUT`: how to read the sizes off a checkpoint, and the
table from the authors' names to longvid's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from longvid.weights.files import Checkpoint, read_checkpoint
from longvid.weights.fit import fit_state


def _same(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state


def _the_only(checkpoint: Checkpoint, config: dict[str, Any]) -> Checkpoint:
    return checkpoint


@dataclass(frozen=True)
class OfficialLayout:
    """What one group of authors called their weights, and how that becomes our module."""

    build: Callable[..., nn.Module]
    """`build(checkpoint, **config)` gives the module of the right sizes, in any mode, with weights of any values.

    Sizes come from the checkpoint's shapes where they can; what the weights cannot tell (and the checkpoint's own
    configuration text does not) must be in `config`, else `WeightsError` naming the option.
    """
    from_config: Callable[[dict[str, Any]], nn.Module]
    """`from_config(config)` gives the module from the plain JSON values that `save_weights` keeps."""
    renames: tuple[tuple[str, str], ...]
    """(regular expression at the start of the official name, what replaces it); the first that matches counts."""
    unused: tuple[str, ...] = ()
    """Regular expressions of whole official names that are known and play no part in the model."""
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] = field(default=_same)
    """Changes official tensors before renaming: splits, merges, complex pairs."""
    choose: Callable[[Checkpoint, dict[str, Any]], Checkpoint] = field(default=_the_only)
    """`choose(checkpoint, config)` gives the checkpoint of one model, where a file lists several or has another layout.

    Takes out of `config` what only says which model is meant.
    """
    optional: tuple[str, ...] = ()
    """Regular expressions of our names that a checkpoint need not hold (counters, buffers we compute)."""

    def rename(self, name: str) -> str | None:
        """Our name of an official entry; None for a known unused one. Raises `LookupError` for an unknown name."""
        if any(re.fullmatch(pattern, name) for pattern in self.unused):
            return None
        for pattern, ours in self.renames:
            renamed, hits = re.subn(rf"\A(?:{pattern})", ours, name)
            if hits:
                return renamed
        raise LookupError(name)


def load_layout(layout: OfficialLayout, source: str | Path | Mapping[str, Any], **config: Any) -> nn.Module:
    """The model of a layout with the weights of its authors' checkpoint, in evaluation mode.

    `source` and `config`: as for `longvid.load_official`, which finds the layout by the architecture's name.
    """
    checkpoint = layout.choose(read_checkpoint(source), config)
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
