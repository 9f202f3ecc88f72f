"""An image transformer as the start of X-ViT, as in the paper.

The paper uses an ImageNet-21k ViT. Patch embedding, class token, spatial table, blocks and last norm are copied; the
temporal table starts at zero, so that at first the model differs from the image model only by the mixing; temporal
attention and classifier are initialised anew.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longvid.encoders.xvit.model import XViT
from longvid.errors import WeightsError
from longvid.layers.transformer import resize_table
from longvid.weights import Checkpoint, fit_state, read_checkpoint

BLOCK = r"(?:encoder\.layer|layers)\.(\d+)\."

# Hugging Face's names (files, and modules since transformers 5) and timm's, where they differ, mapped to ours
RENAMES: tuple[tuple[str, str], ...] = (
    (r"embeddings\.cls_token", "class_token"),
    (r"embeddings\.position_embeddings", "position_table"),
    (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (BLOCK + r"attention\.(?:attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.", r"blocks.\1.attn.\2."),
    (BLOCK + r"attention\.(?:output\.dense|o_proj)\.", r"blocks.\1.attn.proj."),
    (BLOCK + r"(?:intermediate\.dense|mlp\.fc1)\.", r"blocks.\1.mlp.fc1."),
    (BLOCK + r"(?:output\.dense|mlp\.fc2)\.", r"blocks.\1.mlp.fc2."),
    (BLOCK + r"layernorm_before\.", r"blocks.\1.norm1."),
    (BLOCK + r"layernorm_after\.", r"blocks.\1.norm2."),
    (r"layernorm\.", "norm."),
    (r"cls_token", "class_token"),
    (r"pos_embed", "position_table"),
)
UNUSED = re.compile(r"(classifier|pooler|head|pre_logits|head_dist|fc_norm)\..*|embeddings\.mask_token")
"""The parts of an image model after its last norm."""

SPLIT = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"))
"""The names of the three projections, in files and in modules."""


def is_image_transformer(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint's names are those of an image ViT, of Hugging Face or timm."""
    names = {name.removeprefix("vit.") for name in checkpoint.state}
    return "embeddings.cls_token" in names or {"cls_token", "patch_embed.proj.weight"} <= names


def start_from_image(model: XViT, source: str | Path | Mapping[str, Any] | Checkpoint) -> XViT:
    """`model` with the backbone of an image ViT of the same width, depth and patch; changed in place and returned.

    `source`: a file or state in Hugging Face's or timm's layout. A spatial table for another image size is resized by
    `resize_table` of `longvid.layers`. Raises `WeightsError` that lists what does not fit; nothing is changed then.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    state = _join_projections(_renamed(checkpoint.state))
    table = state.get("position_table")
    if table is not None:
        state["position_table"] = _fit_table(table.flatten(0, -2), model.config.table_side, checkpoint.source)
    fresh = {"temporal_table"} | {name for name in model.state_dict() if name.startswith(("aggregator.", "head."))}
    fit_state(model, state, source=checkpoint.source, optional=fresh)
    nn.init.zeros_(model.temporal_table)
    return model


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for official in state:
        name = official.removeprefix("vit.")
        if UNUSED.fullmatch(name):
            continue
        for pattern, ours in RENAMES:
            name, hits = re.subn(rf"\A(?:{pattern})", ours, name)
            if hits:
                break
        renamed[name] = state[official]
    return renamed


def _join_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One projection for query, key and value if the checkpoint has three; an incomplete set stays unknown."""
    joined = dict(state)
    for query, key, value in SPLIT:
        for name in state:
            if match := re.fullmatch(rf"(.*\.attn)\.{query}\.(weight|bias)", name):
                parts = [f"{match[1]}.{part}.{match[2]}" for part in (query, key, value)]
                if all(part in joined for part in parts):
                    joined[f"{match[1]}.qkv.{match[2]}"] = torch.cat([joined.pop(part) for part in parts])
    return joined


def _fit_table(table: Tensor, side: int, source: str) -> Tensor:
    """The table (class entry first) for a grid of `side` x `side`."""
    made = round((len(table) - 1) ** 0.5)
    if made * made != len(table) - 1:
        raise WeightsError(f"{source}: a position table of {len(table)} entries is not a class entry and a square grid")
    return torch.cat([table[:1], resize_table(table[1:], (made, made), (side, side))])
