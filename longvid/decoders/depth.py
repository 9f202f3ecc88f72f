"""Learning rates that fall with depth, for pretrained decoders.

The head has the full rate, every layer below it `decay` times that of the layer above: early layers, which are general,
change least (BEiT, arXiv 2106.08254, and MAE's fine-tuning, which use 0.65 to 0.75 over 12 to 24 layers).
"""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from longvid.decoders.base import Decoder

LAYER = re.compile(r"(?:^|\.)(?:blocks|layers|exchanges)\.(\d+)\.")
CELL = re.compile(r"_l(\d+)(?:_reverse)?$")
"""How torch's LSTM and GRU name the weights of their layers."""


def layer_depths(decoder: Decoder) -> dict[str, int]:
    """Depth of every parameter, by name: 0 before the first layer, then one per layer, the head last."""
    names = [name for name, _ in decoder.named_parameters()]
    body = {name: _layer(name) for name in names if not in_any(name, decoder.head_names)}
    last = max(body.values(), default=0)
    return {
        name: last + 1 if name not in body else last if in_any(name, decoder.last_names) else body[name]
        for name in names
    }


def in_any(name: str, modules: Iterable[str]) -> bool:
    """Whether a parameter is in one of the named submodules."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def with_layer_rates(groups: list[dict[str, Any]], decoder: Decoder, decay: int | float) -> list[dict[str, Any]]:
    """The optimiser's groups, each cut by depth, with the rate of its depth; the head's come first."""
    depths = layer_depths(decoder)
    top = max(depths.values(), default=0)
    depth_of = {id(parameter): depths[name] for name, parameter in decoder.named_parameters()}
    cut = []
    for group in groups:
        by_depth: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_depth.setdefault(depth_of[id(parameter)], []).append(parameter)
        cut += [
            (depth, group | {"params": own, "lr": group["lr"] * decay ** (top - depth)})
            for depth, own in by_depth.items()
        ]
    return [group for _, group in sorted(cut, key=lambda pair: -pair[0])]


def _layer(name: str) -> int:
    found = LAYER.search(name) or CELL.search(name)
    return 1 + int(found[1]) if found else 0
