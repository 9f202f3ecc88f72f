"""Checkpoints of the image author (GitHub AAboys/MobileFormer).

The meaning of the official names, with block index I counted from 0:

    features.I.conv.*                   lite block
    features.I.conv1 conv2 conv3        standard block: expanding, depth-wise, projecting convolution
    features.I.conv1 conv2 conv3 conv4  down block: depth-wise, 1x1, depth-wise, 1x1
    features.I.hyperN.hyper.*           the slopes of the dynamic ReLU after convN
    *local_global / global_block / global_local   Read / Former / Write

`channel_mlp` is the Former's output projection, and `global_local.proj` Write's value projection. Strides cannot be
seen in the weights: they come from the published variant whose sizes the checkpoint has, or from `block_args`.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from longvid.encoders.mobile_former.config import IMAGE_CONFIGS, BlockConfig, MobileFormerConfig
from longvid.encoders.mobile_former.model import MobileFormer
from longvid.errors import WeightsError
from longvid.weights.files import Checkpoint
from longvid.weights.layout import OfficialLayout

_BLOCK = r"features\.(\d+)\."


def _convolution(official: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Convolution and batch norm of one `ConvNorm`, indices 0 and 1 of an official sequence."""
    return (
        (rf"{_BLOCK}{official}\.0\.", rf"blocks.\1.mobile.{ours}.conv."),
        (rf"{_BLOCK}{official}\.1\.", rf"blocks.\1.mobile.{ours}.norm."),
    )


def _slopes(official: str, ours: str) -> tuple[tuple[str, str], ...]:
    """The two layers of one slope generator."""
    return (
        (rf"{_BLOCK}{official}\.hyper\.0\.", rf"blocks.\1.mobile.{ours}.generator.reduce."),
        (rf"{_BLOCK}{official}\.hyper\.2\.", rf"blocks.\1.mobile.{ours}.generator.expand."),
    )


def _read(official: str, ours: str) -> tuple[tuple[str, str], ...]:
    """A Read bridge, in a block or the last one."""
    names = {"q": "query", r"alpha\.0": "gate", "proj": "out", "layer_norm": "norm"}
    return tuple((rf"{official}local_global\.{theirs}\.", f"{ours}read.{name}.") for theirs, name in names.items())


_FORMER = {
    "q": "query",
    "channel_mlp": "out",
    "layer_norm": "norm",
    r"ffn\.0": "up",
    r"ffn\.2": "down",
    "ffn_norm": "mlp_norm",
}

RENAMES: tuple[tuple[str, str], ...] = (
    (r"tokens\.weight", "initial_tokens"),
    (r"stem\.0\.", "stem.conv."),
    (r"stem\.1\.", "stem.norm."),
    # lite block; 2 and 3 are its activation and shuffle
    (rf"{_BLOCK}conv\.0\.", r"blocks.\1.depthwise.conv."),
    (rf"{_BLOCK}conv\.1\.", r"blocks.\1.depthwise.norm."),
    (rf"{_BLOCK}conv\.4\.", r"blocks.\1.project.conv."),
    (rf"{_BLOCK}conv\.5\.", r"blocks.\1.project.norm."),
    *_convolution("conv1", "expand"),
    *_slopes("hyper1", "expand_relu"),
    *_convolution("conv2", "depthwise"),
    *_slopes("hyper2", "depthwise_relu"),
    *_convolution("conv3", "project"),
    # down block: `mark_down_blocks` puts the prefix there
    *_convolution("down_conv1", "first_depthwise"),
    *_slopes("down_hyper1", "first_relu"),
    *_convolution("down_conv2", "first_project"),
    *_convolution("down_conv3", "second_depthwise"),
    *_slopes("down_hyper3", "second_relu"),
    *_convolution("down_conv4", "second_project"),
    *_read(_BLOCK, r"blocks.\1."),
    *((rf"{_BLOCK}global_block\.{theirs}\.", rf"blocks.\1.former.{ours}.") for theirs, ours in _FORMER.items()),
    (rf"{_BLOCK}global_local\.k\.", r"blocks.\1.write.key."),
    (rf"{_BLOCK}global_local\.proj\.", r"blocks.\1.write.value."),
    *_read("", ""),
    (r"classifier\.conv\.1\.", "head.project.conv."),
    (r"classifier\.conv\.2\.", "head.project.norm."),
    (r"classifier\.fc\.0\.", "head.fuse."),
    (r"classifier\.fc\.1\.", "head.fuse_norm."),
    (r"classifier\.classifier\.1\.", "classifier."),
)


