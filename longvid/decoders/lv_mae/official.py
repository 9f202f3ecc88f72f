"""LV-MAE's pretraining checkpoints as the authors' code writes them.

The code is amazon-science/lv-mae at 222d440; no checkpoint is published. The number of heads is not visible in the
weights: 16, the README's, unless it is given. The position tables are a formula, which is checked and not loaded.
"""

import re
from typing import Any

import torch
from torch import Tensor

from longvid.decoders.lv_mae.model import LVMAE, LVMAEConfig
from longvid.decoders.lv_mae.parts import MaskedAutoencoder, sine_table
from longvid.errors import WeightsError
from longvid.weights.files import Checkpoint
from longvid.weights.layout import OfficialLayout

TABLES = ("pos_embed", "decoder_pos_embed")
BLOCK = r"norm[12]|attn|mlp"


def build(checkpoint: Checkpoint, **config: Any) -> MaskedAutoencoder:
    """A masked autoencoder of the checkpoint's sizes; `config` sets what the weights do not show (`heads`)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
    missing = [name for name in ("cls_token", "blocks.0.mlp.fc1.weight", "decoder_embed.weight") if name not in shapes]
    if missing:
        raise WeightsError(f"{checkpoint.source}: not an LV-MAE checkpoint: it has no {', '.join(missing)}")
    hidden, width = shapes["blocks.0.mlp.fc1.weight"]
    sizes: dict[str, Any] = {
        "dim": shapes["cls_token"][-1],
        "outputs": 1,
        "depth": _count(r"blocks\.(\d+)\.", shapes),
        "mlp_ratio": hidden / width,
        "decoder_width": shapes["decoder_embed.weight"][0],
        "decoder_depth": _count(r"decoder_blocks\.(\d+)\.", shapes),
    }
    return LVMAE(LVMAEConfig(**(sizes | config))).autoencoder()


def _count(pattern: str, names: dict[str, Any]) -> int:
    """One more than the highest index in names like `pattern`."""
    return 1 + max((int(match[1]) for name in names if (match := re.match(pattern, name))), default=0)


def _without_tables(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without its position tables. Raises `WeightsError` for a table that is not the formula's."""
    for name in TABLES:
        table = state.get(name)
        if table is None:
            continue
        rows, dim = table.shape[-2:]
        if not torch.allclose(table.reshape(rows, dim).float(), sine_table(rows, dim, torch.zeros(1)), atol=1e-5):
            raise WeightsError(f"{name} is not the sine table of LV-MAE's code; these weights are another model's")
    return {name: tensor for name, tensor in state.items() if name not in TABLES}


def from_config(config: dict[str, Any]) -> MaskedAutoencoder:
    """The module from plain JSON values."""
    return LVMAE(LVMAEConfig(**config)).autoencoder()


LAYOUT = OfficialLayout(
    build=build,
    from_config=from_config,
    prepare=_without_tables,
    renames=(
        (r"cls_token", "encoder.class_token"),
        (rf"blocks\.(\d+)\.({BLOCK})\.", r"encoder.blocks.\1.\2."),
        (r"norm\.", "encoder.norm."),
        (r"mask_token", "reconstruction.mask_token"),
        (r"decoder_embed\.", "reconstruction.embed."),
        (rf"decoder_blocks\.(\d+)\.({BLOCK})\.", r"reconstruction.blocks.\1.\2."),
        (r"decoder_norm\.", "reconstruction.norm."),
        (r"decoder_pred\.", "reconstruction.predict."),
    ),
)
