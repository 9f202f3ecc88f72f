"""X-ViT: whole models, the mixing alone, the resizing of the spatial table."""

import re
from typing import Any

import torch
from rounding import rounding
from torch import Tensor

from longvid.checkpoints import load_official
from longvid.checkpoints.official import official_layout
from longvid.encoders.xvit import XViT, mixing
from longvid.layers.transformer import resize_table

# Bounds from precision and depth (`tests/support/rounding.py`): the authors' arrays are float32 as well, so what is
# apart here is the rounding of two machines. Float64 arrays are equalled far beyond any float32 rounding.
OUTPUT_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
FLOAT64_TOLERANCE = 1e-9
GRADIENT_TOLERANCE = rounding(torch.float32, terms=64, layers=16)
RESIZE_TOLERANCE = rounding(torch.float32, terms=16, layers=2)  # a bicubic sum, and the weights in it

INPUTS = {"input", "config", "grad_output"}


def is_model(golden: Any) -> bool:
    return {"input", "output", "config"} <= golden.names and any(name.startswith("state/") for name in golden.names)


def is_mixing(golden: Any) -> bool:
    return bool(golden.names) and all(name.startswith("case") for name in golden.names) and "case0/x" in golden.names


def is_position_table(golden: Any) -> bool:
    return bool(golden.names) and all(re.match(r"p\d+/(pos_embed|img\d+)", name) for name in golden.names)


def build(golden: Any) -> XViT:
    config = golden.config
    options = {
        "num_heads": config["num_heads"],
        "qkv_bias": config["qkv_bias"],
        "norm_eps": config["norm_eps"],
        "segment_frames": config["n_segment"],
        "shift_div": config["shift_div"],
        "mixed_blocks": tuple(config["shifted_blocks"]),
    }
    if config["aggregation"] == "temporal_attention":
        options["aggregator_heads"] = config["ta_heads"]
    else:
        assert config["aggregation"] == "average_of_logits", f"unknown aggregation {config['aggregation']!r}"
    model = load_official("xvit", golden.state(), **options)
    assert isinstance(model, XViT)
    for block in model.blocks:
        if isinstance(block.attn, mixing.MixingAttention):
            assert block.attn.shift == config["shift_channels_each_side"]
    return model


def run(model: XViT, clips: Tensor) -> dict[str, Tensor]:
    """Everything a fixture may hold, under its official name."""
    batch, time = clips.shape[0], clips.shape[2]
    seen: dict[str, Tensor] = {"embedded": model.embed(clips)}
    hooks = [
        block.register_forward_hook(lambda _, __, output, name=f"block_{index}": seen.update({name: output}))
        for index, block in enumerate(model.blocks)
    ]
    encoded = model(clips)
    for hook in hooks:
        hook.remove()
    seen = {name: value.unflatten(0, (batch, time)) for name, value in seen.items()}
    assert encoded.class_tokens is not None
    assert encoded.clip is not None
    return seen | {
        "features": encoded.class_tokens,
        "tokens": torch.cat([encoded.class_tokens.unsqueeze(2), encoded.tokens], dim=2),
        "clip_feature": encoded.clip,
        "output": model.classify(clips),
    }


def check_model(golden: Any) -> None:
    model = build(golden)
    held = {name for name in golden.names - INPUTS if not name.startswith(("state/", "grad/"))}
    with torch.no_grad():
        single = run(model, golden.tensor("input", torch.float32))
        double = run(model.double(), golden.tensor("input", torch.float64))
    for name in sorted(held):
        plain = name.removesuffix("_f64")
        assert plain in single, f"{golden.path}: no such output of X-ViT: {name}"
        if plain != name:
            golden.compare(name, double[plain], tolerance=FLOAT64_TOLERANCE)
        else:
            golden.compare(name, single[name], tolerance=OUTPUT_TOLERANCE)
    check_gradients(golden, model)


def check_gradients(golden: Any, model: XViT) -> None:
    """`grad/input` and `grad/<official parameter>` of sum(output * grad_output), where the file holds them."""
    wanted = {name.removeprefix("grad/") for name in golden.names if name.startswith("grad/")}
    if not wanted:
        return
    clips = golden.tensor("input", torch.float64).requires_grad_()
    (model.classify(clips) * golden.tensor("grad_output", torch.float64)).sum().backward()
    parameters = dict(model.named_parameters())
    for name in sorted(wanted):
        if name == "input":
            gradient = clips.grad
        else:
            ours = official_layout("xvit").rename(name)
            gradient = parameters[str(ours)].grad
        assert gradient is not None, f"{golden.path}: {name} has no gradient"
        golden.compare(
            f"grad/{name}", gradient.reshape(golden.array(f"grad/{name}").shape), tolerance=GRADIENT_TOLERANCE
        )


def check_mixing(golden: Any) -> None:
    """A pure copy: equal to the bit."""
    for case in sorted({name.split("/")[0] for name in golden.names}):
        config = golden.config_of(f"{case}/")
        before = golden.tensor(f"{case}/x")
        flat = before.transpose(1, 2).flatten(2).unflatten(0, (-1, config["n_segment"])).clone()
        shift = flat.shape[-1] // config["shift_div"]
        assert shift == config["channels_each_side"]
        mixed = (
            mixing.mix_neighbours_(flat, shift).flatten(0, 1).unflatten(2, (config["num_heads"], -1)).transpose(1, 2)
        )
        golden.compare(f"{case}/y", mixed, tolerance=0)


def check_position_table(golden: Any) -> None:
    for name in sorted(golden.names):
        prefix, size = name.split("/")
        patch = int(prefix[1:])
        table = golden.tensor(f"{prefix}/pos_embed", torch.float64)[0]
        if size == "pos_embed":
            continue
        made, asked = 224 // patch, int(size.removeprefix("img")) // patch
        resized = torch.cat([table[:1], resize_table(table[1:], (made, made), (asked, asked))])
        golden.compare(name, resized.unsqueeze(0), tolerance=RESIZE_TOLERANCE)


LAYOUTS = {
    "model": (is_model, check_model),
    "mixing": (is_mixing, check_mixing),
    "position table": (is_position_table, check_position_table),
}
