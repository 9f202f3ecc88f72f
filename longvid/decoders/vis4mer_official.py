"""Reads ViS4mer checkpoints as the authors' code writes them.

The code is md-mohaiminul/ViS4mer at 2a2442b. Its S4 layer keeps B and p in one tensor, C and q in another, and saves
the FFT nodes of its internal length, which cannot be read from anything else. Where that length is odd, its kernel
differs from the exact one and trained weights have adapted to it, so the official kernel is the default here.
"""

import math
import re
from typing import Any

from torch import Tensor

from longvid.decoders.vis4mer import ViS4mer, ViS4merConfig
from longvid.errors import WeightsError
from longvid.weights.files import Checkpoint
from longvid.weights.layout import OfficialLayout

KRYLOV = r"s4_layers\.(\d+)\.kernel\.krylov\."
OUTPUT_BIAS = r"s4_layers\.(\d+)\.output_linear\.bias"
"""Official names of the biases that are stored as (width, 1)."""


def build(checkpoint: Checkpoint, **config: Any) -> ViS4mer:
    """A ViS4mer of the checkpoint's sizes; `config` sets what the weights do not show (norm, dropout, odd_length)."""
    state = checkpoint.state
    lengths: list[int] = []
    while (nodes := state.get(f"s4_layers.{len(lengths)}.kernel.krylov.nodes")) is not None:
        lengths.append(internal_length(nodes))
    missing = [name for name in ("encoder.weight", "decoder.weight", "s4_layers.0.D") if name not in state]
    if missing or not lengths:
        raise WeightsError(
            f"{checkpoint.source}: not a ViS4mer checkpoint: it has no {', '.join(missing) or 'FFT nodes'}"
        )
    sizes: dict[str, Any] = {
        "dim": state["encoder.weight"].shape[1],
        "outputs": state["decoder.weight"].shape[0],
        "width": state["s4_layers.0.D"].shape[0],
        "layers": len(lengths),
        "state_size": 2 * state["s4_layers.0.kernel.krylov.w"].shape[0],
        "max_length": lengths[0],
        "map_lengths": tuple(lengths),
        "odd_length": "official",
        "state_matrix": "free",
    }
    return ViS4mer(ViS4merConfig(**(sizes | config)))


def internal_length(nodes: Tensor) -> int:
    """Length L of a layer from its FFT nodes (frequency, real and imaginary part); node 1 is exp(-2πi / L)."""
    return round(2 * math.pi / abs(math.atan2(float(nodes[1, 1]), float(nodes[1, 0]))))


def split_pairs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Splits [B, p] and [C, q], makes biases vectors, and drops an input projection that the model skips."""
    split: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if re.fullmatch(KRYLOV + "[BC]", name):
            first, second = tensor.unbind(1)
            split[name] = first
            split[name[:-1] + ("p" if name.endswith("B") else "q")] = second
        else:
            split[name] = tensor.flatten() if re.fullmatch(OUTPUT_BIAS, name) else tensor
    projects = state["encoder.weight"].shape[0] != state["encoder.weight"].shape[1]
    return split if projects else {name: t for name, t in split.items() if not name.startswith("encoder.")}


def from_config(config: dict[str, Any]) -> ViS4mer:
    """The module from plain JSON values."""
    return ViS4mer(ViS4merConfig(**config))


LAYOUT = OfficialLayout(
    build=build,
    from_config=from_config,
    prepare=split_pairs,
    renames=(
        (r"encoder\.", "project."),
        (KRYLOV + "log_dt", r"blocks.\1.mix.mixer.log_step"),
        (KRYLOV + "w", r"blocks.\1.mix.mixer.eigenvalues"),
        (KRYLOV + "B", r"blocks.\1.mix.mixer.b"),
        (KRYLOV + "C", r"blocks.\1.mix.mixer.c"),
        (KRYLOV + "(p|q)", r"blocks.\1.mix.mixer.\2"),
        (r"s4_layers\.(\d+)\.D", r"blocks.\1.mix.mixer.skip"),
        (r"s4_layers\.(\d+)\.output_linear\.", r"blocks.\1.mix.output."),
        (r"norms\.(\d+)\.", r"blocks.\1.norm."),
        (r"linears\.(\d+)\.", r"blocks.\1.narrow."),
        (r"decoder\.", "head.linears.0."),
    ),
    unused=(KRYLOV + "(nodes|z)",),
)
