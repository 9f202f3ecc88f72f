"""The author's checkpoint layout, our own files, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from longvid.checkpoints import load_official, load_weights, save_weights
from longvid.encoders.mobile_former import IMAGE_CONFIGS, VARIANTS, MobileFormer, MobileFormerConfig, build, for_video
from longvid.encoders.mobile_former.build import Variant, build_mobile_former
from longvid.encoders.mobile_former.official import LAYOUT, from_arguments
from longvid.errors import EncoderError, WeightsError

Scramble = Callable[..., MobileFormer]

TINY_ARGUMENTS = {
    "block_args": [
        ["DnaBlock3", 2, 8, 1, 1, 0],
        ["DnaBlock3", 3, 12, 1, 2, 2],
        ["DnaBlock", 3, 12, 1, 1, 3],
        ["DnaBlock3", 3, 16, 1, 2, 2],
        ["DnaBlock", 3, 20, 1, 1, 3],
    ],
    "stem_chs": 8,
    "token_num": 3,
    "token_dim": 32,
    "num_features": 24,
    "num_classes": 10,
}


def official_state(net: MobileFormer) -> dict[str, Tensor]:
    """The net's state under the author's names, found by trying each of them."""
    kinds = {index: block.kind for index, block in enumerate(net.config.blocks)}

    def layers(convolutions: int, *activated: int) -> list[str]:
        norms = [f"conv{number}.{index}" for number in range(1, convolutions + 1) for index in (0, 1)]
        return norms + [f"hyper{number}.hyper.{index}" for number in activated for index in (0, 2)]

    lite = ["conv.0", "conv.1", "conv.4", "conv.5"]
    parts = {"lite": lite, "standard": layers(3, 1, 2), "down": layers(4, 1, 3)}
    read = [f"local_global.{name}" for name in ("q", "alpha.0", "proj", "layer_norm")]
    former = [f"global_block.{name}" for name in ("q", "channel_mlp", "layer_norm", "ffn.0", "ffn.2", "ffn_norm")]
    bridges = [*read, *former, "global_local.k", "global_local.proj"]
    names = ["stem.0", "stem.1", "classifier.conv.1", "classifier.conv.2", "classifier.fc.0", "classifier.fc.1"]
    names += ["classifier.classifier.1", "tokens", *read]
    for index, kind in kinds.items():
        names += [f"features.{index}.{part}" for part in parts[kind] + (bridges if kind != "lite" else [])]
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    candidates = [f"{name}.{leaf}" for name in names for leaf in leaves]
    marked = LAYOUT.prepare(dict.fromkeys(candidates, torch.zeros(0)))
    own = net.state_dict()
    found = {}
    for theirs, ready in zip(candidates, marked, strict=True):
        try:
            ours = LAYOUT.rename(ready)
        except LookupError:  # such as tokens.bias
            continue
        if ours in own:
            found[theirs] = own[ours]
    assert len(found) == len(own)
    return found


@pytest.mark.parametrize("size", ["26m", "151m"])
def test_a_published_variant_is_recognised_by_its_sizes(size: str) -> None:
    torch.manual_seed(0)
    net = MobileFormer(replace(IMAGE_CONFIGS[size], num_classes=7)).eval()
    loaded = load_official("mobile_former", {"state_dict": {f"module.{k}": v for k, v in official_state(net).items()}})
    assert isinstance(loaded, MobileFormer)
    assert loaded.config == net.config
    clip = torch.randn(1, 3, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.classify(clip), net.classify(clip))


def test_every_published_variant_has_sizes_of_its_own() -> None:
    seen = {
        (c.stem_dim, c.num_tokens, c.token_dim, c.fused_dim, c.blocks[-1].dim // c.groups, len(c.blocks))
        for c in IMAGE_CONFIGS.values()
    }
    assert len(seen) == len(IMAGE_CONFIGS)


def test_arguments_of_the_authors_constructor_make_any_net(tiny: MobileFormerConfig, scrambled: Scramble) -> None:
    net = scrambled(tiny)
    loaded = load_official("mobile_former", official_state(net), **TINY_ARGUMENTS)
    assert isinstance(loaded, MobileFormer)
    assert loaded.config == tiny
    rows = [["DnaBlock3", 1, 10, 2, 2, 4]]
    unrolled = from_arguments({**TINY_ARGUMENTS, "block_args": rows}, source="here").blocks
    assert [(block.kind, block.dim, block.stride) for block in unrolled] == [("lite", 12, 2), ("lite", 12, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({**TINY_ARGUMENTS, "gbr_norm": "pre"}, "gbr_norm='pre' is not computed"),
        ({**TINY_ARGUMENTS, "se_flag": [2, 0, 0, 0]}, "se_flag"),
        ({**TINY_ARGUMENTS, "depth": 3}, "no argument depth"),
        ({"block_args": []}, "without num_features, stem_chs, token_dim, token_num"),
        ({"stem_chs": 8}, "no block_args"),
        ({**TINY_ARGUMENTS, "block_args": [["Bottleneck", 1, 8, 1, 1, 0]]}, "neither DnaBlock nor DnaBlock3"),
        ({}, "no published Mobile-Former has a stem of 8, 3 tokens of 32, 24 features and 5 blocks"),
    ],
)
def test_a_net_we_do_not_compute_is_refused(
    arguments: dict[str, object], message: str, tiny: MobileFormerConfig, scrambled: Scramble
) -> None:
    with pytest.raises(WeightsError, match=message):
        load_official("mobile_former", official_state(scrambled(tiny)), **arguments)


def test_a_checkpoint_that_does_not_fit_says_what_is_missing_unknown_and_misshapen(
    tiny: MobileFormerConfig, scrambled: Scramble
) -> None:
    state = official_state(scrambled(tiny))
    del state["features.2.local_global.alpha.0.weight"]
    state["features.1.conv5.0.weight"] = torch.zeros(3)
    state["classifier.classifier.1.bias"] = torch.zeros(11)
    with pytest.raises(WeightsError) as refused:
        load_official("mobile_former", state, **TINY_ARGUMENTS)
    for part in ("blocks.2.read.gate.weight", "conv5", "classifier.bias is (11,)"):
        assert part in str(refused.value)
    with pytest.raises(WeightsError, match=r"it has no stem\.0\.weight"):
        load_official("mobile_former", {"layer.weight": torch.zeros(2)})


def test_counters_of_batches_may_be_missing(tiny: MobileFormerConfig, scrambled: Scramble) -> None:
    net = scrambled(tiny)
    state = {k: v for k, v in official_state(net).items() if not k.endswith("num_batches_tracked")}
    loaded = load_official("mobile_former", state, **TINY_ARGUMENTS).state_dict()
    learned = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(loaded[name], tensor) for name, tensor in learned.items())


def test_a_saved_net_loads_as_it_was(tiny: MobileFormerConfig, scrambled: Scramble, tmp_path: Path) -> None:
    net = scrambled(for_video(tiny, time_strides=(1, 2)))
    path = save_weights(net, tmp_path / "net.safetensors", architecture="mobile_former", config=net.config)
    loaded = load_weights(path)
    assert isinstance(loaded, MobileFormer)
    assert loaded.config == net.config
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.classify(clip), net.classify(clip))


@pytest.fixture
def variants(tiny: MobileFormerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants of one image net, small enough to write to disk."""
    monkeypatch.setitem(VARIANTS, "mobile-former-tiny", Variant(tiny))
    monkeypatch.setitem(VARIANTS, "video-mobile-former-tiny", Variant(for_video(tiny, num_classes=5), 4, 8.0))


