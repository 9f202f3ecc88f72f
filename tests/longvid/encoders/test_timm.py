"""timm models give their own features, sorted into class and patch tokens; skipped where timm does not import."""

import pytest
import torch
from rounding import assert_same_numbers

from longvid.encoders import build_encoder, pool
from longvid.encoders.timm import is_aligned, optional_package, projection_of
from longvid.errors import BackendUnavailable, EncoderError, WeightsError

ROUNDING = {"terms": 768, "layers": 12}
"""Rounding of twelve blocks whose MLPs are 768 wide."""


@pytest.fixture
def timm():
    try:
        return optional_package("timm")
    except BackendUnavailable as error:
        pytest.skip(str(error))


def test_without_the_package_the_error_names_the_extra():
    with pytest.raises(BackendUnavailable, match=r"no_such_package cannot be imported here .*longvid\[timm\]"):
        optional_package("no_such_package")


@torch.no_grad()
def test_a_vit_gives_its_class_token_and_patches_frame_by_frame(timm):
    encoder = build_encoder("timm:vit_tiny_patch16_224.augreg_in21k", weights="random", seed=2)
    clips = torch.randn(1, 3, 2, 224, 224)
    output = encoder(clips)
    features = encoder.model.forward_features(clips[:, :, 1])
    assert output.tokens.shape == (1, 2, 196, 192)
    assert_same_numbers(output.class_tokens[:, 1], features[:, 0], **ROUNDING)
    assert_same_numbers(output.tokens[:, 1], features[:, 1:], **ROUNDING)
    assert pool(output, "class+tokens").shape == (1, 2 * 197, 192)
    assert encoder.spec.weights == "random (seed 2)"


@torch.no_grad()
@pytest.mark.parametrize(("name", "places", "dim"), [("resnet18", 4, 512), ("swin_tiny_patch4_window7_224", 49, 768)])
def test_a_feature_map_becomes_tokens_in_raster_order(timm, name, places, dim):
    encoder = build_encoder(f"timm:{name}", weights="random")
    side = 64 if name == "resnet18" else 224
    clips = torch.randn(1, 3, 1, side, side)
    features = encoder.model.forward_features(clips[:, :, 0])
    features = features if encoder.channels_last else features.movedim(1, -1)
    tokens = encoder(clips).tokens
    assert tokens.shape == (1, 1, places, dim)
    assert_same_numbers(tokens[0, 0, 1], features[0, 0, 1], **ROUNDING)


@torch.no_grad()
def test_a_saved_checkpoint_is_loaded_and_gives_the_same_tokens(timm, tmp_path):
    from safetensors.torch import save_file

    first = build_encoder("timm:vit_tiny_patch16_224.augreg_in21k", weights="random", seed=4)
    save_file(first.model.state_dict(), tmp_path / "model.safetensors")
    again = build_encoder("timm:vit_tiny_patch16_224.augreg_in21k", weights=str(tmp_path / "model.safetensors"))
    assert again.spec.weights_sha256 == first.spec.weights_sha256
    clips = torch.randn(1, 3, 1, 224, 224)
    assert_same_numbers(again(clips).tokens, first(clips).tokens, **ROUNDING)


def test_a_checkpoint_of_another_model_is_refused(timm, tmp_path):
    from safetensors.torch import save_file

    save_file({"blocks.0.nothing": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"missing .*unknown .*blocks\.0\.nothing"):
        build_encoder("timm:vit_tiny_patch16_224.augreg_in21k", weights=str(tmp_path / "other.safetensors"))


def test_preprocessing_is_timms_own(timm):
    preprocessing = build_encoder("timm:vit_tiny_patch16_224.augreg_in21k", weights="random").spec.preprocessing
    assert (preprocessing.height, preprocessing.short_side, preprocessing.interpolation) == (224, 248, "bicubic")
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)


def test_an_unknown_model_is_refused_with_near_ones(timm):
    with pytest.raises(EncoderError, match="no model 'vit_tiny_patch16_999'"):
        build_encoder("timm:vit_tiny_patch16_999", weights="random")


@pytest.mark.parametrize(
    ("name", "aligned"),
    [
        ("vit_pe_core_large_patch14_336.fb", True),
        ("vit_base_patch16_clip_224.openai", True),
        ("vit_base_patch16_clip_224.openai_ft_in1k", False),
        ("vit_large_patch16_224.augreg_in21k", False),
        ("vit_pe_spatial_base_patch16_512.fb", False),
    ],
)
def test_towers_of_models_with_text_are_told_by_their_names(name, aligned):
    assert is_aligned(name) == aligned


def test_the_head_of_such_a_tower_is_its_projection_with_or_without_a_bias():
    weight, bias, pooled = torch.randn(3, 5), torch.randn(3), torch.randn(2, 5)
    assert_same_numbers(projection_of({"weight": weight})(pooled), pooled @ weight.T, terms=5)
    assert_same_numbers(projection_of({"weight": weight, "bias": bias})(pooled), pooled @ weight.T + bias, terms=6)
    assert projection_of({}) is None


@torch.no_grad()
def test_an_aligned_tower_gives_the_vector_of_its_own_head(timm, tmp_path):
    name = "vit_base_patch32_clip_224.openai"
    torch.manual_seed(4)
    model = timm.create_model(name, pretrained=False, num_classes=16).eval()
    torch.save(model.state_dict(), tmp_path / "tower.pth")
    encoder = build_encoder(f"timm:{name}", weights=str(tmp_path / "tower.pth"))
    clips = torch.randn(1, 3, 2, 224, 224)
    own = model(clips[0].transpose(0, 1)).mean(0)
    assert_same_numbers(encoder(clips).embedding[0], own, **ROUNDING)
