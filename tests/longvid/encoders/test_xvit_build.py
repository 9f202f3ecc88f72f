"""X-ViT variants as encoders, and an image transformer as their start."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from longvid.checkpoints import save_weights
from longvid.encoders import build_encoder
from longvid.encoders.xvit import XViT, XViTConfig
from longvid.encoders.xvit import build as xvit_build
from longvid.encoders.xvit.build import PUBLISHED, VARIANTS, Variant
from longvid.encoders.xvit.image_weights import start_from_image
from longvid.errors import EncoderError, WeightsError

TINY = XViTConfig(
    patch_size=32, dim=24, depth=2, num_heads=4, aggregator_heads=4, head_dim=16, num_classes=5, norm_eps=1e-12
)
AUTHORS_PARAMETERS = {"xvit-b16-8f": 94_098_464 - 307_600, "xvit-ssv2-b16-16f": 93_750_876 - 133_806}
"""Counted in the authors' code, without the classifier that nothing uses there."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a variant small enough to run."""
    monkeypatch.setitem(VARIANTS, "xvit-tiny", Variant(TINY, 8, 30 / 32))
    return "xvit-tiny"


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A Hugging Face ViT of the tiny variant's size, for 64-pixel images, as saved on disk."""
    return save_image_model(tmp_path / "vit", image_size=64)


def save_image_model(folder: Path, *, image_size: int) -> Path:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, image_size=image_size,
        patch_size=32,
    )  # fmt: skip
    model = ViTModel(config, add_pooling_layer=False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", AUTHORS_PARAMETERS)
def test_a_variant_has_its_authors_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name)
    assert sum(p.numel() for p in encoder.parameters()) == AUTHORS_PARAMETERS[name]


def test_every_variant_is_known_by_name_and_has_published_figures() -> None:
    assert VARIANTS.keys() == PUBLISHED.keys()
    for name, variant in VARIANTS.items():
        with torch.device("meta"):
            spec = build_encoder(name).spec
        assert spec.name == name
        assert spec.sampling.frames == variant.frames
        assert spec.preprocessing.mean == spec.preprocessing.std == (0.5, 0.5, 0.5)


def test_random_weights_are_called_random_and_follow_the_seed(tiny: str) -> None:
    one, same, other = (xvit_build.build_xvit(tiny, seed=seed) for seed in (0, 0, 1))
    assert one.spec.weights == "random (seed 0)"
    assert one.spec.weights_sha256 == same.spec.weights_sha256 != other.spec.weights_sha256


