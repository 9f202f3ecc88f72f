"""Segmentation networks' checkpoints as their authors' code writes them.

yabufarha/ms-tcn 33ed91c, sj-li/MS-TCN2 f423a9e, ChinaYi/ASFormer e1bbe4f, LTContext/LTContext 8d4f342. Sizes are read
off the weights; what they do not show (LTContext's windows, stride, heads and norm; how padding is treated) is given to
`longvid.load_official`. ASFormer's trained weights need the window mask of its code, which is the default here.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from longvid.decoders.segmentation.asformer import ASFormer, ASFormerConfig
from longvid.decoders.segmentation.ltcontext import LTContext, LTContextConfig
from longvid.decoders.segmentation.ms_tcn import MSTCN, MSTCNConfig, MSTCNPlusPlus, MSTCNPlusPlusConfig
from longvid.errors import WeightsError
from longvid.weights.files import Checkpoint
from longvid.weights.layout import OfficialLayout

Renames = tuple[tuple[str, str], ...]


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Number of indices n in entries that match `pattern` at their start; one group holds the index."""
    found = {int(match[1]) for name in state if (match := re.match(pattern, name))}
    return len(found)


def _need(checkpoint: Checkpoint, what: str, *names: str) -> Mapping[str, Tensor]:
    missing = [name for name in names if name not in checkpoint.state]
    if missing:
        raise WeightsError(f"{checkpoint.source}: not a checkpoint of {what}: it has no {', '.join(missing)}")
    return checkpoint.state


def _dilated(official: str, ours: str) -> Renames:
    """Names of MS-TCN's stage."""
    return (
        (rf"{official}conv_1x1\.", f"{ours}enter."),
        (rf"{official}layers\.(\d+)\.conv_dilated\.", _inner(official, ours, "layers", "taps")),
        (rf"{official}layers\.(\d+)\.conv_1x1\.", _inner(official, ours, "layers", "point")),
        (rf"{official}conv_out\.", f"{ours}leave."),
    )


def _inner(official: str, ours: str, room: str, name: str) -> str:
    """`ours` + room.INDEX.name., the index being the group after those of `official`."""
    return rf"{ours}{room}.\{official.count('(') + 1}.{name}."


def build_ms_tcn(checkpoint: Checkpoint, **config: Any) -> MSTCN:
    """An MS-TCN of the checkpoint's sizes."""
    state = _need(checkpoint, "MS-TCN", "stage1.conv_1x1.weight", "stage1.conv_out.weight")
    width, dim, _ = state["stage1.conv_1x1.weight"].shape
    sizes: dict[str, Any] = {
        "dim": dim,
        "width": width,
        "outputs": state["stage1.conv_out.weight"].shape[0],
        "layers": _count(state, r"stage1\.layers\.(\d+)\."),
        "refinements": _count(state, r"stages\.(\d+)\."),
    }
    return MSTCN(MSTCNConfig(**({"head": "steps"} | sizes | config)))


def build_ms_tcn_plus_plus(checkpoint: Checkpoint, **config: Any) -> MSTCNPlusPlus:
    """An MS-TCN++ of the checkpoint's sizes."""
    state = _need(checkpoint, "MS-TCN++", "PG.conv_1x1_in.weight", "PG.conv_out.weight")
    width, dim, _ = state["PG.conv_1x1_in.weight"].shape
    sizes: dict[str, Any] = {
        "dim": dim,
        "width": width,
        "outputs": state["PG.conv_out.weight"].shape[0],
        "layers": _count(state, r"PG\.conv_fusion\.(\d+)\."),
        "refinements": _count(state, r"Rs\.(\d+)\."),
        "refinement_layers": max(1, _count(state, r"Rs\.0\.layers\.(\d+)\.")),
    }
    return MSTCNPlusPlus(MSTCNPlusPlusConfig(**({"head": "steps"} | sizes | config)))


def build_asformer(checkpoint: Checkpoint, **config: Any) -> ASFormer:
    """An ASFormer of the checkpoint's sizes, with the window mask that its weights were trained with."""
    attention = "encoder.layers.0.att_layer."
    names = ("encoder.conv_1x1.weight", "encoder.conv_out.weight")
    state = _need(checkpoint, "ASFormer", *names, f"{attention}query_conv.weight", f"{attention}value_conv.weight")
    width, dim, _ = state["encoder.conv_1x1.weight"].shape
    sizes: dict[str, Any] = {
        "dim": dim,
        "width": width,
        "outputs": state["encoder.conv_out.weight"].shape[0],
        "layers": _count(state, r"encoder\.layers\.(\d+)\."),
        "refinements": _count(state, r"decoders\.(\d+)\."),
        "query_reduction": width // state[f"{attention}query_conv.weight"].shape[0],
        "value_reduction": width // state[f"{attention}value_conv.weight"].shape[0],
        "window": "shared",
    }
    return ASFormer(ASFormerConfig(**({"head": "steps"} | sizes | config)))