@pytest.mark.usefixtures("variants")
def test_a_video_encoder_takes_over_image_weights_and_says_where_from(
    tiny: MobileFormerConfig, scrambled: Scramble, tmp_path: Path
) -> None:
    image = scrambled(tiny)
    path = save_weights(image, tmp_path / "image.safetensors", architecture="mobile_former", config=image.config)
    encoder = build_mobile_former("video-mobile-former-tiny", weights=path, seed=4).eval()
    assert encoder.spec.weights == str(path)
    assert encoder.config.num_classes == 5
    still = torch.randn(1, 3, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        video_clip = encoder.double()(still.expand(-1, -1, 4, -1, -1)).clip
        torch.testing.assert_close(video_clip, image.double()(still).clip)
    again = build_mobile_former("video-mobile-former-tiny", weights=path, seed=4)
    assert again.spec.weights_sha256 == encoder.spec.weights_sha256
    same = build_mobile_former("mobile-former-tiny", weights=path)
    assert same.config == image.config


@pytest.mark.usefixtures("variants")
def test_weights_of_another_net_are_refused_by_name(
    tiny: MobileFormerConfig, scrambled: Scramble, tmp_path: Path
) -> None:
    video = scrambled(for_video(tiny))
    path = save_weights(video, tmp_path / "video.safetensors", architecture="mobile_former", config=video.config)
    assert build_mobile_former("video-mobile-former-tiny", weights=path).config == video.config
    with pytest.raises(EncoderError, match="a model other than mobile-former-tiny"):
        build_mobile_former("mobile-former-tiny", weights=path)


@pytest.mark.parametrize("image", ["52m", "151m", "294m", "508m"])
def test_every_video_variant_is_built_on_a_published_image_net(image: str) -> None:
    published = {name: v.config for name, v in VARIANTS.items() if v.config.time_taps > 1 and name != build.NANO}
    assert any(on(config) == image for config in published.values()), f"no video net on {image}"


def on(video: MobileFormerConfig) -> str:
    wanted = replace(build._image(video), num_classes=1000)
    return next(size for size, config in IMAGE_CONFIGS.items() if config == wanted)


def test_the_configuration_in_the_recipe_is_plain_json_and_builds_the_same_net() -> None:
    spec = build_mobile_former("video-mobile-former-500m").spec
    assert LAYOUT.from_config(json.loads(json.dumps(spec.config))).config == VARIANTS[spec.name].config
