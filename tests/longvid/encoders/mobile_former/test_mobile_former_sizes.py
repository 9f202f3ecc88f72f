"""The variants have the published sizes: parameters exactly, multiply-adds within half a percent."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from longvid.encoders.mobile_former import (
    IMAGE_CONFIGS,
    PUBLISHED,
    VARIANTS,
    BlockConfig,
    MobileFormer,
    MobileFormerConfig,
    for_video,
)
from longvid.errors import EncoderError
from longvid.plain import as_json

IMAGE_PARAMETERS = {
    "26m": 3_232_788,
    "52m": 3_469_092,
    "96m": 4_585_252,
    "151m": 7_595_828,
    "214m": 9_425_920,
    "294m": 11_422_648,
    "508m": 13_976_976,
}
IMAGE_MEGAMACS = {"26m": 23.6, "52m": 49.3, "96m": 92.0, "151m": 146.2, "214m": 208.4, "294m": 286.7, "508m": 498.5}
VIDEO_PARAMETERS = {
    "26m": 2_625_096,
    "52m": 2_861_400,
    "96m": 3_826_708,
    "151m": 6_841_316,
    "214m": 8_483_068,
    "294m": 10_291_216,
    "508m": 12_852_408,
}
VIDEO_MEGAMACS = {
    "video-mobile-former-500m": 462.8,
    "video-mobile-former-1g": 735.0,
    "video-mobile-former-1g-32f": 921.0,
    "video-mobile-former-2g": 2059.1,
    "video-mobile-former-4g": 4271.5,
    "video-mobile-former-6g": 5750.0,
}


def on_paper(config: MobileFormerConfig) -> MobileFormer:
    """The net without memory for its weights."""
    with torch.device("meta"):
        return MobileFormer(config).eval().requires_grad_(False)


def parameters(config: MobileFormerConfig) -> int:
    return sum(parameter.numel() for parameter in on_paper(config).parameters())


def megamacs(config: MobileFormerConfig, frames: int) -> float:
    """Convolutions and matrix products of one clip of 224x224 pixels."""
    net = on_paper(config)
    with FlopCounterMode(display=False) as counter:
        net.classify(torch.zeros(1, 3, frames, 224, 224, device="meta"))
    return counter.get_total_flops() / 2e6


@pytest.mark.parametrize("size", IMAGE_CONFIGS)
def test_image_nets_have_exactly_the_published_codes_parameters(size: str) -> None:
    assert parameters(IMAGE_CONFIGS[size]) == IMAGE_PARAMETERS[size]


@pytest.mark.parametrize("size", IMAGE_CONFIGS)
def test_image_nets_cost_what_is_published_less_norms_and_activations(size: str) -> None:
    measured = megamacs(IMAGE_CONFIGS[size], 1)
    assert measured == pytest.approx(IMAGE_MEGAMACS[size], rel=0.005)
    published = PUBLISHED[f"mobile-former-{size}"]
    assert published.gflops is not None
    assert published.parameters is not None
    assert 1.0 < 1000 * published.gflops / measured < 1.11
    assert published.parameters == pytest.approx(IMAGE_PARAMETERS[size], rel=0.02)


@pytest.mark.parametrize("size", IMAGE_CONFIGS)
def test_taps_add_three_weights_a_depthwise_channel(size: str) -> None:
    assert parameters(for_video(IMAGE_CONFIGS[size])) == VIDEO_PARAMETERS[size]
    without = parameters(for_video(IMAGE_CONFIGS[size], time_taps=1))
    taps = on_paper(for_video(IMAGE_CONFIGS[size])).temporal_taps()
    assert VIDEO_PARAMETERS[size] - without == 3 * sum(kernel.shape[0] for kernel in taps)


@pytest.mark.parametrize("name", VIDEO_MEGAMACS)
def test_video_nets_cost_what_their_name_says(name: str) -> None:
    variant = VARIANTS[name]
    measured = megamacs(variant.config, variant.frames)
    assert measured == pytest.approx(VIDEO_MEGAMACS[name], rel=0.005)
    text = name.split("-")[3]
    named = float(text[:-1]) * (1000 if text.endswith("g") else 1)
    assert 0.7 * named < measured < 1.08 * named
    assert PUBLISHED[name].gflops is None


def test_the_family_spans_half_to_six_gflops_and_two_nets_stay_under_one_with_sixteen_frames_or_more() -> None:
    assert min(VIDEO_MEGAMACS.values()) < 500
    assert 5500 < max(VIDEO_MEGAMACS.values()) < 6000
    cheap = {name for name, cost in VIDEO_MEGAMACS.items() if cost < 1000}
    assert cheap == {"video-mobile-former-500m", "video-mobile-former-1g", "video-mobile-former-1g-32f"}
    assert {VARIANTS[name].frames for name in cheap} == {16, 32}


def test_twice_the_frames_cost_twice_the_maps_and_no_more_tokens(tiny: MobileFormerConfig) -> None:
    costs = [megamacs(for_video(tiny), frames) for frames in (4, 8, 12)]
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0], rel=1e-12)
    fixed = 2 * costs[0] - costs[1]
    assert 0 < fixed < 0.01 * costs[0]


def test_a_configuration_survives_json() -> None:
    for variant in VARIANTS.values():
        assert MobileFormerConfig.from_dict(as_json(variant.config)) == variant.config


def test_impossible_configurations_are_refused_with_what_is_wrong(tiny: MobileFormerConfig) -> None:
    with pytest.raises(EncoderError, match="odd"):
        for_video(tiny, time_taps=2)
    with pytest.raises(EncoderError, match="2 down blocks"):
        for_video(tiny, time_strides=(1, 2, 2))
    with pytest.raises(EncoderError, match="time_taps=3"):
        for_video(tiny, time_strides=(1, 2), time_taps=1)
    with pytest.raises(EncoderError, match="second expansion"):
        BlockConfig("down", 8, 4, stride=2)
    with pytest.raises(EncoderError, match="stride 1"):
        BlockConfig("standard", 8, 4, stride=2)
    with pytest.raises(EncoderError, match="in time"):
        BlockConfig("lite", 8, 4, time_stride=2)
    with pytest.raises(EncoderError, match="groups=4"):
        MobileFormerConfig(8, (BlockConfig("lite", 10, 3),), 3, 32, 16, groups=4)
    with pytest.raises(EncoderError, match="bridge_heads=3"):
        MobileFormerConfig(8, (BlockConfig("standard", 9, 3),), 3, 32, 16, bridge_heads=3)
    with pytest.raises(EncoderError, match="standard block"):
        MobileFormerConfig(8, (BlockConfig("down", 8, 3, second_expansion=2),), 3, 32, 16)