def mark_down_blocks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same entries, with those of a down block's convolutions and slopes renamed: `conv2` is another part there.

    A down block is one that has a fourth convolution.
    """
    downs = {match[1] for name in state if (match := re.match(rf"{_BLOCK}conv4\.", name))}
    marked = {}
    for name, tensor in state.items():
        match = re.match(rf"{_BLOCK}(conv\d|hyper\d)", name)
        in_down = match is not None and match[1] in downs
        marked[re.sub(rf"\A{_BLOCK}", r"features.\1.down_", name) if in_down else name] = tensor
    return marked


PUBLISHED_ARGUMENTS: dict[str, Any] = {
    "gbr_type": "attn",
    "gbr_dynamic": [True, False, False],
    "gbr_ffn": True,
    "gbr_norm": "post",
    "gbr_before_skip": False,
    "gbr_drop": [0.0, 0.0],
    "width_mult": 1.0,
    "dw_conv": "dw",
    "kernel_size": [3, 3],
    "cls_token_num": 1,
    "hyper_token_id": 0,
    "hyper_reduction_ratio": 4,
    "last_act": "relu",
    "last_exp": 6,
    "remove_proj_local": True,
    "in_chans": 3,
    "former_ffn_expansion": 2,
    "bn_eps": 1e-5,
    "ln_eps": 1e-5,
}
"""Arguments of the author's constructor that have one value in all published nets, the only one supported here."""

IDLE_ARGUMENTS = {"img_size", "cnn_exp", "mlp_token_exp", "image_height", "image_width", "batch", "seed"}
"""Arguments, and notes stored with them, that change nothing."""

SIZE_ARGUMENTS = {
    "stem_chs": "stem_dim",
    "token_num": "num_tokens",
    "token_dim": "token_dim",
    "num_features": "fused_dim",
    "num_classes": "num_classes",
    "group_num": "groups",
    "attn_num_heads": "bridge_heads",
    "former_heads": "former_heads",
}
"""The author's names of sizes, mapped to ours."""


def build(checkpoint: Checkpoint, **config: Any) -> MobileFormer:
    """The image net of the checkpoint's sizes.

    `config`: empty for a published variant; for any other net, the arguments of the author's constructor with
    `block_args`, rows of (kind, e1, channels, repeats, stride, e2).
    """
    if "block_args" in config:
        return MobileFormer(from_arguments(config, source=checkpoint.source))
    if config:
        raise WeightsError(f"{checkpoint.source}: {', '.join(sorted(config))} given, but no block_args with it")
    return MobileFormer(_published(checkpoint))


