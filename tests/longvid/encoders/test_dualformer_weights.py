"""DualFormer from its authors' checkpoints, from image weights, and from files of ours."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rounding import assert_same_numbers
from torch import Tensor, nn
from torch.nn import functional

from longvid.checkpoints import load_official, load_weights, save_weights
from longvid.encoders import build_encoder
from longvid.encoders.dualformer import VARIANTS, DualFormer, DualFormerConfig, StageConfig, load_image_weights
from longvid.errors import EncoderError, WeightsError
from longvid.weights import read_checkpoint

TINY = VARIANTS["dualformer-tiny"]

SMALL = DualFormerConfig(
    stages=(
        StageConfig(dim=8, heads=2, blocks=2, window=(2, 4, 4), fine=(2, 4, 4), coarse=(2, 2, 2)),
        StageConfig(dim=12, heads=3, blocks=2, window=(2, 4, 4), fine=(4, 4, 4)),
    ),
    video_size=(8, 64, 64),
)

# the authors' names of the tiny model's parts, by stage
OFFICIAL_ENDINGS = (
    (r"stages\.(\d+)\.embed\.proj\.", r"backbone.patch_embeds.\1.proj."),
    (r"stages\.(\d+)\.norm\.", r"backbone.patch_embeds.\1.norm."),
    (r"stages\.(\d+)\.position\.", r"backbone.pos_block.\1.proj.0."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.attn\.pyramid\.fine\.", r"backbone.blocks.\1.\2.attn.sr."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.attn\.pyramid\.coarse\.", r"backbone.blocks.\1.\2.attn.lr."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.attn\.pyramid\.norm\.", r"backbone.blocks.\1.\2.attn.norm."),
    (r"stages\.(\d+)\.blocks\.(\d+)\.", r"backbone.blocks.\1.\2."),
    (r"norm\.", "backbone.norm."),
    (r"classifier\.1\.", "cls_head.fc_cls."),
    (r"token_classifier\.", "cls_head.token_linear."),
)


def official_name(ours: str) -> str:
    for pattern, official in OFFICIAL_ENDINGS:
        if re.match(pattern, ours):
            return re.sub(rf"\A{pattern}", official, ours)
    raise AssertionError(ours)


def official_state(config: DualFormerConfig) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {official_name(name): tensor for name, tensor in DualFormer(config).state_dict().items()}


@pytest.fixture(scope="module")
def tiny_state() -> dict[str, Tensor]:
    """As the released tiny model: 314 entries, the token-labelling head among them."""
    return official_state(replace(TINY, num_classes=400, token_label=True))


def test_a_released_checkpoint_says_which_model_it_is(tiny_state: dict[str, Tensor]) -> None:
    assert len(tiny_state) == 314
    assert tiny_state["backbone.blocks.0.1.attn.lr.3.weight"].shape == (64, 1, 4, 2, 2)
    assert tiny_state["cls_head.token_linear.3.weight"].shape == (2048, 1024)
    model = load_official("dualformer", tiny_state)
    assert isinstance(model, DualFormer)
    assert model.config == replace(TINY, num_classes=400, token_label=True)
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, tiny_state[official_name(name)]), name


def test_a_training_checkpoint_is_unwrapped_and_its_teacher_left_out() -> None:
    config = replace(SMALL, num_classes=3)
    state = official_state(config)
    teacher = {f"teacher.{name}": torch.zeros(1) for name in state}
    held = {f"module.{name}": tensor for name, tensor in (state | teacher).items()}
    model = load_official("dualformer", {"state_dict": held, "meta": {"epoch": 30}}, config=SMALL)
    assert torch.equal(model.classifier[1].weight, state["cls_head.fc_cls.weight"])


def test_weights_made_for_shorter_clips_are_refused_with_the_nine_kernels_that_differ() -> None:
    state = official_state(replace(TINY, video_size=(16, 224, 224)))
    with pytest.raises(WeightsError, match=r"wrong shape \(9\)") as refusal:
        load_official("dualformer", state)
    assert "stages.0.blocks.1.attn.pyramid.coarse.3.weight" in str(refusal.value)
    assert load_official("dualformer", state, config=replace(TINY, video_size=(16, 224, 224)))


def test_missing_and_unknown_entries_are_listed() -> None:
    state = official_state(SMALL)
    del state["backbone.pos_block.1.proj.0.bias"]
    state["backbone.absolute_pos_embed"] = torch.zeros(1)
    with pytest.raises(
        WeightsError, match=r"missing \(1\): stages\.1\.position\.bias; unknown \(1\): backbone\.absolute_pos_embed"
    ):
        load_official("dualformer", state, config=SMALL)


def test_a_checkpoint_of_other_sizes_asks_for_its_configuration() -> None:
    with pytest.raises(WeightsError, match=r"\(8, 2\), \(12, 2\).* none of dualformer-tiny.*config=DualFormerConfig"):
        load_official("dualformer", official_state(SMALL))


def test_an_encoder_takes_the_authors_file_and_ours_and_refuses_another_variant(
    tmp_path: Path, tiny_state: dict[str, Tensor]
) -> None:
    theirs, ours = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(tiny_state, theirs)
    encoder = build_encoder("dualformer-tiny", weights=str(theirs))
    assert encoder.spec.weights == str(theirs)
    save_weights(encoder, ours, architecture="dualformer", config=encoder.config)
    again = build_encoder("dualformer-tiny", weights=str(ours))
    assert again.spec.weights_sha256 == encoder.spec.weights_sha256
    with pytest.raises(EncoderError, match="weights are for a model other than dualformer-small"):
        build_encoder("dualformer-small", weights=str(theirs))


def test_an_encoder_starts_from_an_image_models_file(tmp_path: Path) -> None:
    state = image_state(TINY)
    path = tmp_path / "image.pth"
    torch.save(state, path)
    encoder = build_encoder("dualformer-tiny", weights=str(path))
    assert encoder.spec.weights == f"{path} (an image model, inflated)"
    assert torch.equal(encoder.norm.weight, state["norm.weight"])
    first = encoder.stages[0].embed.proj.weight
    assert_same_numbers(first.sum(dim=2), state["patch_embeds.0.proj.weight"], terms=first.shape[2])


def test_weights_of_ours_come_back_with_their_configuration(tmp_path: Path) -> None:
    config = replace(SMALL, num_classes=4, attention_scale=0.3)
    model = DualFormer(config).eval()
    loaded = load_weights(save_weights(model, tmp_path / "small.safetensors", architecture="dualformer", config=config))
    assert isinstance(loaded, DualFormer)
    assert loaded.config == config
    clips = torch.randn(1, 3, 8, 64, 64)
    assert torch.equal(loaded.classify(clips), model.classify(clips))


def image_state(config: DualFormerConfig) -> dict[str, Tensor]:
    """A checkpoint of the image model: the same entries, every kernel without its time axis, an ImageNet head."""
    state = {}
    for name, tensor in official_state(config).items():
        name = name.removeprefix("backbone.")
        state[name] = torch.randn_like(tensor[:, :, 0]) if tensor.ndim == 5 else tensor
    return state | {"head.weight": torch.randn(1000, 12), "head.bias": torch.zeros(1000)}


def test_image_weights_fill_the_whole_backbone_and_answer_still_clips_as_the_image_kernels_do() -> None:
    state = image_state(SMALL)
    torch.manual_seed(0)
    model = DualFormer(replace(SMALL, num_classes=3)).eval()
    head = model.classifier[1].weight.clone()
    load_image_weights(model, read_checkpoint(state))
    assert torch.equal(model.classifier[1].weight, head), "the video classifier stays"
    images = torch.randn(2, 3, 16, 16)
    still = model.stages[0].embed(images.unsqueeze(2).expand(-1, -1, 4, -1, -1))
    expected = functional.conv2d(
        images, state["patch_embeds.0.proj.weight"], state["patch_embeds.0.proj.bias"], stride=4
    )
    assert_same_numbers(still, expected.unsqueeze(2).expand_as(still), terms=still.shape[2] * 3 * 7 * 7)
    check_still(model.stages[0].position, state, "pos_block.0.proj.0", inside=slice(1, -1))
    pyramid = model.stages[0].blocks[1].attn.pyramid
    check_still(pyramid.fine, state, "blocks.0.1.attn.sr")
    check_still(pyramid.coarse[0], state, "blocks.0.1.attn.lr.0")


def check_still(conv: nn.Conv3d, state: dict[str, Tensor], name: str, inside: slice = slice(None)) -> None:
    """Frames inside the clip get what the image kernel gives; at the ends a position kernel also sees zeros."""
    features = torch.randn(2, 8, 14, 14)
    still = conv(features.unsqueeze(2).expand(-1, -1, 4, -1, -1))[:, :, inside]
    kernel = state[f"{name}.weight"]
    expected = functional.conv2d(
        features, kernel, state[f"{name}.bias"], stride=conv.stride[1:], padding=conv.padding[1:], groups=8
    )
    assert_same_numbers(still, expected.unsqueeze(2).expand_as(still), terms=still.shape[2] * 3 * 7 * 7)


def test_the_second_coarse_kernel_starts_as_a_mean_whatever_the_image_file_holds() -> None:
    model = DualFormer(SMALL).eval()
    load_image_weights(model, read_checkpoint(image_state(SMALL)))
    second = model.stages[0].blocks[1].attn.pyramid.coarse[3]
    places = torch.randn(1, 8, *second.kernel_size)
    assert_same_numbers(second(places).flatten(), places.mean(dim=(0, 2, 3, 4)), terms=places[0, 0].numel())


def test_image_weights_that_do_not_fit_are_listed() -> None:
    state = image_state(SMALL)
    del state["norm.bias"]
    state["blocks.0.0.attn.relative_position_bias_table"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"missing \(1\): norm\.bias; unknown \(1\): .*relative_position"):
        load_image_weights(DualFormer(SMALL), read_checkpoint(state))
