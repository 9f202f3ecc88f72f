"""Each part of Mobile-Former equals its slow, obvious form."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longvid.encoders.mobile_former.blocks import CACHED_VALUES, DynamicReLU
from longvid.encoders.mobile_former.bridges import to_map, to_rows
from longvid.encoders.mobile_former.convolutions import ConvNorm, channel_shuffle


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random_norm(convolution: ConvNorm, generator: torch.Generator) -> None:
    norm = convolution.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.2, 2, generator=generator)
        norm.weight.normal_(generator=generator)
        norm.bias.normal_(generator=generator)


def slow_conv_norm(module: ConvNorm, features: Tensor) -> Tensor:
    """3D convolutions in their own layout, then batch norm."""
    conv, taps = module.conv, module.taps
    features = functional.conv3d(
        features,
        conv.weight[:, :, None],
        stride=(1, *conv.stride),
        padding=(0, *conv.padding),
        groups=conv.groups,
    )
    if taps is not None:
        features = functional.conv3d(
            features,
            taps.weight[..., None],
            stride=(*taps.stride, 1),
            padding=(*taps.padding, 0),
            groups=taps.groups,
        )
    return channel_shuffle(module.norm(features), module.shuffle)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": 1, "groups": 2},
        {"kernel": 1, "groups": 4, "shuffle": 4},
        {"kernel": 3, "stride": 2},
        {"kernel": 3, "groups": 8, "time_taps": 3},
        {"kernel": 3, "groups": 8, "stride": 2, "time_taps": 3, "time_stride": 2},
        {"kernel": 3, "groups": 8, "time_taps": 5},
    ],
    ids=str,
)
def test_convolution_on_views_with_folded_norm_equals_3d_convolution_then_norm(
    options: dict[str, int], batch: int, generator: torch.Generator
) -> None:
    module = ConvNorm(8, 16, **options).double().eval()
    random_norm(module, generator)
    features = torch.randn(batch, 8, 5, 7, 6, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        expected = slow_conv_norm(module, features)
        torch.testing.assert_close(module(features), expected)
        channels_last = features.contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(module(channels_last), expected)
        module.train()
        statistics = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        trained = module(features)
        module.load_state_dict(statistics)
        torch.testing.assert_close(trained, slow_conv_norm(module, features))


def test_spatial_kernel_and_taps_are_one_cubic_kernel_of_rank_one(generator: torch.Generator) -> None:
    module = ConvNorm(6, 6, kernel=3, groups=6, time_taps=3).double().eval()
    assert module.taps is not None
    features = torch.randn(2, 6, 5, 4, 4, dtype=torch.float64, generator=generator)
    cubic = module.taps.weight[..., None] * module.conv.weight[:, :, None]
    expected = functional.conv3d(features, cubic, padding=1, groups=6) * (1 + module.norm.eps) ** -0.5
    torch.testing.assert_close(module(features), expected)


def test_maps_stay_channels_last_between_parts() -> None:
    """Even of one clip, whose batch stride torch is free to choose: the wrong one costs a copy of every map."""
    module = ConvNorm(8, 8, kernel=3, groups=8, time_taps=3).eval()
    clip = torch.randn(1, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        assert module(clip).stride()[1:] == clip.stride()[1:]


def test_channel_shuffle_deals_the_groups_out() -> None:
    channels = torch.arange(6.0).reshape(1, 6, 1, 1, 1)
    assert channel_shuffle(channels, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_rows_of_a_map_are_its_positions_in_order_and_become_the_map_again(generator: torch.Generator) -> None:
    features = torch.randn(2, 8, 3, 4, 5, generator=generator)
    rows = to_rows(features)
    assert torch.equal(rows[1, (2 * 4 + 1) * 5 + 3], features[1, :, 2, 1, 3])
    assert torch.equal(to_map(rows, features.shape[2:]), features)


@pytest.mark.parametrize("frames", [1, 3, 9])
def test_dynamic_relu_in_pieces_equals_the_formula(frames: int, generator: torch.Generator) -> None:
    relu = DynamicReLU(16, 8).double()
    torch.nn.init.normal_(relu.generator.expand.weight, generator=generator)
    side = int((CACHED_VALUES / 16) ** 0.5)  # two frames of two clips a piece
    features = torch.randn(2, 8, frames, side // 2, side, dtype=torch.float64, generator=generator)
    token = torch.randn(2, 16, dtype=torch.float64, generator=generator)
    first, second = relu.generator(token)[:, :, None, None, None].chunk(2, 1)
    expected = torch.maximum(2 * first * features, (2 * second - 1) * features)
    torch.testing.assert_close(relu(features, token), expected)  # recorded for gradients
    with torch.no_grad():
        given = features.clone()
        assert torch.equal(relu(given, token), relu(features.requires_grad_(False).clone(), token))
        torch.testing.assert_close(given, expected)


def test_dynamic_relu_starts_as_relu_and_is_relu_when_its_generator_is_zero(generator: torch.Generator) -> None:
    relu = DynamicReLU(16, 8)
    for linear in (relu.generator.reduce, relu.generator.expand):
        torch.nn.init.normal_(linear.weight, std=0.01, generator=generator)
        torch.nn.init.zeros_(linear.bias)
    features = torch.randn(2, 8, 2, 3, 3, generator=generator)
    token = torch.randn(2, 16, generator=generator)
    assert torch.allclose(relu(features, token), functional.relu(features), atol=0.05)
    torch.nn.init.zeros_(relu.generator.expand.weight)
    assert torch.equal(relu(features, token), functional.relu(features))


def test_dynamic_relu_slopes_differ_between_clips_and_not_between_positions(generator: torch.Generator) -> None:
    relu = DynamicReLU(16, 4)
    torch.nn.init.normal_(relu.generator.expand.weight, generator=generator)
    token = torch.randn(2, 16, generator=generator)
    activated = relu(torch.ones(2, 4, 3, 2, 2), token)
    assert torch.equal(activated, activated[:, :, :1, :1, :1].expand_as(activated))
    assert not torch.allclose(activated[0], activated[1])