def test_building_leaves_the_random_state_alone(tiny: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    xvit_build.build_xvit(tiny)
    assert torch.equal(torch.rand(1), expected)


def test_more_frames_are_sampled_over_the_same_seconds(tiny: str) -> None:
    plain, dense = xvit_build.build_xvit(tiny).spec, xvit_build.build_xvit(tiny, frames=16).spec
    assert plain.sampling.frames / plain.sampling.fps == dense.sampling.frames / dense.sampling.fps


def test_a_whole_clip_can_be_one_segment_of_any_length(tiny: str) -> None:
    model = xvit_build.build_xvit(tiny, segment_frames="clip", frames=11, size=64)
    assert model(torch.zeros(1, 3, 11, 64, 64)).tokens.shape == (1, 11, 4, 24)
    with pytest.raises(EncoderError, match="multiples of segment_frames=8"):
        xvit_build.build_xvit(tiny, frames=11)
    with pytest.raises(EncoderError, match="patches of 32 do not fit"):
        xvit_build.build_xvit(tiny, size=100)


def test_our_own_weights_and_an_image_model_are_told_apart_by_what_they_hold(
    tiny: str, tmp_path: Path, image_folder: Path
) -> None:
    trained = xvit_build.build_xvit(tiny, seed=3)
    path = save_weights(trained, tmp_path / "own.safetensors", architecture="xvit", config=trained.config)
    own = xvit_build.build_xvit(tiny, weights=path)
    assert own.spec.weights == str(path)
    assert own.spec.weights_sha256 == trained.spec.weights_sha256
    of_image = xvit_build.build_xvit(tiny, weights=image_folder)
    assert "what follows the backbone is random" in of_image.spec.weights


def test_weights_of_another_variant_are_refused(tiny: str, tmp_path: Path) -> None:
    other = XViT(replace(TINY, shift_div=4))
    path = save_weights(other, tmp_path / "other.safetensors", architecture="xvit", config=other.config)
    with pytest.raises(EncoderError, match="for a model other than xvit-tiny"):
        xvit_build.build_xvit(tiny, weights=path)


def image_tokens(folder: Path, images: Tensor) -> Tensor:
    from transformers import ViTModel

    return ViTModel.from_pretrained(folder, add_pooling_layer=False).double().eval()(images).last_hidden_state


def test_started_from_an_image_model_it_differs_from_it_by_the_mixing_only(image_folder: Path) -> None:
    images = torch.randn(8, 3, 224, 224, dtype=torch.float64)
    folder = save_image_model(image_folder.parent / "vit224", image_size=224)
    expected = image_tokens(folder, images)
    clip = images.transpose(0, 1).unsqueeze(0)
    unmixed = start_from_image(XViT(replace(TINY, mixed_blocks=())).eval(), folder).double()(clip)
    torch.testing.assert_close(unmixed.tokens[0], expected[:, 1:])
    torch.testing.assert_close(unmixed.class_tokens[0], expected[:, 0])
    mixed = start_from_image(XViT(TINY).eval(), folder).double()(clip)
    assert not torch.allclose(mixed.tokens[0], expected[:, 1:], atol=1e-2)


def test_the_same_image_weights_load_from_files_modules_and_timm_names(image_folder: Path) -> None:
    from safetensors.torch import load_file
    from transformers import ViTModel

    reference = start_from_image(XViT(TINY), image_folder).state_dict()
    state = load_file(image_folder / "model.safetensors")
    in_memory = dict(ViTModel.from_pretrained(image_folder, add_pooling_layer=False).state_dict())
    prefixed = {f"vit.{name}": tensor for name, tensor in state.items()} | {"classifier.weight": torch.zeros(9, 24)}
    timm = {
        "cls_token": reference["class_token"].reshape(1, 1, -1),
        "pos_embed": state["embeddings.position_embeddings"],
    }
    timm |= {name: reference[name] for name in reference if name.startswith(("blocks.", "patch_embed.", "norm."))}
    timm |= {"head.weight": torch.zeros(21843, 24), "pre_logits.fc.weight": torch.zeros(24, 24)}
    backbone = [name for name in reference if not name.startswith(("aggregator.", "head."))]
    for source in (in_memory, prefixed, timm):
        loaded = start_from_image(XViT(TINY), source).state_dict()
        assert all(torch.equal(loaded[name], reference[name]) for name in backbone)


def test_an_image_model_that_does_not_fit_is_refused_with_a_list(image_folder: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(image_folder / "model.safetensors")
    del state["encoder.layer.1.attention.attention.key.weight"]
    with pytest.raises(
        WeightsError, match=r"missing \(1\): blocks\.1\.attn\.qkv\.weight; unknown \(2\): .*query.*value"
    ):
        start_from_image(XViT(TINY), state)
    with pytest.raises(WeightsError, match="wrong shape"):
        start_from_image(XViT(replace(TINY, dim=48)), image_folder)


COMPILED = """
import torch
from longvid.encoders.xvit import XViT, XViTConfig

torch.manual_seed(0)
config = XViTConfig(patch_size=32, dim=24, depth=2, num_heads=4, aggregator_heads=4, segment_frames={segment})
model = XViT(config, chunk_frames=4).double().eval().requires_grad_(False)
compiled = torch.compile(model, fullgraph=True)
clip = torch.randn(2, 3, 8, 64, 64, dtype=torch.float64)
for one, other in zip(model(clip)[:3], compiled(clip)[:3], strict=True):
    torch.testing.assert_close(one, other)
"""


@pytest.mark.slow
@pytest.mark.parametrize("segment", [8, None])
def test_a_compiled_model_is_one_graph_and_gives_the_eager_models_numbers(segment: int | None) -> None:
    # a process of its own: the shape checks that pytest puts around every function cannot be traced
    ran = subprocess.run([sys.executable, "-c", COMPILED.format(segment=segment)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
