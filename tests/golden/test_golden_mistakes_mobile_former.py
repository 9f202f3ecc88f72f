"""Typical mistakes in Mobile-Former make every golden fixture fail."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longvid.encoders.mobile_former import blocks, convolutions, model, official
from longvid.encoders.mobile_former.blocks import (
    Bottleneck,
    BridgedBlock,
    DownSampling,
    DynamicReLU,
    LiteBlock,
)
from longvid.encoders.mobile_former.bridges import to_map, to_rows
from longvid.encoders.mobile_former.convolutions import ConvNorm
from longvid.encoders.mobile_former.model import Head, HeadOutput
from longvid.layers import tokens as token_layers
from longvid.layers.tokens import Former, Read, SlopeGenerator, Write

Bites = Callable[[str, str], None]
gelu = functional.gelu
relu6 = functional.relu6


def slopes_used(pick: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    """A dynamic ReLU that reads its slopes out of theta in another way."""

    def forward(relu: DynamicReLU, features: Tensor, token: Tensor) -> Tensor:
        first, second = pick(relu.generator(token)[:, :, None, None, None])
        return torch.maximum(features * 2 * first, features * (2 * second - 1))

    return forward


def swapped_halves(theta: Tensor) -> tuple[Tensor, Tensor]:
    second, first = theta.chunk(2, 1)
    return first, second


def interleaved_halves(theta: Tensor) -> tuple[Tensor, Tensor]:
    return theta[:, ::2], theta[:, 1::2]


def plain_relu(relu: DynamicReLU, features: Tensor, token: Tensor) -> Tensor:
    return functional.relu(features)


def sigmoid_slopes(generator: SlopeGenerator, token: Tensor) -> Tensor:
    return generator.expand(functional.relu(generator.reduce(token))).sigmoid()


def gated_by(gate: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Read with another gate."""

    def forward(read: Read, tokens: Tensor, rows: Tensor) -> Tensor:
        seen = attend(read.queries(tokens), rows, heads=read.heads)
        assert read.gate is not None
        return read.norm(tokens + read.out(seen * gate(read.gate(tokens))))

    return forward


def pre_norm_read(read: Read, tokens: Tensor, rows: Tensor) -> Tensor:
    seen = attend(read.queries(read.norm(tokens)), rows, heads=read.heads)
    assert read.gate is not None
    return tokens + read.out(seen * 2 * functional.hardsigmoid(read.gate(tokens)))


def scaled_by_full_width(queries: Tensor, rows: Tensor, *, heads: int) -> Tensor:
    return attend(queries * heads**-0.5, rows, heads=heads)


def one_head(queries: Tensor, rows: Tensor, *, heads: int) -> Tensor:
    return attend(queries, rows, heads=1)


