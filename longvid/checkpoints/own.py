"""Any model that `save_weights` wrote: encoders and long-range decoders."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from longvid.checkpoints.official import OFFICIAL, official_layout
from longvid.weights.saved import load_saved


def load_weights(path: str | Path) -> nn.Module:
    """The module that `save_weights` wrote, built from the configuration in the file, in evaluation mode.

    Raises `WeightsError` for a file that longvid did not write, and for one whose weights or configuration do not fit.
    """
    from longvid.decoders import DECODERS, DecoderEntry

    builders: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
        name: partial(_build_official, name) for name in OFFICIAL
    }
    own = [name for name, entry in DECODERS.items() if isinstance(entry, DecoderEntry)]
    return load_saved(path, builders | {name: partial(_build_decoder, name) for name in own})


def _build_official(name: str, config: dict[str, Any]) -> nn.Module:
    return official_layout(name).from_config(config)


def _build_decoder(name: str, config: dict[str, Any]) -> nn.Module:
    from longvid.decoders import DECODERS, DecoderEntry

    entry = DECODERS[name]
    assert isinstance(entry, DecoderEntry)
    return entry.module(entry.config(**config))
