"""Models from their authors' checkpoints, by the architecture's name.

`OFFICIAL` says in which module the layout of an architecture is, so that nothing is imported before it is asked for; a
new architecture is one line here.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from longvid.errors import WeightsError
from longvid.weights.layout import OfficialLayout, load_layout

OFFICIAL: dict[str, str] = {
    "asformer": "longvid.decoders.segmentation.official:ASFORMER",
    "attentive": "longvid.decoders.attentive.official",
    "dualformer": "longvid.encoders.dualformer.official",
    "ltcontext": "longvid.decoders.segmentation.official:LTCONTEXT",
    "lv_mae": "longvid.decoders.lv_mae.official",
    "mobile_former": "longvid.encoders.mobile_former.official",
    "ms-tcn": "longvid.decoders.segmentation.official:MS_TCN",
    "ms-tcn++": "longvid.decoders.segmentation.official:MS_TCN_PLUS_PLUS",
    "vis4mer": "longvid.decoders.vis4mer_official",
    "xvit": "longvid.encoders.xvit.official",
}
"""Architecture -> the module whose `LAYOUT` (or what stands after a colon) describes its published checkpoints."""


def official_layout(name: str) -> OfficialLayout:
    """The layout of an architecture's published checkpoints."""
    if name not in OFFICIAL:
        raise WeightsError(f"{name!r}: no official weights layout; there are {', '.join(sorted(OFFICIAL))}")
    module, _, attribute = OFFICIAL[name].partition(":")
    layout: OfficialLayout = getattr(import_module(module), attribute or "LAYOUT")
    return layout


def load_official(name: str, source: str | Path | Mapping[str, Any], **config: Any) -> nn.Module:
    """The model of architecture `name` with the weights of its authors' checkpoint, in evaluation mode.

    `source`: a path (.safetensors, .pth, .pyth, .pt), or the loaded state dict, bare or in its container
    (`model_state`, `state_dict`, `model`, `state_dict_ema`; a common `module.` prefix is dropped). `config`: what the
    weights do not show, see the architecture's `build`. Raises a `WeightsError` that lists every missing, unknown and
    wrongly shaped entry, or says that a pickle holds more than tensors.
    """
    return load_layout(official_layout(name), source, **config)
