"""X-ViT's published checkpoints and their configuration text.

The authors' names are `base_model.*` (backbone), `consensus.*` (temporal attention and classifier) and `new_fc.*`
(the classifier of the averaging model; unused with temporal attention). How channels are shifted is not visible in
the weights, and a wrong value would load without any error: it is read from the configuration text that the
authors' training program stores beside the weights, or must be given.
"""

import re
from typing import Any

from torch import Tensor

from longvid.encoders.xvit.model import XViT, XViTConfig
from longvid.errors import WeightsError
from longvid.safe_yaml import parse_yaml
from longvid.weights.files import Checkpoint
from longvid.weights.layout import OfficialLayout

BLOCK = r"norm[12]|attn|mlp"

RENAMES = (
    (r"base_model\.cls_token", "class_token"),
    (r"base_model\.pos_embed", "position_table"),
    (r"base_model\.temp_embed", "temporal_table"),
    (r"base_model\.(patch_embed\.proj|norm)\.", r"\1."),
    (rf"base_model\.blocks\.(\d+)\.({BLOCK})\.", r"blocks.\1.\2."),
    (r"consensus\.cls_token", "aggregator.class_token"),
    (rf"consensus\.temporal_encoder\.(\d+)\.({BLOCK})\.", r"aggregator.blocks.\1.\2."),
    (r"consensus\.mlp_head\.(0|1|4)\.", r"head.\1."),
    (r"(new_fc|base_model\.head)\.", "head.1."),
)

TOLD = {"NUM_SEGMENTS": "segment_frames", "SHIFT_DIV": "shift_div"}
"""The names of two of our settings in the authors' configuration text."""


def from_config(config: dict[str, Any]) -> XViT:
    """X-ViT from plain JSON values."""
    return XViT(XViTConfig(**config))


def build(checkpoint: Checkpoint, **config: Any) -> XViT:
    """X-ViT with the checkpoint's sizes.

    `config`: any field of `XViTConfig`. `num_heads` defaults to 64 channels per head and `aggregator_heads` to 12;
    `segment_frames` and `shift_div` must be given if the checkpoint has no configuration text.
    """
    told = _told(checkpoint)
    for option in config.keys() & told.keys():
        if config[option] != told[option]:
            raise WeightsError(
                f"{checkpoint.source}: was trained with {option}={told[option]}, not {config[option]}; leave it out"
            )
    settings = _seen(checkpoint) | told | config
    silent = [option for option in ("segment_frames", "shift_div") if option not in settings]
    if silent:
        raise WeightsError(
            f"{checkpoint.source}: the weights do not show {' and '.join(silent)}; give them "
            "(Kinetics models: segment_frames=8, shift_div=8; Something-Something: segment_frames=frames, shift_div=4)"
        )
    return XViT(XViTConfig(**settings))


def _seen(checkpoint: Checkpoint) -> dict[str, Any]:
    """Settings that the shapes show; an absent entry shows nothing, and fitting the state lists it as missing."""
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
    seen: dict[str, Any] = {"depth": _count(r"base_model\.blocks\.(\d+)\.", shapes)}
    if patch := shapes.get("base_model.patch_embed.proj.weight"):
        seen |= {"dim": patch[0], "patch_size": patch[-1], "num_heads": max(1, patch[0] // 64)}
    if rows := shapes.get("base_model.temp_embed"):
        seen["temporal_rows"] = rows[1]
    if hidden := shapes.get("base_model.blocks.0.mlp.fc1.weight"):
        seen["mlp_ratio"] = hidden[0] / hidden[1]
    if "consensus.cls_token" in shapes:
        return seen | _seen_aggregator(shapes)
    classifier = shapes.get("new_fc.weight", shapes.get("base_model.head.weight"))
    return seen | {"aggregation": "average"} | ({"num_classes": classifier[0]} if classifier else {})


def _seen_aggregator(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    seen: dict[str, Any] = {"aggregator_layers": _count(r"consensus\.temporal_encoder\.(\d+)\.", shapes)}
    if hidden := shapes.get("consensus.temporal_encoder.0.mlp.fc1.weight"):
        seen["aggregator_mlp_ratio"] = hidden[0] / hidden[1]
    if classifier := shapes.get("consensus.mlp_head.4.weight"):
        seen |= {"num_classes": classifier[0], "head_dim": classifier[1]}
    return seen


def _count(pattern: str, names: dict[str, Any]) -> int:
    """One more than the highest index in names like `pattern`."""
    return 1 + max((int(match[1]) for name in names if (match := re.match(pattern, name))), default=0)


def _told(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the configuration text beside the weights says about the shift; empty if there is none."""
    text = checkpoint.beside.get("cfg")
    if not isinstance(text, str):
        return {}
    try:
        sections = parse_yaml(text)
    except ValueError as error:
        raise WeightsError(f"{checkpoint.source}: its configuration text (cfg) is not YAML ({error})") from error
    said: dict[str, Any] = {}
    for section in sections.values() if isinstance(sections, dict) else ():
        said |= section if isinstance(section, dict) else {}
    told = {ours: said[theirs] for theirs, ours in TOLD.items() if theirs in said}
    if "LOCATIONS_LIST" in said:
        # the published list names fifteen blocks whatever the depth
        depth = _seen(checkpoint)["depth"]
        told["mixed_blocks"] = tuple(block for block in said["LOCATIONS_LIST"] if block < depth)
    return told


def _prepare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The temporal table (1, time, 1, dim) as (time, dim); and without an unused classifier.

    With temporal attention `new_fc` is built and saved by the authors' program but never used.
    """
    unused = "new_fc." if "consensus.cls_token" in state else ()
    prepared = {name: tensor for name, tensor in state.items() if not name.startswith(unused)}
    table = prepared.get("base_model.temp_embed")
    return prepared if table is None else prepared | {"base_model.temp_embed": table.reshape(-1, table.shape[-1])}


LAYOUT = OfficialLayout(build=build, from_config=from_config, renames=RENAMES, prepare=_prepare)
