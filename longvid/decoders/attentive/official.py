"""Reads attentive probes as their authors' code writes them, and as transformers does.

V-JEPA 2 (facebookresearch/vjepa2 at c2963a4) and V-JEPA (facebookresearch/jepa at 51c59d5): a dictionary whose
`classifiers` is a list of state dicts, one for each of the probes that were trained side by side. V-JEPA's
cross-attention has an output projection that its forward pass never applies. The probes of EPIC-KITCHENS have three
queries, and a linear layer for each.

transformers' `VJEPA2ForVideoClassification` holds the encoder beside the probe and keeps query, key and value apart. It
differs from the probe that its weights were trained as: its layer norms have 1e-6 in place of 1e-5, and the probe has
the encoder's attention heads (22 for ViT-g) in place of 16. By default each layout is read as its own code computes it;
`heads=16, norm_epsilon=1e-5` reads converted weights as they were trained.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.decoders.attentive.config import MOST_HEADS, AttentiveConfig
from longvid.decoders.attentive.model import AttentiveProbe
from longvid.errors import WeightsError
from longvid.weights.files import Checkpoint
from longvid.weights.layout import OfficialLayout

EPIC = ("verb_classifier", "noun_classifier", "action_classifier")
"""The linear layers of a probe with three queries, in the order of the queries."""
CROSS, ITS_CROSS = "pooler.cross_attention_block.", "pooler.cross_attention_layer."
TRANSFORMERS_EPSILON = 1e-6
UNUSED_PROJECTION = r"pooler\.cross_attention_block\.(xattn\.)?proj\.(weight|bias)"


def choose(checkpoint: Checkpoint, config: dict[str, Any]) -> Checkpoint:
    """The probe with the index `probe` of those in the file, its names those of the authors' code."""
    index = config.pop("probe", None)
    if checkpoint.listed:
        if index is None and len(checkpoint.listed) > 1:
            raise WeightsError(
                f"{checkpoint.source}: holds {len(checkpoint.listed)} probes; "
                f"give probe=0 to {len(checkpoint.listed) - 1}"
            )
        if not 0 <= (index or 0) < len(checkpoint.listed):
            raise WeightsError(
                f"{checkpoint.source}: holds {len(checkpoint.listed)} probes, none with the index probe={index}"
            )
        checkpoint = replace(checkpoint, state=checkpoint.listed[index or 0], listed=())
    elif index:
        raise WeightsError(f"{checkpoint.source}: holds one probe, none with the index probe={index}")
    if any(name.startswith(ITS_CROSS) for name in checkpoint.state):
        beside = checkpoint.beside | {"transformers": True}
        checkpoint = replace(checkpoint, state=from_transformers(checkpoint.state), beside=beside)
    return checkpoint


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The probe in transformers' state dict under the authors' names; the encoder and the predictor are left out."""
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("vjepa2."):
            continue
        name = re.sub(r"\Apooler\.self_attention_layers\.", "pooler.blocks.", name).replace(ITS_CROSS, CROSS)
        name = re.sub(r"\.layer_norm([12])\.", r".norm\1.", name).replace(".self_attn.", ".attn.")
        name = name.replace(".cross_attn.", ".xattn.").replace(".attn.out_proj.", ".attn.proj.")
        plain[re.sub(r"\Aclassifier\.", "linear.", name)] = tensor
    for ours, theirs in (
        ("attn.qkv", ("attn.q_proj", "attn.k_proj", "attn.v_proj")),
        ("xattn.kv", ("xattn.k_proj", "xattn.v_proj")),
    ):
        first = theirs[0]
        for name in [name for name in plain if re.search(rf"\.{re.escape(first)}\.(weight|bias)\Z", name)]:
            others = [name.replace(f".{first}.", f".{other}.") for other in theirs]
            if all(other in plain for other in others):
                plain[name.replace(f".{first}.", f".{ours}.")] = torch.cat([plain.pop(other) for other in others])
    return {name.replace(".xattn.q_proj.", ".xattn.q."): tensor for name, tensor in plain.items()}


def build(checkpoint: Checkpoint, **config: Any) -> AttentiveProbe:
    """A probe of the checkpoint's sizes; `config` sets what the weights do not show (heads, norm_epsilon, order)."""
    state = checkpoint.state
    epic = all(f"{name}.weight" in state for name in EPIC)
    last = [state.get(f"{name}.weight") for name in (EPIC if epic else ("linear", "action_classifier"))]
    linears = [weight for weight in last if weight is not None]
    query = state.get("pooler.query_tokens")
    if query is None or query.ndim != 3 or not linears:
        raise WeightsError(
            f"{checkpoint.source}: not an attentive probe: it has no pooler.query_tokens, or no linear layer"
        )
    first = bool({name for name in state if re.fullmatch(UNUSED_PROJECTION, name)})
    width = query.shape[-1]
    hidden = state.get(f"{CROSS}mlp.fc1.weight", state.get("pooler.blocks.0.mlp.fc1.weight"))
    sizes: dict[str, Any] = {
        "dim": width,
        "outputs": sum(len(weight) for weight in linears),
        "layers": 1 + _self_blocks(state),
        "order": "query-first" if first else "query-last",
        "complete": f"{CROSS}xattn.q.weight" in state,
        "qkv_bias": f"{CROSS}xattn.q.bias" in state or f"{CROSS}q.bias" in state,
        "queries": tuple(len(weight) for weight in linears) if epic else (),
    }
    if hidden is not None:
        sizes["mlp_ratio"] = len(hidden) / width
    if checkpoint.beside.get("transformers"):
        sizes |= {"norm_epsilon": TRANSFORMERS_EPSILON, "heads": _encoder_heads(checkpoint, config)}
    elif first and "heads" not in config:
        raise WeightsError(
            f"{checkpoint.source}: V-JEPA's probe has as many attention heads as its encoder, which the weights do "
            "not show; give heads=16 for ViT-L and ViT-H"
        )
    else:
        sizes["heads"] = MOST_HEADS
    return AttentiveProbe(AttentiveConfig(**(sizes | config)))


