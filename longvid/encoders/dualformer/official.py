"""The layout of the released checkpoints: their names and settings.

It also turns image weights into video weights.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from longvid.encoders.dualformer.config import VARIANTS, DualFormerConfig, Size, StageConfig
from longvid.encoders.dualformer.model import DualFormer
from longvid.errors import WeightsError
from longvid.layers.transformer import inflate_2d
from longvid.weights.files import Checkpoint
from longvid.weights.fit import fit_state
from longvid.weights.layout import OfficialLayout

COARSE_STAGES = 2
"""The released code gives a coarse level only to its first two stages, whatever the settings list."""


def build_for(
    checkpoint: Checkpoint, *, config: DualFormerConfig | None = None, odd_sizes: str = "refuse"
) -> DualFormer:
    """The model that a checkpoint is for, with the heads whose weights it holds.

    `config=None`: the released variant with the checkpoint's widths and depths. Any other model must be described,
    since weights show neither heads, windows nor the attention scale.
    """
    if config is None:
        config = _variant_of(checkpoint)
    return DualFormer(replace(config, **head_settings(checkpoint.state)), odd_sizes=odd_sizes)


def head_settings(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """`num_classes` and `token_label` of the heads whose weights an official state holds."""
    classifier = state.get("cls_head.fc_cls.bias")
    return {
        "num_classes": None if classifier is None else len(classifier),
        "token_label": "cls_head.token_linear.0.weight" in state,
    }


def _variant_of(checkpoint: Checkpoint) -> DualFormerConfig:
    shape = [(_width(checkpoint.state, index), _depth(checkpoint.state, index)) for index in range(4)]
    for config in VARIANTS.values():
        if shape == [(stage.dim, stage.blocks) for stage in config.stages]:
            return config
    raise WeightsError(
        f"{checkpoint.source}: stages of (width, blocks) {shape} match none of {', '.join(VARIANTS)}; "
        "describe the model with config=DualFormerConfig(...)"
    )


def _width(state: Mapping[str, Tensor], index: int) -> int:
    bias = state.get(f"backbone.patch_embeds.{index}.proj.bias")
    return 0 if bias is None else len(bias)


def _depth(state: Mapping[str, Tensor], index: int) -> int:
    return sum(name.startswith(f"backbone.blocks.{index}.") and name.endswith(".norm1.bias") for name in state)


def from_config(config: dict[str, Any]) -> DualFormer:
    """The model that plain JSON values describe, as `save_weights` keeps them."""
    return DualFormer(DualFormerConfig(**config))


LAYOUT = OfficialLayout(
    build=build_for,
    from_config=from_config,
    renames=(
        (r"backbone\.patch_embeds\.(\d+)\.proj\.", r"stages.\1.embed.proj."),
        (r"backbone\.patch_embeds\.(\d+)\.norm\.", r"stages.\1.norm."),
        (r"backbone\.pos_block\.(\d+)\.proj\.0\.", r"stages.\1.position."),
        (r"backbone\.blocks\.(\d+)\.(\d+)\.attn\.sr\.", r"stages.\1.blocks.\2.attn.pyramid.fine."),
        (r"backbone\.blocks\.(\d+)\.(\d+)\.attn\.lr\.", r"stages.\1.blocks.\2.attn.pyramid.coarse."),
        (r"backbone\.blocks\.(\d+)\.(\d+)\.attn\.norm\.", r"stages.\1.blocks.\2.attn.pyramid.norm."),
        (r"backbone\.blocks\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"backbone\.norm\.", r"norm."),
        (r"cls_head\.fc_cls\.", r"classifier.1."),
        (r"cls_head\.token_linear\.", r"token_classifier."),
    ),
    # raw checkpoints of token-label training also hold the frozen teacher, a whole base model
    unused=(r"teacher\..*",),
)


def config_from_official(settings: Mapping[str, Any]) -> DualFormerConfig:
    """The configuration that the released code's constructor settings describe (their names, JSON values)."""
    stages = tuple(
        StageConfig(
            dim=settings["embed_dims"][index],
            heads=settings["num_heads"][index],
            blocks=settings["depths"][index],
            window=_size(settings["local_sizes"][index]),
            fine=_size(settings["fine_pysizes"][index]),
            coarse=_size(settings["coarse_pysizes"][index]) if index < COARSE_STAGES else None,
            mlp_ratio=float(settings["mlp_ratios"][index]),
            temporal_stride=max(1, settings["temporal_pooling"][index]),
        )
        for index in range(len(settings["depths"]))
    )
    return DualFormerConfig(
        stages=stages,
        video_size=_size(settings["video_size"]),
        patch=_size(settings["patch_size"]),
        in_channels=settings["in_chans"],
        qkv_bias=settings["qkv_bias"],
        attention_scale=settings["qk_scale"] or None,
    )


def _size(values: list[int]) -> Size:
    time, height, width = values
    return time, height, width


def is_image_model(checkpoint: Checkpoint) -> bool:
    """Whether the patch embedding is a 2D convolution."""
    names = ("patch_embeds.0.proj.weight", "backbone.patch_embeds.0.proj.weight")
    return any(name in checkpoint.state and checkpoint.state[name].ndim == 4 for name in names)


def load_image_weights(model: DualFormer, checkpoint: Checkpoint) -> None:
    """Initialise the model's backbone from a DualFormer image model's checkpoint (official names, `backbone.` or not).

    As the authors do from ImageNet: patch embedding, position and fine pooling kernels are repeated over time and
    divided by its length; the first coarse kernel sees one frame; the second becomes the mean of what it covers,
    whatever the file holds; the rest is copied. The image classifier (`head.*`) is ignored, and the video model's heads
    are left unchanged. Raises `WeightsError` that lists what does not fit.
    """
    own = model.state_dict()
    heads = [name for name in own if name.startswith(("classifier.", "token_classifier."))]
    inflated, unknown = {}, []
    for name, tensor in checkpoint.state.items():
        plain = name.removeprefix("backbone.")
        if plain.startswith(("head.", "cls_head.")):
            continue
        try:
            ours = LAYOUT.rename(f"backbone.{plain}")
        except LookupError:
            ours = None
        if ours in own:
            inflated[ours] = _inflated(ours, tensor, own[ours])
        else:
            unknown.append(name)
    fit_state(model, inflated, source=checkpoint.source, optional=heads, unknown=unknown)


def _inflated(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    """An image model's entry in the form that the video model needs."""
    if name.endswith("coarse.3.weight"):
        return torch.full_like(like, 1 / like[0].numel())
    if name.endswith("coarse.3.bias"):
        return torch.zeros_like(like)
    return inflate_2d(tensor, like.shape[2]) if like.ndim == 5 else tensor