def heads_interleaved(queries: Tensor, rows: Tensor, *, heads: int) -> Tensor:
    def deal(tensor: Tensor, parts: int) -> Tensor:
        return tensor.unflatten(-1, (parts, -1)).transpose(-1, -2).flatten(-2)

    return deal(
        attend(deal(queries, queries.shape[-1] // heads), deal(rows, rows.shape[-1] // heads), heads=heads), heads
    )


def channels_scrambled_with_positions(features: Tensor) -> Tensor:
    return features.flatten(2).reshape(len(features), -1, features.shape[1])


def former_without_mlp(former: Former, tokens: Tensor) -> Tensor:
    queries = former.query(tokens) * (tokens.shape[-1] // former.heads) ** -0.5
    return former.norm(tokens + former.out(attend(queries, tokens, heads=former.heads)))


def key_and_value_swapped(write: Write, rows: Tensor, tokens: Tensor) -> Tensor:
    write.key, write.value = write.value, write.key
    written = write_forward(write, rows, tokens)
    write.key, write.value = write.value, write.key
    return written


def no_depthwise(mobile: Bottleneck, features: Tensor, token: Tensor) -> Tensor:
    hidden = mobile.depthwise_relu(mobile.expand_relu(mobile.expand(features), token), token)
    return mobile.project(hidden) + (features if mobile.residual else 0)


def no_residual(mobile: Bottleneck, features: Tensor, token: Tensor) -> Tensor:
    hidden = mobile.expand_relu(mobile.expand(features), token)
    return mobile.project(mobile.depthwise_relu(mobile.depthwise(hidden), token))


def no_inner_residual(mobile: DownSampling, features: Tensor, token: Tensor) -> Tensor:
    smaller = mobile.first_project(mobile.first_relu(mobile.first_depthwise(features), token))
    return mobile.second_project(mobile.second_relu(mobile.second_depthwise(smaller), token))


def no_lite_residual(block: LiteBlock, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    return block.project(relu6(block.depthwise(features))), tokens


def written(block: BridgedBlock, features: Tensor, tokens: Tensor) -> Tensor:
    return to_map(block.write(to_rows(features), tokens), features.shape[2:])


def relu_from(choose: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A block whose activations are set by another token, chosen from (incoming, updated)."""

    def forward(block: BridgedBlock, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        updated = block.former(block.read(tokens, to_rows(features)))
        return written(block, block.mobile(features, choose(tokens, updated)), updated), updated

    return forward


def write_from_incoming_tokens(block: BridgedBlock, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    updated = block.former(block.read(tokens, to_rows(features)))
    return written(block, block.mobile(features, updated[:, 0]), tokens), updated


def residual_after_write(block: BridgedBlock, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    tokens = block.former(block.read(tokens, to_rows(features)))
    after = block.mobile(features, tokens[:, 0])
    kept = features if isinstance(block.mobile, Bottleneck) and block.mobile.residual else torch.zeros_like(after)
    return kept + written(block, after - kept, tokens), tokens


def head_with(pool: Callable[[Tensor], Tensor]) -> Callable[..., HeadOutput]:
    """A head that pools its map in another way."""

    def forward(head: Head, features: Tensor, token: Tensor) -> HeadOutput:
        features = relu6(head.project(features))
        fused = head.fuse(torch.cat([pool(features), token], dim=1))
        return HeadOutput(features, functional.hardswish(head.fuse_norm(fused)))

    return forward


def wider_epsilon(convolution: ConvNorm) -> tuple[Tensor, Tensor]:
    convolution.norm.eps = 1e-3
    folded = folded_norm(convolution)
    convolution.norm.eps = 1e-5
    return folded


attend = token_layers.attend
write_forward = Write.forward
folded_norm = ConvNorm._folded_norm

MISTAKES = {
    "slopes swapped": (DynamicReLU, "forward", slopes_used(swapped_halves)),
    "slopes interleaved": (DynamicReLU, "forward", slopes_used(interleaved_halves)),
    "plain ReLU": (DynamicReLU, "forward", plain_relu),
    "sigmoid slopes": (SlopeGenerator, "forward", sigmoid_slopes),
    "norm before Read": (Read, "forward", pre_norm_read),
    "gate left out": (Read, "forward", gated_by(torch.ones_like)),
    "gate without its factor of two": (Read, "forward", gated_by(functional.hardsigmoid)),
    "sigmoid gate": (Read, "forward", gated_by(lambda scores: 2 * scores.sigmoid())),
    "scale of the full width": (token_layers, "attend", scaled_by_full_width),
    "one head": (token_layers, "attend", one_head),
    "heads interleaved": (token_layers, "attend", heads_interleaved),
    "channels scrambled with positions": (blocks, "to_rows", channels_scrambled_with_positions),
    "no MLP in the Former": (Former, "forward", former_without_mlp),
    "tanh GELU": (functional, "gelu", lambda tensor: gelu(tensor, approximate="tanh")),
    "key and value swapped": (Write, "forward", key_and_value_swapped),
    "no depth-wise convolution": (Bottleneck, "forward", no_depthwise),
    "no residual": (Bottleneck, "forward", no_residual),
    "no residual inside the down block": (DownSampling, "forward", no_inner_residual),
    "no residual in the lite block": (LiteBlock, "forward", no_lite_residual),
    "ReLU from the incoming tokens": (BridgedBlock, "forward", relu_from(lambda incoming, _: incoming[:, 0])),
    "ReLU from the last token": (BridgedBlock, "forward", relu_from(lambda _, updated: updated[:, -1])),
    "ReLU from the mean token": (BridgedBlock, "forward", relu_from(lambda _, updated: updated.mean(1))),
    "Write from the incoming tokens": (BridgedBlock, "forward", write_from_incoming_tokens),
    "residual after Write": (BridgedBlock, "forward", residual_after_write),
    "hswish before pooling": (Head, "forward", head_with(lambda map_: functional.hardswish(map_).mean(dim=(2, 3, 4)))),
    "no hswish after pooling": (Head, "forward", head_with(lambda map_: map_.mean(dim=(2, 3, 4)))),
    "ReLU for ReLU6": (functional, "relu6", lambda tensor, inplace=False: functional.relu(tensor)),
    "SiLU for hswish": (functional, "hardswish", functional.silu),
    "wider batch norm epsilon": (ConvNorm, "_folded_norm", wider_epsilon),
}

PARTS = {
    "no channel shuffle": ("channel_shuffle", lambda features, groups: features),
    "channel shuffle turned round": (
        "channel_shuffle",
        lambda features, groups: features.unflatten(1, (-1, groups)).transpose(1, 2).flatten(1, 2),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_golden_nets_catch_a_mistake(mistake: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    monkeypatch.setattr(*MISTAKES[mistake])
    golden_bites("mobile_former", "model")


@pytest.mark.parametrize("mistake", ["slopes swapped", "slopes interleaved", "sigmoid slopes"])
def test_the_golden_dynamic_relu_catches_a_mistake(
    mistake: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(*MISTAKES[mistake])
    golden_bites("mobile_former", "dynamic relu")


@pytest.mark.parametrize("mistake", PARTS)
def test_the_golden_blocks_catch_a_mistake_in_the_shuffle(
    mistake: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    name, wrong = PARTS[mistake]
    monkeypatch.setattr(convolutions, name, wrong)
    golden_bites("mobile_former", "blocks")


def test_golden_nets_catch_a_missing_last_read(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    def run(net: model.MobileFormer, clips: Tensor) -> tuple[HeadOutput, Tensor]:
        features = relu6(net.stem(clips))
        tokens = net.initial_tokens.expand(len(clips), -1, -1)
        for block in net.blocks:
            features, tokens = block(features, tokens)
        net.read(tokens, to_rows(features))
        return net.head(features, tokens[:, 0]), net.read(tokens, to_rows(features))

    monkeypatch.setattr(model.MobileFormer, "_run", run)
    golden_bites("mobile_former", "model")


def test_golden_nets_catch_mistaken_names(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    """The Former's `channel_mlp` and `q`, both square, loaded into each other."""
    renames = tuple(
        (pattern.replace("channel_mlp", "X").replace(r"\.q\.", r"\.channel_mlp\.").replace("X", "q"), ours)
        if "global_block" in pattern
        else (pattern, ours)
        for pattern, ours in official.RENAMES
    )
    monkeypatch.setattr(official, "LAYOUT", replace(official.LAYOUT, renames=renames))
    golden_bites("mobile_former", "model")