def build_ltcontext(checkpoint: Checkpoint, **config: Any) -> LTContext:
    """An LTContext of the checkpoint's sizes; `window`, `stride`, `heads` and `norm` as on Breakfast unless given."""
    state = _need(checkpoint, "LTContext", "stage1.input_proj.weight", "stage1.out_proj.weight")
    width, dim, _ = state["stage1.input_proj.weight"].shape
    narrow = state["dim_reduction.weight"].shape[0] if "dim_reduction.weight" in state else width
    sizes: dict[str, Any] = {
        "dim": dim,
        "width": width,
        "outputs": state["stage1.out_proj.weight"].shape[0],
        "layers": _count(state, r"stage1\.layers\.(\d+)\."),
        "refinements": _count(state, r"stages\.(\d+)\."),
        "reduction": max(1, width // narrow),
    }
    return LTContext(LTContextConfig(**({"head": "steps"} | sizes | config)))


def _asformer(official: str, ours: str) -> Renames:
    """Names of ASFormer's encoder or of a decoder."""
    block = rf"{official}layers\.(\d+)\."
    parts = {
        r"feed_forward\.layer\.0\.": "taps",
        r"att_layer\.query_conv\.": "attention.query",
        r"att_layer\.key_conv\.": "attention.key",
        r"att_layer\.value_conv\.": "attention.value",
        r"att_layer\.conv_out\.": "attention.out",
        r"conv_1x1\.": "point",
    }
    inner = tuple((block + theirs, _inner(official, ours, "blocks", own)) for theirs, own in parts.items())
    return ((rf"{official}conv_1x1\.", f"{ours}enter."), *inner, (rf"{official}conv_out\.", f"{ours}leave."))


def _ltcontext(official: str, ours: str) -> Renames:
    """Names of a stage of LTContext."""
    block = rf"{official}layers\.(\d+)\."
    parts = {r"dilated_conv\.dilated_conv\.": "taps", r"out_linear\.": "point"}
    for theirs, own in (("windowed_attn", "windowed"), ("ltc_attn", "long")):
        for projection, name in (("proj_q", "query"), ("proj_k", "key"), ("proj_v", "value"), (r"proj\.1", "out")):
            parts[rf"{theirs}\.attn\.{projection}\."] = f"{own}.{name}"
    inner = tuple((block + theirs, _inner(official, ours, "blocks", own)) for theirs, own in parts.items())
    return ((rf"{official}input_proj\.", f"{ours}enter."), *inner, (rf"{official}out_proj\.", f"{ours}leave."))


_REFINE = r"refine.\1."

MS_TCN = OfficialLayout(
    build=build_ms_tcn,
    from_config=lambda config: MSTCN(MSTCNConfig(**config)),
    renames=(*_dilated(r"stage1\.", "first."), *_dilated(r"stages\.(\d+)\.", _REFINE)),
)
MS_TCN_PLUS_PLUS = OfficialLayout(
    build=build_ms_tcn_plus_plus,
    from_config=lambda config: MSTCNPlusPlus(MSTCNPlusPlusConfig(**config)),
    renames=(
        (r"PG\.conv_1x1_in\.", "first.enter."),
        (r"PG\.conv_dilated_1\.(\d+)\.", r"first.far.\1."),
        (r"PG\.conv_dilated_2\.(\d+)\.", r"first.near.\1."),
        (r"PG\.conv_fusion\.(\d+)\.", r"first.fusion.\1."),
        (r"PG\.conv_out\.", "first.leave."),
        *_dilated(r"Rs\.(\d+)\.", _REFINE),
    ),
)
ASFORMER = OfficialLayout(
    build=build_asformer,
    from_config=lambda config: ASFormer(ASFormerConfig(**config)),
    renames=(*_asformer(r"encoder\.", "encoder."), *_asformer(r"decoders\.(\d+)\.", _REFINE)),
)
LTCONTEXT = OfficialLayout(
    build=build_ltcontext,
    from_config=lambda config: LTContext(LTContextConfig(**config)),
    renames=(
        *_ltcontext(r"stage1\.", "first."),
        (r"dim_reduction\.", "narrow."),
        *_ltcontext(r"stages\.(\d+)\.", _REFINE),
    ),
)
