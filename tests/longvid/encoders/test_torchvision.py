"""torchvision's video models give the feature map before pooling; skipped where torchvision does not import."""

import pytest
import torch
from rounding import assert_same_numbers

from longvid.encoders import build_encoder
from longvid.encoders.timm import optional_package
from longvid.encoders.torchvision import MODELS, _preprocessing
from longvid.errors import BackendUnavailable, EncoderError, WeightsError

ROUNDING = {"terms": 512, "layers": 18}
"""Rounding of eighteen layers with at most 512 channels."""


@pytest.fixture
def torchvision():
    try:
        return optional_package("torchvision")
    except BackendUnavailable as error:
        pytest.skip(str(error))


def test_a_model_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(EncoderError, match="swin3d_b"):
        build_encoder("torchvision:resnet50")


@pytest.mark.parametrize(("name", "places", "dim"), [("swin3d_t", 1, 768), ("r3d_18", 4, 512)])
@torch.no_grad()
def test_the_mean_of_the_tokens_is_what_the_models_own_head_is_given(torchvision, name, places, dim):
    encoder = build_encoder(f"torchvision:{name}", weights="random", frames=4, size=32)
    clips = torch.randn(2, 3, 4, 32, 32)
    output = encoder(clips)
    assert output.tokens.shape[2:] == (places, dim)
    assert_same_numbers(output.clip, encoder.model(clips), **ROUNDING)  # its head is an identity
    assert_same_numbers(output.tokens.mean((1, 2)), output.clip, **ROUNDING)


@torch.no_grad()
def test_the_tokens_of_a_time_step_are_its_places_in_raster_order(torchvision):
    encoder = build_encoder("torchvision:r3d_18", weights="random", frames=8, size=64)
    clips = torch.randn(1, 3, 8, 64, 64)
    seen = {}
    encoder.model.layer4.register_forward_hook(lambda module, inputs, output: seen.update(map=output))
    tokens = encoder(clips).tokens
    assert_same_numbers(tokens[0, 0, 4 * 2 + 3], seen["map"][0, :, 0, 2, 3], **ROUNDING)


@pytest.mark.parametrize("name", MODELS)
def test_the_published_preprocessing_is_taken(torchvision, name):
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = _preprocessing(MODELS[name], transform, MODELS[name].size)
    assert [preprocessing.height, preprocessing.width] == list(transform.crop_size)
    assert preprocessing.short_side == min(transform.resize_size)
    assert list(preprocessing.mean) == list(transform.mean)


def test_a_checkpoint_file_is_loaded_but_for_its_head(torchvision, tmp_path):
    torch.manual_seed(0)
    whole = torchvision.models.get_model("r3d_18", weights=None)
    torch.save(whole.state_dict(), tmp_path / "r3d.pth")
    encoder = build_encoder("torchvision:r3d_18", weights=str(tmp_path / "r3d.pth"))
    assert torch.equal(encoder.model.stem[0].weight, whole.stem[0].weight)
    assert not any(name.startswith("fc") for name in encoder.model.state_dict())


def test_a_checkpoint_that_does_not_fit_is_refused(torchvision, tmp_path):
    torch.save({"stem.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit"):
        build_encoder("torchvision:r3d_18", weights=str(tmp_path / "other.pth"))


def test_weights_that_are_no_file_and_not_published_are_refused(torchvision):
    with pytest.raises(WeightsError, match="KINETICS400_V1"):
        build_encoder("torchvision:r3d_18", weights="KINETICS_9000")