def from_arguments(arguments: dict[str, Any], *, source: str) -> MobileFormerConfig:
    """Our configuration from the arguments of the author's constructor; arguments we do not compute are refused."""
    sizes = {ours: arguments[theirs] for theirs, ours in SIZE_ARGUMENTS.items() if theirs in arguments}
    if missing := {"stem_dim", "num_tokens", "token_dim", "fused_dim"} - sizes.keys():
        names = sorted(theirs for theirs, ours in SIZE_ARGUMENTS.items() if ours in missing)
        raise WeightsError(f"{source}: block_args given without {', '.join(names)}")
    known = PUBLISHED_ARGUMENTS.keys() | IDLE_ARGUMENTS | SIZE_ARGUMENTS.keys() | {"block_args", "se_flag"}
    if unknown := sorted(arguments.keys() - known):
        raise WeightsError(f"{source}: no argument {', '.join(unknown)} in the author's constructor")
    for name, value in PUBLISHED_ARGUMENTS.items():
        if _plain(arguments.get(name, value)) != value:
            raise WeightsError(f"{source}: {name}={arguments[name]!r} is not computed here, only {value!r}")
    flags = _plain(arguments.get("se_flag", [2, 0, 2, 0]))
    if [flags[0], *flags[2:]] != [2, 2, 0]:  # which activations are dynamic; the second flag is never read
        raise WeightsError(f"{source}: se_flag={flags} is not computed here, only [2, 0, 2, 0]")
    return MobileFormerConfig(blocks=_blocks(arguments["block_args"]), **sizes)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _blocks(rows: Sequence[Sequence[Any]]) -> tuple[BlockConfig, ...]:
    """The author's rows unrolled; only the first of a row's repeats is strided."""
    blocks = []
    for kind, first, dim, repeats, stride, second in rows:
        for repeat in range(repeats):
            blocks.append(author_block(kind, first, _round_to_four(dim), stride if repeat == 0 else 1, second))
    return tuple(blocks)


def author_block(kind: str, first: int, dim: int, stride: int, second: int) -> BlockConfig:
    """The author's block in our terms: DnaBlock is standard; DnaBlock3 down, or lite without a second pair."""
    if kind == "DnaBlock":
        return BlockConfig("standard", dim, first, stride)
    if kind != "DnaBlock3":
        raise WeightsError(f"block_args: {kind!r} is neither DnaBlock nor DnaBlock3")
    if second == 0 or first == 1:
        return BlockConfig("lite", dim, first, stride)
    return BlockConfig("down", dim, first, stride, second_expansion=second)


def _round_to_four(dim: int) -> int:
    """The nearest multiple of four, at least four and never more than a tenth below `dim`."""
    rounded = max(4, (dim + 2) // 4 * 4)
    return rounded + 4 if rounded < 0.9 * dim else rounded


def _published(checkpoint: Checkpoint) -> MobileFormerConfig:
    """The published variant with the checkpoint's sizes; the class layer may have any number of classes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
    needed = ("stem.0.weight", "tokens.weight", "classifier.fc.0.weight", "classifier.conv.1.weight")
    if absent := [name for name in needed if name not in shapes]:
        raise WeightsError(
            f"{checkpoint.source}: not a Mobile-Former checkpoint, it has no {', '.join(absent)}; give the file of "
            "such an encoder, the authors' or one of `longvid finetune`"
        )
    stem, tokens, fuse, project = (shapes[name] for name in needed)
    blocks = 1 + max((int(match[1]) for name in shapes if (match := re.match(_BLOCK, name))), default=-1)
    seen = (stem[0], *tokens, fuse[0], project[1], blocks)
    classes = shapes.get("classifier.classifier.1.weight", (1000,))[0]
    for config in IMAGE_CONFIGS.values():
        last = config.blocks[-1].dim // config.groups
        sizes = (config.stem_dim, config.num_tokens, config.token_dim, config.fused_dim, last, len(config.blocks))
        if seen == sizes:
            return replace(config, num_classes=classes)
    raise WeightsError(
        f"{checkpoint.source}: no published Mobile-Former has a stem of {stem[0]}, {tokens[0]} tokens of {tokens[1]}, "
        f"{fuse[0]} features and {blocks} blocks; give block_args and the other arguments of the author's constructor"
    )


def from_config(config: dict[str, Any]) -> MobileFormer:
    """The net, for images or clips, from plain JSON values."""
    return MobileFormer(MobileFormerConfig.from_dict(config))


LAYOUT = OfficialLayout(
    build=build,
    from_config=from_config,
    renames=RENAMES,
    prepare=mark_down_blocks,
    optional=(r".*\.num_batches_tracked",),
)