def _self_blocks(state: dict[str, Tensor]) -> int:
    found = {int(match[1]) for name in state if (match := re.match(r"pooler\.blocks\.([0-9]{1,4})\.", name))}
    return max(found, default=-1) + 1


def _encoder_heads(checkpoint: Checkpoint, config: dict[str, Any]) -> int:
    """Attention heads that transformers gives its probe: the encoder's, from the config.json beside the weights."""
    if "heads" in config:
        return int(config["heads"])
    beside = Path(checkpoint.source)
    place = (beside if beside.is_dir() else beside.parent) / "config.json"
    try:
        return int(json.loads(place.read_text(encoding="utf-8"))["num_attention_heads"])
    except (OSError, ValueError, LookupError, TypeError):
        raise WeightsError(
            f"{checkpoint.source}: transformers' probe has as many attention heads as its encoder, and {place} does "
            "not tell; give heads=16 for ViT-L, heads=22 for ViT-g"
        ) from None


def prepare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One linear layer in place of three."""
    if not all(f"{name}.weight" in state for name in EPIC):
        return {re.sub(r"\Aaction_classifier\.", "linear.", name): tensor for name, tensor in state.items()}
    joined = {part: torch.cat([state[f"{name}.{part}"] for name in EPIC]) for part in ("weight", "bias")}
    others = {name: tensor for name, tensor in state.items() if not name.startswith(EPIC)}
    return others | {f"linear.{part}": tensor for part, tensor in joined.items()}


def from_config(config: dict[str, Any]) -> AttentiveProbe:
    """The module from plain JSON values."""
    return AttentiveProbe(AttentiveConfig(**config))


LAYOUT = OfficialLayout(
    build=build,
    from_config=from_config,
    choose=choose,
    prepare=prepare,
    renames=(
        (r"pooler\.query_tokens", "query"),
        (r"pooler\.blocks\.", "blocks."),
        (r"pooler\.cross_attention_block\.xattn\.", "cross.attn."),
        (r"pooler\.cross_attention_block\.(q|kv)\.", r"cross.attn.\1."),
        (r"pooler\.cross_attention_block\.", "cross."),
        (r"linear\.", "linear."),
    ),
    unused=(UNUSED_PROJECTION,),
)
